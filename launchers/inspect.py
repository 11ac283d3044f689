"""Shows records as a model gets them: clips, classes, lengths, and what is wrong.

  python -m launchers.inspect --records_dir=records/mine --split=train

Writes index.html, which needs no other file and no network, its figures (contact_sheet.png,
classes.png, lengths.png), and prints the tables.
"""

import dataclasses
import json
import pathlib

import numpy as np
from absl import logging

from input_pipelines import files, inspection
from input_pipelines.clips import Example
from input_pipelines.inspection import Inspection
from input_pipelines.listing import SPLITS
from launchers.settings import LauncherSettings, launch, not_negative, positive, setting
from ogm_tf.analysis import data_page
from ogm_tf.analysis.data_page import DataSummary, Table
from ogm_tf.analysis.summaries import ClipExample


@dataclasses.dataclass(frozen=True)
class InspectSettings(LauncherSettings):
    """Settings of `inspect`."""

    records_dir: str = setting(dataclasses.MISSING, "Folder that `prepare` wrote.")
    split: str = setting("train", "Split of the clips that are shown.", choices=SPLITS)
    output_dir: str | None = setting(
        None, "Folder of the page; by default reports/<name of the records>_<split>."
    )
    num_clips: int = positive(24, "Clips to show, evenly spread over the split.")
    seed: int = not_negative(0, "Of the augmentation.")
    augment: bool | None = setting(
        None, "Whether clips are augmented as in training; by default those of train are."
    )

    def __post_init__(self):
        super().__post_init__()
        folder = files.absolute(self.output_dir or self.records_dir)
        inside = files.relative(folder, self.records_dir)
        if self.output_dir and (inside or folder == files.absolute(self.records_dir)):
            raise ValueError(
                "--output_dir must not lie in the records. Received: "
                f"output_dir={self.output_dir!r}."
            )


def run(settings: InspectSettings) -> pathlib.Path:
    """Writes the page, prints the tables and returns the page's path."""
    training = settings.split == "train" if settings.augment is None else settings.augment
    found = inspection.inspect(
        settings.records_dir,
        settings.split,
        settings.num_clips,
        training=training,
        seed=settings.seed,
    )
    name = files.name(files.absolute(settings.records_dir))
    summary = summarise(found, name)
    page = data_page.write_page(
        settings.output_dir or pathlib.Path("reports") / f"{name}_{settings.split}", summary
    )
    print(f"{summary.title}: {summary.headline}")
    for table in summary.tables:
        print(f"\n{table.as_text()}")
    for warning in summary.warnings:
        logging.warning("%s", warning)
    logging.info("Wrote %s.", page)
    return page


def summarise(found: Inspection, name: str) -> DataSummary:
    """Returns what the page shows of records.

    Args:
      found: What there is.
      name: Of the records.
    """
    index = found.index
    counts = {split: own.class_counts for split, own in index.splits.items()}
    sizes = [f"{own.num_clips:,} {split}" for split, own in index.splits.items()]
    view = "Varied as in training" if found.training else "As evaluation sees them"
    return DataSummary(
        title=f"Records: {name}",
        headline=(
            f"{', '.join(sizes)} clips of {len(index.class_names):,} classes; "
            f"{len(index.skipped):,} skipped, {len(index.problems):,} damaged but kept."
        ),
        warnings=[
            f"The {modality} input is {warning}."
            for modality, values in found.ranges.items()
            if (warning := values.warning(_is_normalised(found, modality)))
        ],
        sheet_note=f"{view}: {len(found.examples)} clips of the {found.split} split.",
        reading_note=_reading_note(found),
        examples=[_example(clip, found) for clip in found.examples],
        tables=[_inputs(found), _splits(found), _bad_clips(found)],
        counts=counts,
        class_names=index.class_names,
        durations_s=found.durations_s,
        window_s=index.settings.window_s,
        settings=_flat(index.settings.to_dict())
        | {f"{name} measured": str(values) for name, values in index.statistics.items()},
    )


