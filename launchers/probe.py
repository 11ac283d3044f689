"""What a run's audio encoder knows of sounds it was not trained for.

  python -m launchers.probe --run_dir=runs/mine --dataset=esc50 --data_dir=data/ESC-50

Each recording becomes --num_windows equally spaced windows of the encoder's own length, at its own
rate; a recording that is shorter is repeated. The best model's audio encoder describes each window
(the mean and the maximum over all places of its output), and a linear classifier is trained on all
folds but one, and predicts that one, by the mean of the windows' scores. The same classifier is
also given what an encoder of random weights says, and the mean and deviation of each mel band.

Prints the accuracies and writes them to the run's probe.json.
"""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import audio, files
from input_pipelines.settings import ClipSettings
from launchers import audio_encoders
from launchers.probe_sounds import (
    DATASETS,
    Extract,
    Sounds,
    list_sounds,
    log_mel_statistics,
    read_features,
)
from launchers.runs import RunFolder, write_json
from launchers.settings import (
    LauncherSettings,
    fraction,
    launch,
    not_negative,
    positive,
    setting,
)
from ogm_tf.representation import probe
from ogm_tf.representation.pooling import embedding_model

FILE = "probe.json"
TITLES = {
    "encoder": "the run's encoder",
    "random_encoder": "random encoder",
    "log_mel": "log-mel statistics",
}


