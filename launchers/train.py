r"""Trains a network on prepared records, with or without balanced gradients.

  python -m launchers.train --records_dir=records/mine --output_dir=runs/mine \
      --modulation=ogm_ge --alpha=0.8 --epochs=100 --batch_size=64

The same command on the same folder goes on with a run that was stopped or killed, and ends as if it
had not been (docs/long_runs.md). The best epoch is chosen by accuracy on the validation split;
without one, or with --keep=last, it is the last. What the best epoch says of every clip is in
predictions_validation.csv and predictions_test.csv, and how sure each epoch was of some validation
clips in confidence.npz (docs/analysis.md).
"""

import functools
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from input_pipelines import dataset
from input_pipelines.index import Index, read_index
from launchers import fitting, recording
from launchers.networks import build_model, make_modulation
from launchers.settings import launch
from launchers.training import TrainSettings, settings_without_effect
from ogm_tf import OGMModel
from ogm_tf.checkpoint_files import Position
from ogm_tf.gradient_blending import GBlendEstimator
from ogm_tf.representation.probe_curve import ProbeCurve


def run(settings: TrainSettings) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split.

    Raises:
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
    """
    index = check(settings)
    without_effect = settings_without_effect(settings)
    if settings.modulation != "none" and without_effect:
        logging.info(
            "--modulation=%s does not use %s.",
            settings.modulation,
            ", ".join(f"--{name}" for name in without_effect),
        )
    return fitting.run(
        settings,
        index.splits,
        functools.partial(_read, settings, index),
        functools.partial(build_model, settings, index),
        functools.partial(_callbacks, settings, index),
    )


def check(settings: TrainSettings) -> Index:
    """Returns the index of the records a run reads, if they have what the run needs of them.

    Raises:
      FileNotFoundError: where there are no records.
      ValueError: where they have too few clips or not the modalities, or methods of --modulation
        do not go together.
    """
    make_modulation(settings)
    index = read_index(settings.records_dir)
    _check_modalities(settings, index)
    if settings.probe_every_epochs and "validation" not in index.splits:
        raise ValueError(
            "--probe_every_epochs needs records with a validation split (prepare "
            f"--validation_fraction). Received: splits {', '.join(index.splits)}."
        )
    trained_on, _ = _divided(settings, index)
    steps = _steps(settings, index, trained_on)
    if settings.accumulate_steps > steps:
        raise ValueError(
            f"--accumulate_steps must be at most the {steps} batches of an epoch. "
            f"Received: accumulate_steps={settings.accumulate_steps}."
        )
    return index


def _divided(settings: TrainSettings, index: Index) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns the numbers of the clips to train on, and of those held out; None: all, and none."""
    if "gblend" not in settings.modulation.split("+"):
        return None, None
    return dataset.hold_out(index, settings.batch_size, settings.seed, settings.gblend_held_out)


def _steps(settings: TrainSettings, index: Index, trained_on: np.ndarray | None) -> int:
    num_clips = None if trained_on is None else len(trained_on)
    return dataset.steps_per_epoch(index, settings.batch_size, num_clips=num_clips)


def _callbacks(
    settings: TrainSettings, index: Index, model: OGMModel, rows: dataset.Rows
) -> Sequence[keras.callbacks.Callback]:
    """Returns what probes the encoders while they are trained, and what weighs losses."""
    common = {
        "audio_noise_snr_db": settings.audio_noise_snr_db,
        "removed": settings.remove_modality,
    }
    found = []
    if settings.probe_every_epochs:
        read = functools.partial(
            dataset.eval_dataset,
            settings.records_dir,
            # As many as one device has to hold in training.
            batch_size=settings.batch_size // model.distribute_strategy.num_replicas_in_sync,
            **common,
        )
        found.append(
            ProbeCurve(
                model.encoders,
                read("train", limit_clips=settings.probe_clips).dataset,
                read("validation").dataset,
                num_classes=len(index.class_names),
                every_epochs=settings.probe_every_epochs,
            )
        )
    trained_on, held_out = _divided(settings, index)
    if held_out is not None:
        common["rows"] = rows
        training = dataset.train_dataset(
            settings.records_dir, settings.batch_size, settings.seed, numbers=trained_on, **common
        )
        judged = dataset.eval_dataset(
            settings.records_dir, "train", settings.batch_size, numbers=held_out, **common
        )
        distribute = model.distribute_strategy.distribute_datasets_from_function
        found.append(
            GBlendEstimator(
                distribute(lambda _: training.dataset),
                # Whole batches: nothing is padded.
                distribute(lambda _: judged.dataset.map(lambda *batch: batch[:2])),
                settings.gblend_super_epoch,
                settings.gblend_epochs,
                training.steps_per_epoch,
            )
        )
    return found


def _read(
    settings: TrainSettings, index: Index, rows: dataset.Rows, start: Position
) -> fitting.Data:
    trained_on, _ = _divided(settings, index)
    steps = _steps(settings, index, trained_on)
    common = {
        "rows": rows,
        "audio_noise_snr_db": settings.audio_noise_snr_db,
        "removed": settings.remove_modality,
    }
    training = dataset.train_dataset(
        settings.records_dir,
        settings.batch_size,
        settings.seed,
        start_step=start.epoch * steps + start.step,
        numbers=trained_on,
        **common,
    )
    recorder = recording.recorder(settings, index)
    if "validation" not in index.splits:
        return fitting.Data(training.dataset, steps)
    validation = dataset.eval_dataset(
        settings.records_dir, "validation", settings.batch_size, **common
    )
    validation_steps = -(-validation.num_clips // settings.batch_size)
    return fitting.Data(training.dataset, steps, validation.dataset, validation_steps, recorder)


def _check_modalities(settings: TrainSettings, index: Index) -> None:
    """Refuses, before a folder is made, what the records have no modality for."""
    modalities = index.settings.modalities
    removed = set(settings.remove_modality.split(",") if settings.remove_modality else ())
    if len(modalities) < 2:
        rule = "Balancing needs records of at least two modalities (prepare --modalities)"
    elif not removed < set(modalities):
        rule = f"--remove_modality must be some of the records', {', '.join(modalities)}, not all"
    elif settings.audio_noise_snr_db is not None and "audio" not in modalities:
        rule = "--audio_noise_snr_db needs records with sound"
    else:
        return
    raise ValueError(
        f"{rule}. Received: records_dir={settings.records_dir!r} of {', '.join(modalities)}, "
        f"remove_modality={settings.remove_modality!r}, "
        f"audio_noise_snr_db={settings.audio_noise_snr_db}."
    )


if __name__ == "__main__":
    launch(TrainSettings, run)