def _reading_note(found: Inspection) -> str:
    settings, said = found.index.settings, []
    audio, video = settings.audio, settings.video
    if "visual" in settings.modalities and found.training and video.erase_area:
        said.append("Grey squares are erased.")
    if "flow" in settings.modalities:
        said.append("Optical flow: the colour is the direction, white does not move.")
    if "audio" in settings.modalities:
        said.append("Sound: time to the right, frequency upwards, bright is loud.")
        if found.training and audio.num_masks and (audio.max_mask_bins or audio.max_mask_steps):
            said.append("Plain bands are masked.")
    return " ".join(said)


def _is_normalised(found: Inspection, modality: str) -> bool:
    """Returns whether an input is meant to lie around 0."""
    audio = found.index.input_settings.audio
    if modality == "audio" and audio.normalization == "fixed":
        return (audio.mean, audio.deviation) != (0.0, 1.0)
    return modality != "flow"


def _example(clip: Example, found: Inspection) -> ClipExample:
    settings = found.index.settings
    return ClipExample(
        clip_id=clip.clip_id,
        label=found.index.class_names[clip.label],
        frames=clip.frames,
        spectrogram=inspection.spectrogram(clip, settings),
        sample_rate_hz=settings.audio.sample_rate_hz,
        hop_length=settings.audio.hop_length,
        predictions={},
        waveform=clip.waveform,
        flow=clip.inputs.get("flow"),
        is_mel=inspection.is_mel(settings),
        start_s=clip.start_s,
    )


def _inputs(found: Inspection) -> Table:
    rows = []
    for modality, shape in found.index.settings.shapes.items():
        values = found.ranges[modality]
        numbers = (values.minimum, values.mean, values.deviation, values.maximum)
        counts = (values.num_nan, values.num_infinite)
        rows.append(
            (
                modality,
                " × ".join(map(str, shape)),
                *(f"{number:z.3f}" for number in numbers),
                *(f"{count:,}" for count in counts),
                values.warning(_is_normalised(found, modality)) or "fine",
            )
        )
    return Table(
        "Inputs",
        ("input", "shape", "least", "mean", "deviation", "greatest", "NaN", "infinite", "remark"),
        tuple(rows),
        "The numbers that the model gets of the clips above.",
    )


def _splits(found: Inspection) -> Table:
    window_s, rows = found.index.settings.window_s, []
    for split, own in found.index.splits.items():
        durations_s = found.durations_s[split]
        sizes = own.class_counts.values()
        lengths = np.percentile(durations_s, [0, 50, 100]) if durations_s.size else [np.nan] * 3
        megabytes = sum(shard.num_bytes for shard in own.shards) / 1e6
        rows.append(
            (
                split,
                f"{own.num_clips:,}",
                f"{min(sizes, default=0):,}",
                f"{max(sizes, default=0):,}",
                *(f"{length:.2f}" for length in lengths),
                # A microsecond is lost where times are rounded.
                f"{np.sum(durations_s < window_s - 1e-3):,}",
                f"{len(own.shards):,}",
                f"{megabytes:,.1f}",
            )
        )
    fills = found.index.settings.audio.short_clips == "fill"
    made_longer = "filled with zeros" if fills else "repeated"
    return Table(
        "Splits",
        (
            "split", "clips", "smallest class", "largest class", "shortest (s)", "median (s)",
            "longest (s)", "too short", "files", "MB",
        ),
        tuple(rows),
        f"The model gets {window_s:g} s; clips that are too short are {made_longer}.",
    )  # fmt: skip


def _bad_clips(found: Inspection) -> Table:
    rows = []
    for kind, reasons in (("skipped", found.skipped), ("damaged", found.problems)):
        for reason in reasons:
            first = "; ".join(f"{clip['clip_id']}: {clip['reason']}" for clip in reason.first)
            rows.append((kind, f"{reason.num_clips:,}", reason.text, first))
    return Table(
        "Skipped and damaged clips",
        ("kind", "clips", "reason", "first of them"),
        tuple(rows),
        "Skipped clips are not in the records; damaged ones are, as far as they could be read."
        if rows
        else "None.",
    )


def _flat(values: dict, prefix: str = "") -> dict[str, str]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


if __name__ == "__main__":
    launch(InspectSettings, run)
