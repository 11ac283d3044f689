"""Single clips in a report of runs of `train`: how sure each run becomes of them."""

from collections.abc import Sequence

from absl import logging

from input_pipelines import dataset
from input_pipelines.index import Index
from launchers import recording
from launchers.report_clips import clip_example
from launchers.runs import RunFolder
from ogm_tf.analysis.sample_section import Sample, sample_section
from ogm_tf.analysis.samples import Curves, Pick, common_clips, pick, pick_apart
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import RunSummary

# As many panels fit beside each other.
_MAX_RUNS = 4
_LATE = "the mean over the last quarter of the epochs"


def sections(
    folders: Sequence[RunFolder],
    runs: Sequence[RunSummary],
    index: Index,
    clip_ids: Sequence[str] = (),
) -> list[Section]:
    """Returns the part of a page about single clips; none where no run recorded any.

    Args:
      folders: Of the runs.
      runs: One of each modulation is shown.
      index: Of the first run's records.
      clip_ids: Clips to show; by default those that modulation changed most.

    Raises:
      ValueError: where a clip was not recorded, or the records are not those it was recorded of.
    """
    recorded = {
        run.name: found
        for folder, run in zip(folders, runs, strict=True)
        if (found := recording.read(folder)) is not None and len(found.epochs)
    }
    shown = one_of_each([run for run in runs if run.name in recorded])[:_MAX_RUNS]
    if not shown:
        if clip_ids:
            raise ValueError(
                "--sample_clip_ids needs runs that recorded their confidence. "
                f"Received: sample_clip_ids={','.join(clip_ids)}."
            )
        return []
    curves = {
        run.name: Curves(
            tuple(recorded[run.name].clip_ids.tolist()),
            tuple(recorded[run.name].names.tolist()),
            recorded[run.name].confidence,
        )
        for run in shown
    }
    common = common_clips(list(curves.values()))
    if unknown := [clip_id for clip_id in clip_ids if clip_id not in common]:
        raise ValueError(
            "--sample_clip_ids must name clips that all of the runs shown recorded (train "
            f"--record_clip_ids). Received: {', '.join(unknown)}."
        )
    if not common:
        logging.warning("No samples in the report: the runs recorded no clip in common.")
        return []
    curves = {name: own.of(common) for name, own in curves.items()}
    picks, how_picked = _pick(shown, curves, clip_ids)
    if not picks:
        return []
    samples = _samples(folders[runs.index(shown[0])], picks, index)
    chosen = [own.clip_id for own in picks]
    return [
        sample_section(
            samples,
            {name: own.of(chosen) for name, own in curves.items()},
            shown,
            len(index.class_names),
            how_picked,
        )
    ]


def one_of_each(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Returns one run of each modulation, with cosines and without.

    Those whose other settings are closest to the first's, which is the first without modulation, or
    without one of those the first of all.
    """
    if not runs:
        return []
    reference = next((run for run in runs if not run.is_modulated), runs[0])

    def kind(run):
        # The one head that is there to balance.
        return run.modulation_title, run.config.get("fusion") == "mmcosine"

    return [
        min((run for run in runs if kind(run) == own), key=reference.num_differences)
        for own in dict.fromkeys(map(kind, (reference, *runs)))
    ]


def _pick(
    runs: Sequence[RunSummary], curves: dict[str, Curves], clip_ids: Sequence[str]
) -> tuple[list[Pick], str]:
    """Returns the clips to show, and how they were found."""
    num_clips = len(next(iter(curves.values())).clip_ids)
    first, last = runs[0], runs[-1]
    if clip_ids:
        return [Pick(clip_id, "chosen") for clip_id in clip_ids], "These clips were asked for."
    if not first.is_modulated and last.is_modulated:
        found = pick(curves[first.name], curves[last.name], last.modulation_title)
        return found, (
            f"Picked automatically of {num_clips} recorded clips, by {_LATE} of run {last.name} "
            f"against run {first.name}: the clips in which it changed most, so no typical ones."
        )
    return pick_apart(curves[first.name]), (
        f"Picked automatically of {num_clips} recorded clips, by {_LATE}."
    )


def _samples(folder: RunFolder, picks: Sequence[Pick], index: Index) -> list[Sample]:
    """Returns the clips as the run's records have them."""
    recorded = recording.read(folder)
    numbers = dict(zip(recorded.clip_ids.tolist(), recorded.numbers.tolist(), strict=True))
    wanted = [numbers[own.clip_id] for own in picks]
    clips = dataset.read_clips(folder.records_dir, recording.SPLIT, wanted)
    for own, clip in zip(picks, clips, strict=True):
        if own.clip_id != clip.clip_id:
            raise ValueError(
                f"The records of {folder.path} must be those it was trained on. Received: the clip "
                f"{clip.clip_id!r} in the place of {own.clip_id!r}."
            )
    return [
        Sample(own, clip_example(clip, index, index.class_names[clip.label], {}))
        for own, clip in zip(picks, clips, strict=True)
    ]
