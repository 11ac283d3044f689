"""One page of each kind, of made-up numbers, with names and tables as wide as they come."""

import pathlib

import numpy as np

from ogm_tf.analysis import data_page, event_report, map_pictures, pair_report, report
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import ClipExample, RunSummary
from ogm_tf.analysis.tables import Table
from tests.ogm_tf.analysis import sample_sections

CLASSES = ("bell", "accordion", "playing_the_vuvuzela_in_a_stadium", "background")
MODALITIES = ("audio", "visual")
NUM_EPOCHS = 12
KINDS = ("runs", "seeds", "pairs", "events", "data")
_LONG = "crema_d_concat_resnet18_with_a_long_name"
# Of each run by name.
_METHODS = {_LONG: "none", "ogm": "ogm", "ogm_ge": "ogm_ge"}


def write_all(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the path of each kind of page."""
    data = data_page.DataSummary(
        title="Records of a data set", headline="300 clips of 3 classes, 0.25 hours.",
        warnings=["One clip was left out, for " + "w" * 60 + "."], sheet_note="Of the train split.",
        reading_note="One row is one clip.", examples=[_clip(number, {}) for number in range(5)],
        tables=[Table("Splits", ("split", *"abcdefgh"), (("train", *["1,234,567"] * 8),))],
        counts={"train": dict.fromkeys(CLASSES, 25), "test": {"bell": 3}}, class_names=CLASSES,
        durations_s={"train": [1.0, 2.5, 3.0], "test": [2.0]}, window_s=3.0,
        settings={"a_setting_of_the_front_end": "1.0", "path": "/data/" + "x" * 90},
    )  # fmt: skip
    names, methods = list(_METHODS), _METHODS.values()
    runs = [_run(name, method, 0) for name, method in _METHODS.items()]
    seeds = [_run(f"{m}_seed{seed}", m, seed) for m in methods for seed in range(3)]
    groups = [_run(name, method, 0, pair_report.GROUPS) for name, method in _METHODS.items()]
    in_step = {name: {"fused": ("in step", 0.9)} for name in names}
    table = _table()
    return {
        "runs": write_runs(folder / "runs"),
        "seeds": report.write_report(
            folder / "seeds", seeds, [], MODALITIES, CLASSES,
            sections=[_made([run.name for run in seeds])],
        ),
        "pairs": pair_report.write_pair_report(
            folder / "pairs", groups, [_pair(number, in_step) for number in range(2)],
            pair_report.SYNCHRONIZATION, "AVCA", map_pictures.ATTENTION, [table], [_made(names)],
        ),
        "events": event_report.write_event_report(
            folder / "events", runs, [_video(number, names) for number in range(2)], MODALITIES,
            CLASSES, "AGVA", [table], [_made(names)],
        ),
        "data": data_page.write_page(folder / "data", data),
    }  # fmt: skip


def write_runs(folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of the page about runs, with every part that it can have."""
    runs = [_run(name, method, 0) for name, method in _METHODS.items()]
    answers = {run.name: _said(run.name, number) for number, run in enumerate(runs)}
    clips = [_clip(0, answers), _clip(1, answers)]
    sections = sample_sections.all_sections(runs, CLASSES, clips)
    return report.write_report(
        folder, runs, clips, MODALITIES, CLASSES, tables=[_table()],
        sections=[*sections, _made([run.name for run in runs])],
    )  # fmt: skip


def _table():
    return Table("What the encoder knows", ("Run", "encoder"), ((_LONG, "41.5 ± 3.2"),), "Note.")


def _run(name, modulation, seed, parts=MODALITIES):
    rng = np.random.default_rng([seed, len(modulation)])
    rise = 1 - np.exp(-np.arange(NUM_EPOCHS) / 4)
    history = {"loss": list(1.5 - rise), "accuracy": list(0.2 + 0.7 * rise)}
    metrics = {"accuracy": 0.7 + rng.uniform(0, 0.05), "mean_average_precision": 0.8}
    for number, part in enumerate(parts):
        level = 0.7 - 0.3 * number + 0.04 * len(modulation)
        history |= {
            f"{part}_accuracy": list(level * rise),
            f"{part}_score": list(0.9 * level * rise),
            f"{part}_ratio": list(2.0 ** ((1 - 2 * number) * (1 - rise))),
            f"{part}_coefficient": list(0.4 + 0.6 * rise),
        }
        metrics[f"{part}_accuracy"] = level * rng.uniform(0.8, 0.9)
    metrics |= {"event_accuracy": 0.6, "background_accuracy": 0.8, "all_event_accuracy": 0.4}
    noisy = {f"test_snr_{snr}db": {"accuracy": 0.5 + snr / 100} for snr in (-5, 0, 5)}
    config = {
        "records_dir": "/data/records/crema_d/of_ten_thousand_clips", "alpha": 0.8, "seed": seed,
        "modulation": modulation, "lr_decay_epochs": [70, 90], "optimizer": "sgd",
    }  # fmt: skip
    splits = {"test": metrics, "validation": metrics} | noisy
    return RunSummary(name, modulation, config, history, splits, best_epoch=NUM_EPOCHS - 2)


def _said(name, number):
    return {part: (CLASSES[number], 0.9 - 0.2 * number) for part in ("fused", *MODALITIES)}


def _clip(number, answers, label=None, num_frames=6):
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:48, :64] * 3
    frames = np.stack([rows + columns, 2 * rows, 255 - columns], axis=-1)
    frames = np.stack([frames + 8 * step for step in range(num_frames)]).clip(0, 255)
    times = np.arange(16_000) / 8000
    sound = 0.4 * np.sin(2 * np.pi * (300 + 200 * number) * times) + 0.02 * rng.normal(size=16_000)
    spectrogram = rng.normal(size=(65, 120))
    spectrogram[8 + 6 * number] += 6
    return ClipExample(
        f"{_LONG}_clip_{number}", label or CLASSES[number % len(CLASSES)],
        frames.astype(np.uint8), spectrogram.astype(np.float32), 8000, 128, answers,
        waveform=sound.astype(np.float32),
    )  # fmt: skip


def _pair(number, answers):
    rng = np.random.default_rng(number)
    maps = {name: rng.dirichlet(np.ones(12), 4).reshape(4, 3, 4) for name in answers}
    clip = _clip(number, answers, "in step", num_frames=8)
    return pair_report.PairExample(clip, CLASSES[number], 2.0, maps)


def _video(number, names):
    labels = np.array([3, 3, number, number, number, number, 3, 3, 3, 3])
    rng = np.random.default_rng(number)
    probabilities = {
        name: {
            part: rng.dirichlet(np.full(len(CLASSES), 0.3), len(labels))
            for part in ("fused", *MODALITIES)
        }
        for name in names
    }
    maps = {name: rng.dirichlet(np.ones(12), len(labels)).reshape(-1, 3, 4) for name in names}
    frames = _clip(number, {}, num_frames=len(labels)).frames
    return event_report.EventExample(
        f"video_{number}", labels, 1.0, probabilities, frames=frames, maps=maps
    )


def _made(names):
    command = "python -m launchers.train --records_dir=/data/records/of_ten_thousand_clips"
    words = [*command.split(), "--output_dir=" + "runs/" * 20, "--alpha=0.8", "--seed=0"]
    lines = ["In /home/somebody/experiments.", "2024-05-06 07:08:09 UTC: ogm_tf 0.1.0 of commit x."]
    values = {"note": "How to do it again.", "made": [(name, words, lines) for name in names]}
    return Section("How this was made", "made", "provenance.html", values, is_last=True)
