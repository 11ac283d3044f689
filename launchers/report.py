"""Compares trained runs on one page: tables, curves and example clips.

  python -m launchers.report --run_dirs=runs/concat,runs/ogm,runs/ogm_ge --output_dir=reports/mine

The runs are of `train`, or all of `pretrain` with one --model, or all of `localize` with one
--model and --supervision. Of `train` the page also shows what each modality could do, where
`references` or `probe_branches` have found it, what `analyze` found of a run and, with runs without
and with modulation, what changes in every category and how sure the runs become of single clips
over their epochs (docs/analysis.md); of `pretrain` where in the frames AVSA and AVCA look; of both
what `probe` found. Of `localize` it shows videos along their time: frames, where the network looks,
the right events, and what the network and each modality say.

Writes index.html, which needs no other file and no network, and comparison.csv.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import dataset
from input_pipelines.clips import Example
from input_pipelines.index import Index, read_index
from launchers import (
    probe,
    probe_branches,
    report_branches,
    report_categories,
    report_events,
    report_imbalance,
    report_pairs,
    report_probe,
    report_provenance,
    report_samples,
)
from launchers.report_clips import clip_example
from launchers.run_summaries import summarize
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, not_negative, setting
from ogm_tf import OGMModel
from ogm_tf.analysis import report
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.tables import Table

# How the page calls what was found of a run's best model.
_FOUND = {report_imbalance.FILE: "gradients", probe_branches.FILE: "probes"}


@dataclasses.dataclass(frozen=True)
class ReportSettings(LauncherSettings):
    """Settings of `report`."""

    run_dirs: tuple[str, ...] = setting((), "Folders of the runs to compare, with commas.")
    output_dir: str = setting("reports", "Folder of the page.")
    split: str = setting("test", "Split of the example clips.", choices=("validation", "test"))
    num_examples: int = not_negative(4, "Number of example clips.")
    sample_clip_ids: tuple[str, ...] = setting(
        (), "Recorded validation clips to show over the epochs, by clip_id, with commas; by "
        "default those that modulation changed most.",
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if not self.run_dirs:
            raise ValueError("--run_dirs must name at least one run. Received: none.")


def run(settings: ReportSettings) -> pathlib.Path:
    """Writes the page and returns its path."""
    folders = [RunFolder(pathlib.Path(path)) for path in settings.run_dirs]
    configs = [folder.read_config() for folder in folders]
    _check_networks(folders, configs)
    launcher = folders[0].launcher
    if settings.sample_clip_ids and launcher != "train":
        raise ValueError(
            "--sample_clip_ids needs runs of `train`. Received: "
            f"sample_clip_ids={','.join(settings.sample_clip_ids)} and runs of {launcher}."
        )
    prepare = functools.partial(_prepare, sample_clip_ids=settings.sample_clip_ids)
    if launcher == "localize":
        prepare = report_events.prepare
    write = prepare(settings.output_dir, folders, configs, settings.split, settings.num_examples)
    models = {folder.path.name: folder.load_best() for folder in folders}
    if len(models) < len(folders):
        raise ValueError(
            "The folders of --run_dirs must have different names. "
            f"Received: run_dirs={','.join(settings.run_dirs)}."
        )
    summaries = [summarize(folder) for folder in folders]
    references = []
    if launcher == "train":
        modalities = read_index(configs[0]["records_dir"]).settings.modalities
        references = report_branches.references(folders, modalities)
    made = report_provenance.section(folders, settings, _FOUND, references)
    page = write(summaries, models, [made])
    logging.info("Wrote %s.", page)
    return page


def _check_networks(folders: Sequence[RunFolder], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuses runs that do not learn the same: of two launchers, or of two networks."""
    made = []
    for folder, config in zip(folders, configs, strict=True):
        made.append(folder.launcher)
        for name in ("model", "supervision"):
            if name in config:
                made[-1] += f" --{name}={config[name]}"
        if made[-1] != made[0]:
            raise ValueError(
                "Runs are compared with runs of the same launcher and network. Received: "
                f"{folders[0].path} of {made[0]} and {folder.path} of {made[-1]}."
            )


def _prepare(
    output_dir: str,
    folders: Sequence[RunFolder],
    configs: Sequence[Mapping[str, Any]],
    split: str,
    num_examples: int,
    sample_clip_ids: Sequence[str],
) -> Callable[..., pathlib.Path]:
    """Opens the runs' records and returns what writes the page: see `report_events.Write`."""
    indexes = [read_index(config["records_dir"]) for config in configs]
    for folder, index in zip(folders, indexes, strict=True):
        if (index.class_names, index.settings) != (indexes[0].class_names, indexes[0].settings):
            raise ValueError(
                "Runs are compared on records of the same classes and settings. Received: "
                f"{folders[0].path} and {folder.path}, whose records differ."
            )

    # Read first, for what is damaged there is to be said before any work.
    imbalance = report_imbalance.sections(folders)

    def write(summaries, models, sections):
        clips = []
        if num_examples:
            clips = dataset.read_clips(configs[0]["records_dir"], split, num_examples)
        tables = report_probe.probe_table(folders, probe.FILE, probe.TITLES)
        page = (pathlib.Path(output_dir), summaries, models, clips, indexes[0], tables)
        if folders[0].is_of_pairs:
            return report_pairs.write(*page, sections)
        own = [
            *report_branches.sections(folders, summaries, indexes[0], probe_branches.FILE),
            *imbalance,
            *report_categories.sections(folders, summaries, indexes[0].class_names, split),
            *report_samples.sections(folders, summaries, indexes[0], sample_clip_ids),
        ]
        return _write(*page, [*own, *sections])

    return write


def _write(
    output_dir: pathlib.Path,
    summaries: Sequence[report.RunSummary],
    models: Mapping[str, OGMModel],
    clips: Sequence[Example],
    index: Index,
    tables: Sequence[Table],
    sections: Sequence[Section],
) -> pathlib.Path:
    """Writes the page about runs of `train` and returns its path."""
    return report.write_report(
        output_dir,
        summaries,
        [_example(clip, models, index) for clip in clips],
        modalities=tuple(next(iter(models.values())).branches),
        class_names=index.class_names,
        tables=tables,
        sections=sections,
    )


def _example(clip: Example, models: Mapping[str, OGMModel], index: Index) -> report.ClipExample:
    """Returns a clip with what every run says of it."""
    inputs = {name: tf.expand_dims(value, 0) for name, value in clip.inputs.items()}
    predictions = {}
    for name, model in models.items():
        logits, unimodal = model(inputs, training=False, unimodal=True)
        answers = {"fused": logits, **unimodal}
        predictions[name] = {
            modality: _answer(answer[0].numpy(), index.class_names)
            for modality, answer in answers.items()
        }
    return clip_example(clip, index, index.class_names[clip.label], predictions)


def _answer(logits: np.ndarray, class_names: tuple[str, ...]) -> tuple[str, float]:
    probabilities = tf.nn.softmax(logits).numpy()
    return class_names[int(probabilities.argmax())], float(probabilities.max())


if __name__ == "__main__":
    launch(ReportSettings, run)
