"""How good a trained run is on one split of its records.

  python -m launchers.evaluate --run_dir=runs/mine --split=test

Prints the metrics and adds them to the run's metrics.json, under the split's name: with the noise
in the sound that the run was trained with, if any. At noise levels of your own, such as
--audio_noise_snr_db=20,5,0 (inf for none), it adds them under <split>_snr_<dB>db instead. What
the run says of every clip is in predictions_<that name>.csv.

Of a run of `pretrain`, they are loss and accuracy over the split's pairs, the same in every run. Of
a run of `localize`, they are shares of the split's segments, of which each is in
timelines_<split>.csv.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import dataset, feature_sequences, pairs
from launchers import predictions, timelines
from launchers.features import open_features, segment_seconds
from launchers.pretraining import KINDS
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, positive, setting
from ogm_tf import OGMModel
from ogm_tf.confidence import FUSED
from ogm_tf.localization import EventModel
from ogm_tf.metrics import mean_average_precision

# Of what Keras reports of a run of `localize`.
_EVENT_LOSSES = ("loss", "pair_loss", "video_accuracy")


@dataclasses.dataclass(frozen=True)
class EvaluateSettings(LauncherSettings):
    """Settings of `evaluate`."""

    run_dir: str = setting(
        dataclasses.MISSING, "Folder of a run of `train`, `pretrain` or `localize`."
    )
    split: str = setting("test", "Of its data.", choices=("train", "validation", "test"))
    audio_noise_snr_db: tuple[float, ...] = setting(
        (), "Signal-to-noise ratios of white noise, dB, with commas; by default the run's own."
    )
    batch_size: int = positive(64, "Clips at a time.")


def run(settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """Evaluates a run's best model and returns what it wrote: `{split name: metrics}`."""
    folder = RunFolder(pathlib.Path(settings.run_dir))
    config = folder.read_config()
    model = folder.load_best()
    if folder.launcher != "train":
        evaluate_split = {"pretrain": _evaluate_pairs, "localize": _evaluate_events}
        return {settings.split: evaluate_split[folder.launcher](settings, folder, model)}
    own = {settings.split: config["audio_noise_snr_db"]}
    levels = {f"{settings.split}_snr_{snr:g}db": snr for snr in settings.audio_noise_snr_db} or own
    clip_ids, _ = dataset.list_clips(config["records_dir"], settings.split)
    results = {}
    for name, snr_db in levels.items():
        data = dataset.eval_dataset(
            config["records_dir"],
            settings.split,
            settings.batch_size,
            audio_noise_snr_db=None if snr_db == math.inf else snr_db,
            removed=config["remove_modality"],
        )
        labels, logits = answers(model, data.dataset)
        results[name] = metrics(labels, logits)
        header, rows = predictions.table(clip_ids, labels, logits, data.index.class_names)
        folder.write_predictions(name, header, rows)
        _add(folder, name, results[name])
    return results


def _evaluate_pairs(
    settings: EvaluateSettings, folder: RunFolder, model: OGMModel
) -> dict[str, float]:
    """Returns loss and accuracy over a split's pairs: of all, of the matches, of the others."""
    _refuse_noise(settings, "Pairs")
    config = folder.read_config()
    data = pairs.pair_dataset(
        config["records_dir"],
        settings.split,
        settings.batch_size,
        config["seed"],
        kind=KINDS[config["model"]],
        shift_s=tuple(config["shift_s"]),
        training=False,
    )
    found = model.evaluate(data.dataset, steps=data.steps_per_epoch, verbose=0, return_dict=True)
    names = ("loss", "accuracy", "positive_accuracy", "negative_accuracy")
    result = {name: float(found[name]) for name in names}
    # Keras adds the networks' penalty on kernels, which is no loss of the pairs.
    result["loss"] -= float(sum(model.losses))
    _add(folder, settings.split, result)
    return result


def _evaluate_events(
    settings: EvaluateSettings, folder: RunFolder, model: EventModel
) -> dict[str, float]:
    """Returns loss and accuracies over a split's segments, and writes what is said of each."""
    _refuse_noise(settings, "Segments")
    config = folder.read_config()
    features = open_features(config["features_dir"], config["background_videos"])
    batches = feature_sequences.eval_dataset(features, settings.split, settings.batch_size).dataset
    if model.weakly_supervised:
        target = config["weak_target"]
        batches = timelines.with_video_targets(batches, features.num_classes, target)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    answers = timelines.predict(model, features, settings.split, settings.batch_size)
    result = {name: float(found[name]) for name in _EVENT_LOSSES if name in found}
    result |= answers.metrics()
    header, rows = answers.table(features, segment_seconds(config["features_dir"]))
    folder.write_timelines(settings.split, header, rows)
    _add(folder, settings.split, result)
    return result


def _refuse_noise(settings: EvaluateSettings, what: str) -> None:
    if settings.audio_noise_snr_db:
        raise ValueError(
            f"{what} are evaluated without noise. "
            f"Received: audio_noise_snr_db={settings.audio_noise_snr_db}."
        )


def _add(folder: RunFolder, name: str, found: dict[str, float]) -> None:
    folder.add_metrics(name, found)
    logging.info("%s: %s", name, ", ".join(f"{k} {v:.3f}" for k, v in found.items()))


def answers(model: OGMModel, batches: tf.data.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns labels `[N]`, and logits `[N, C]` of "fused" and each modality.

    Args:
      model: A trained model.
      batches: Of (inputs, labels, weights); rows of weight 0 are padding.
    """
    forward = tf.function(lambda inputs: model(inputs, training=False, unimodal=True))
    labels, outputs = [], {}
    for inputs, batch_labels, weights in batches:
        counted = weights.numpy() != 0
        labels.append(batch_labels.numpy()[counted])
        fused, unimodal = forward(inputs)
        for name, logits in {FUSED: fused, **unimodal}.items():
            outputs.setdefault(name, []).append(logits.numpy()[counted])
    return np.concatenate(labels), {name: np.concatenate(own) for name, own in outputs.items()}


def metrics(labels: np.ndarray, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns loss, accuracy and mean average precision, fused and of each modality.

    Args:
      labels: `[N]`.
      outputs: Logits `[N, C]` of "fused" and each modality.
    """
    loss = keras.losses.sparse_categorical_crossentropy(labels, outputs[FUSED], from_logits=True)
    result = {"loss": float(np.mean(loss))}
    for name, logits in outputs.items():
        prefix = "" if name == FUSED else f"{name}_"
        result[f"{prefix}accuracy"] = float(np.mean(logits.argmax(-1) == labels))
        probabilities = tf.nn.softmax(logits).numpy()
        result[f"{prefix}mean_average_precision"] = mean_average_precision(probabilities, labels)
    return result


if __name__ == "__main__":
    launch(EvaluateSettings, run)
