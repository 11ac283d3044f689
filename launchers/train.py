r"""Trains a network on prepared records, with or without balanced gradients.

  python -m launchers.train --records_dir=records/mine --output_dir=runs/mine \
      --modulation=ogm_ge --alpha=0.8 --epochs=100 --batch_size=64

The same command on the same folder resumes a run that was stopped, after its last whole epoch. The
best epoch is chosen by accuracy on the validation split; without one the last epoch is kept.
"""

import dataclasses
import math
import pathlib

import keras
import tensorflow as tf
from absl import logging

from input_pipelines import dataset, files
from input_pipelines.index import Index, read_index
from launchers import evaluate
from launchers.networks import build_model
from launchers.runs import RunFolder
from launchers.settings import launch
from launchers.training import TrainSettings


def run(settings: TrainSettings) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split."""
    index = read_index(settings.records_dir)
    _check_modalities(settings, index)
    strategy = _strategy(settings)
    folder = RunFolder(pathlib.Path(settings.output_dir))
    with folder.locked():
        # A folder may be moved, and may be named from anywhere.
        config = dataclasses.asdict(settings)
        del config["output_dir"]
        config["records_dir"] = files.absolute(settings.records_dir)
        folder.keep_config(config)
        _train(settings, index, strategy, folder)
        for split in ("validation", "test"):
            if split in index.splits:
                evaluate.run(
                    evaluate.EvaluateSettings(settings.output_dir, split, (), settings.batch_size)
                )
        return folder.read_metrics()


def _train(
    settings: TrainSettings,
    index: Index,
    strategy: tf.distribute.Strategy,
    folder: RunFolder,
) -> None:
    epochs_done = folder.read_state().get("epoch", 0)
    if epochs_done >= settings.epochs:
        logging.info("%s has all its %d epochs already.", folder.path, settings.epochs)
        return
    keras.utils.set_random_seed(settings.seed)
    common = {
        "audio_noise_snr_db": settings.audio_noise_snr_db,
        "removed": settings.remove_modality,
    }
    steps = dataset.steps_per_epoch(index, settings.batch_size)
    training = dataset.train_dataset(
        settings.records_dir,
        settings.batch_size,
        settings.seed,
        start_step=epochs_done * steps,
        **common,
    )
    validation = None
    if "validation" in index.splits:
        validation = dataset.eval_dataset(
            settings.records_dir, "validation", settings.batch_size, **common
        ).dataset
    else:
        logging.warning("No validation split: the last epoch is kept as the best.")
    keras.mixed_precision.set_global_policy(settings.precision)
    with strategy.scope():
        if epochs_done:
            logging.info("Resuming %s after epoch %d.", folder.path, epochs_done)
            state = folder.read_state()
            model = keras.models.load_model(folder.checkpoints / state["checkpoint"])
        else:
            model = build_model(settings, index)
    model.fit(
        training.dataset,
        epochs=settings.epochs,
        initial_epoch=epochs_done,
        steps_per_epoch=training.steps_per_epoch,
        validation_data=validation,
        callbacks=[
            keras.callbacks.LearningRateScheduler(
                lambda epoch, _: settings.learning_rate_at(epoch)
            ),
            _NonFiniteLoss(),
            keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False),
            _Recorder(folder, epochs_done),
        ],
        verbose=2,
    )


class _NonFiniteLoss(keras.callbacks.Callback):
    """Ends a run whose loss is no number any more."""

    def __init__(self):
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise ArithmeticError(
                "The loss must stay finite; try a lower --learning_rate. Received: "
                f"loss={loss} at epoch {self._epoch}, step {batch}. The last whole epoch is kept."
            )


class _Recorder(keras.callbacks.Callback):
    """Writes history and checkpoints after every epoch, so that a run can be resumed."""

    def __init__(self, folder: RunFolder, epochs_done: int):
        super().__init__()
        self._folder = folder
        history = folder.read_history()
        self._history = {name: values[:epochs_done] for name, values in history.items()}

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": float(epoch), **{name: float(value) for name, value in logs.items()}}
        for name, value in row.items():
            self._history.setdefault(name, []).append(value)
        state = self._folder.read_state()
        score = row.get("val_accuracy", float(epoch))
        checkpoint = self._folder.save_model(self.model, f"epoch-{epoch + 1:04d}.keras")
        if score > state.get("best_score", -math.inf):
            self._folder.save_model(self.model, self._folder.best_model.name)
            state |= {"best_score": score, "best_epoch": epoch}
        self._folder.write_history(self._history)
        self._folder.write_state({**state, "epoch": epoch + 1, "checkpoint": checkpoint.name})
        for other in self._folder.checkpoints.glob("epoch-*.keras"):
            if other != checkpoint:
                other.unlink()


def _check_modalities(settings: TrainSettings, index: Index) -> None:
    """Refuses, before a folder is made, what the records have no modality for."""
    modalities = index.settings.modalities
    if len(modalities) < 2:
        rule = "Balancing needs records of at least two modalities (prepare --modalities)"
    elif settings.remove_modality not in (None, *modalities):
        rule = f"--remove_modality must be one of the records', {', '.join(modalities)}"
    elif settings.audio_noise_snr_db is not None and "audio" not in modalities:
        rule = "--audio_noise_snr_db needs records with sound"
    else:
        return
    raise ValueError(
        f"{rule}. Received: records_dir={settings.records_dir!r} of {', '.join(modalities)}, "
        f"remove_modality={settings.remove_modality!r}, "
        f"audio_noise_snr_db={settings.audio_noise_snr_db}."
    )


def _strategy(settings: TrainSettings) -> tf.distribute.Strategy:
    if settings.strategy == "default":
        return tf.distribute.get_strategy()
    strategy = tf.distribute.MirroredStrategy()
    num_replicas = strategy.num_replicas_in_sync
    if settings.batch_size % num_replicas:
        raise ValueError(
            f"--batch_size must be a multiple of the {num_replicas} devices. "
            f"Received: batch_size={settings.batch_size}."
        )
    return strategy


if __name__ == "__main__":
    launch(TrainSettings, run)