@dataclasses.dataclass(frozen=True)
class ProbeSettings(LauncherSettings):
    """Settings of `probe`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run.")
    dataset: str = setting(dataclasses.MISSING, "With folds of its own.", choices=DATASETS)
    data_dir: str = setting(dataclasses.MISSING, "Folder of the dataset's files.")
    classifier: str = setting(
        "softmax",
        "Logistic regression, or a linear support vector machine (pip install 'ogm-tf[probe]').",
        choices=probe.CLASSIFIERS,
    )
    c_values: tuple[float, ...] = setting(
        probe.COSTS,
        "Values of C, the classifier's strength, to choose from inside the training folds.",
        rule="one or more numbers > 0",
        holds=lambda values: bool(values) and all(0 < value < math.inf for value in values),
    )
    num_windows: int = positive(10, "Windows of each recording.")
    seed: int = setting(
        0, "Of the random encoder, and of the clips that C is chosen on.",
        rule="in [0, 2**31)", holds=lambda value: 0 <= value < 2**31,
    )  # fmt: skip
    max_bad_fraction: float = fraction(
        0.05, "Share of missing and unreadable clips above which the probe fails."
    )
    num_workers: int | None = not_negative(
        None, "Processes that decode; by default one a core; 0: this one alone."
    )
    output_file: str | None = setting(
        None, f"For the results, replaced; by default {FILE} in the run's folder."
    )


def run(settings: ProbeSettings) -> dict[str, Any]:
    """Probes the encoder and both baselines; writes, prints and returns what it found."""
    probe.require_installed(settings.classifier)
    folder = RunFolder(pathlib.Path(settings.run_dir))
    clip_settings = audio_encoders.sound_settings(folder)
    sounds = list_sounds(settings.dataset, settings.data_dir)
    sounds.check(settings.max_bad_fraction)
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = audio_encoders.load(folder, clip_settings)
    extract = _extractor(encoder, clip_settings, settings)
    num_workers = settings.num_workers
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0))
    found = read_features(sounds, clip_settings, settings.num_windows, extract, num_workers)
    found.sounds.check(settings.max_bad_fraction)
    if skipped := found.sounds.skipped:
        logging.warning("%d clips cannot be used, such as %s.", len(skipped), skipped[0])
    if names := found.sounds.unlisted:
        logging.warning("%d sound files are in no fold, such as %s.", len(names), names[0])
    report = {
        **_identity(settings),
        "window_s": clip_settings.window_s,
        "sample_rate_hz": clip_settings.audio.sample_rate_hz,
        "num_clips": len(found.sounds.clips),
        "num_classes": len(found.sounds.class_names),
        "num_shorter_than_window": found.num_short,
        "skipped": found.sounds.skipped,
        "unlisted": found.sounds.unlisted,
        "folds": list(range(1, found.sounds.num_folds + 1)),
        "results": {
            name: _probe(name, values, found.sounds, settings)
            for name, values in found.features.items()
        },
    }
    write_json(path, report)
    print(as_text(report))
    logging.info("Wrote %s.", path)
    return report


def kept_report(settings: ProbeSettings) -> dict[str, Any] | None:
    """Returns what a probe of these settings, and of the model as it is now, has written; or None.

    Args:
      settings: Of the probe.
    """
    path = _path(settings)
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    # As JSON gives it back.
    wanted = json.loads(json.dumps(_identity(settings)))
    return report if wanted.items() <= report.items() else None


def as_text(report: dict[str, Any]) -> str:
    """Returns the table of a report: accuracies in percent, of each fold, and their mean."""
    header = (
        "accuracy, %",
        *(f"fold {fold}" for fold in report["folds"]),
        "mean ± std",
        "features",
    )
    lines = [header]
    for name, title in TITLES.items():
        result = report["results"][name]
        accuracies = [f"{100 * accuracy:.1f}" for accuracy in result["accuracies"]]
        mean = f"{100 * result['mean']:.1f} ± {100 * result['deviation']:.1f}"
        lines.append((title, *accuracies, mean, str(result["num_features"])))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    title = (
        f"{report['num_clips']} clips of {report['num_classes']} classes, {report['num_windows']} "
        f"windows of {report['window_s']:g} s at {report['sample_rate_hz']} Hz, "
        f"{report['classifier']}"
    )
    table = [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    ]
    return "\n".join([title, *table])


def _path(settings: ProbeSettings) -> pathlib.Path:
    return pathlib.Path(settings.output_file or pathlib.Path(settings.run_dir) / FILE)


def _identity(settings: ProbeSettings) -> dict[str, Any]:
    """Returns what the results depend on, as a report tells it."""
    return {
        "best_epoch": RunFolder(pathlib.Path(settings.run_dir)).read_state()["best_epoch"],
        "dataset": settings.dataset,
        "data_dir": files.absolute(settings.data_dir),
        "classifier": settings.classifier,
        "c_values": settings.c_values,
        "seed": settings.seed,
        "num_windows": settings.num_windows,
    }


def _extractor(encoder: keras.Model, settings: ClipSettings, probing: ProbeSettings) -> Extract:
    """Returns what describes windows of sound, by the encoder and by both baselines."""
    keras.utils.set_random_seed(probing.seed)
    # From its configuration alone: every weight is drawn anew.
    untrained = type(encoder).from_config(encoder.get_config())
    models = {"encoder": embedding_model(encoder), "random_encoder": embedding_model(untrained)}
    front_end = audio.front_end(settings)
    shape = [probing.num_windows, settings.window_samples]

    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def extract(windows):
        inputs = front_end(windows)
        features = {name: model(inputs, training=False) for name, model in models.items()}
        features["log_mel"] = log_mel_statistics(windows, settings.audio.sample_rate_hz)
        return {name: tf.cast(values, tf.float32) for name, values in features.items()}

    return extract


def _probe(
    name: str, features: np.ndarray, sounds: Sounds, settings: ProbeSettings
) -> dict[str, Any]:
    """Returns what the report says of one kind of features."""
    logging.info("Probing %s: %d features.", TITLES[name], features.shape[-1])
    found = probe.cross_validate(
        features,
        sounds.labels,
        np.array(sounds.folds),
        groups=sounds.groups,
        classifier=settings.classifier,
        costs=settings.c_values,
        seed=settings.seed,
    )
    return {
        "mean": found.mean,
        "deviation": found.deviation,
        "accuracies": found.accuracies,
        "c": found.costs,
        "num_features": features.shape[-1],
    }


if __name__ == "__main__":
    launch(ProbeSettings, run)
