r"""Trains a network on prepared records, with or without balanced gradients.

  python -m launchers.train --records_dir=records/mine --output_dir=runs/mine \
      --modulation=ogm_ge --alpha=0.8 --epochs=100 --batch_size=64

The same command on the same folder goes on with a run that was stopped or killed, and ends as if it
had not been (docs/long_runs.md). The best epoch is chosen by accuracy on the validation split;
without one the last epoch is kept.
"""

import contextlib
import dataclasses
import math
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from input_pipelines import dataset, files
from input_pipelines.index import Index, read_index
from launchers import evaluate, strategies
from launchers.networks import build_model
from launchers.runs import RunFolder
from launchers.settings import launch
from launchers.stopping import stop_request
from launchers.training import TrainSettings
from ogm_tf.callbacks import SkippedSteps
from ogm_tf.checkpoint_files import CheckpointFiles
from ogm_tf.checkpoints import Checkpoint, Stopped
from ogm_tf.transfer import copy_weights


def run(settings: TrainSettings) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split.

    Raises:
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
    """
    index = read_index(settings.records_dir)
    _check_modalities(settings, index)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    folder = RunFolder(pathlib.Path(settings.output_dir))
    config = _config(settings)
    # Workers that do not see the same folder would not go on from the same step.
    done = CheckpointFiles(folder.checkpoints).newest(), folder.read_state().get("epoch")
    strategy = strategies.make_strategy(
        settings.strategy,
        settings.logical_devices,
        {**config, "newest checkpoint in output_dir": done},
    )
    is_chief = strategies.is_chief(strategy)
    with folder.locked() if is_chief else contextlib.nullcontext(), stop_request() as stop:
        if is_chief:
            folder.keep_config(config)
        try:
            with strategies.explain_lost_worker(strategy):
                _require_shared(folder, strategy)
                if done == ((settings.epochs, 0), settings.epochs):
                    logging.info("%s has all its %d epochs already.", folder.path, settings.epochs)
                else:
                    _train(settings, index, strategy, folder, stop)
            if is_chief:
                with stop.at_once():
                    _evaluate(settings, index)
        except Stopped as stopped:
            logging.info("%s The same command goes on from there.", stopped)
            raise SystemExit(0) from stopped
        return folder.read_metrics()


def _config(settings: TrainSettings) -> dict[str, Any]:
    """Returns the settings to compare when a run goes on."""
    # A folder may be moved, and may be named from anywhere.
    config = dataclasses.asdict(settings)
    del config["output_dir"]
    for name in ("records_dir", "init_from"):
        if config[name] is not None:
            config[name] = files.absolute(config[name])
    return config


def _train(
    settings: TrainSettings,
    index: Index,
    strategy: tf.distribute.Strategy,
    folder: RunFolder,
    should_stop: Callable[[], bool],
) -> None:
    is_chief = strategies.is_chief(strategy)
    recorder = _Recorder(folder, is_chief)
    checkpoint = Checkpoint(
        folder.checkpoints,
        settings.checkpoint_every_steps,
        writes=is_chief,
        extra={"recorder": recorder},
        should_stop=lambda: strategies.agree(strategy, should_stop()),
    )
    start = checkpoint.progress()
    keras.utils.set_random_seed(settings.seed)
    steps = dataset.steps_per_epoch(index, settings.batch_size)
    if settings.accumulate_steps > steps:
        raise ValueError(
            f"--accumulate_steps must be at most the {steps} batches of an epoch. "
            f"Received: accumulate_steps={settings.accumulate_steps}."
        )
    common = {
        "rows": strategies.input_rows(strategy, settings.batch_size),
        "audio_noise_snr_db": settings.audio_noise_snr_db,
        "removed": settings.remove_modality,
    }
    training = dataset.train_dataset(
        settings.records_dir,
        settings.batch_size,
        settings.seed,
        start_step=start.epoch * steps + start.step,
        **common,
    )
    validation = {}
    if "validation" in index.splits:
        data = dataset.eval_dataset(
            settings.records_dir, "validation", settings.batch_size, **common
        )
        validation = {
            "validation_data": strategy.distribute_datasets_from_function(lambda _: data.dataset),
            "validation_steps": -(-data.num_clips // settings.batch_size),
        }
    else:
        logging.warning("No validation split: the last epoch is kept as the best.")
    keras.mixed_precision.set_global_policy(settings.precision)
    with strategy.scope():
        model = build_model(settings, index)
        if settings.init_from is not None and start == (0, 0):
            copy_weights(RunFolder(pathlib.Path(settings.init_from)).load_best(), model)
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, _: settings.learning_rate_at(epoch)),
        SkippedSteps(settings.max_skipped_steps),
        recorder,
        checkpoint,
        # A checkpoint is what counts: the files that show it come after it.
        keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: recorder.publish(start.step == 0),
            on_epoch_end=lambda epoch, logs: recorder.publish(True),
        ),
    ]
    if is_chief:
        callbacks.insert(0, keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False))
    model.fit(
        strategy.distribute_datasets_from_function(lambda _: training.dataset),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        **validation,
        callbacks=callbacks,
        verbose=2 if is_chief else 0,
    )


def _evaluate(settings: TrainSettings, index: Index) -> None:
    for split in ("validation", "test"):
        if split in index.splits:
            evaluate.run(
                evaluate.EvaluateSettings(settings.output_dir, split, (), settings.batch_size)
            )


class _Recorder(keras.callbacks.Callback):
    """Remembers history and best epoch, and writes them, and the best model, into the run's folder.

    Args:
      folder: Of the run.
      writes: Whether this process does; of several workers the chief alone.
    """

    def __init__(self, folder: RunFolder, writes: bool):
        super().__init__()
        self._folder = folder
        self._writes = writes
        self._published: dict[str, Any] = folder.read_state()
        self._history: dict[str, list[float]] = {}
        self._best = {"best_epoch": -1, "best_score": -math.inf}

    def get_state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        return {"history": self._history, **self._best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over what a checkpoint kept."""
        self._history = state["history"]
        self._best = {name: state[name] for name in self._best}

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": float(epoch), **{name: float(value) for name, value in logs.items()}}
        for name, value in row.items():
            self._history.setdefault(name, []).append(value)
        score = row.get("val_accuracy", float(epoch))
        if score > self._best["best_score"]:
            self._best = {"best_epoch": epoch, "best_score": score}

    def publish(self, is_epoch_end: bool) -> None:
        """Writes what is remembered, unless it has been written.

        Args:
          is_epoch_end: Whether the model is as the last epoch of the history left it.
        """
        state = {"epoch": len(self._history.get("epoch", ())), **self._best}
        if not state["epoch"] or self._published == state:
            return
        if is_epoch_end and state["best_epoch"] == state["epoch"] - 1:
            self._save_best()
        if self._writes:
            self._folder.write_history(self._history)
            # Last, for it vouches for the others.
            self._folder.write_state(state)
        self._published = state

    def _save_best(self) -> None:
        if self._writes:
            self._folder.save_best(self.model)
            return
        # Part of what a model holds is read from all workers at once, by the same calls.
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(pathlib.Path(folder) / "best.keras")


def _require_shared(folder: RunFolder, strategy: tf.distribute.Strategy) -> None:
    """Refuses workers of which one does not see what the chief has written."""
    # Nobody looks before the chief has come here.
    strategies.agree(strategy, False)
    if strategies.agree(strategy, not folder.config_path.exists()):
        raise ValueError(
            "All workers must see the same --output_dir, on a file system that they share. "
            f"Received: {folder.path}, which is another folder on some worker."
        )


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


if __name__ == "__main__":
    launch(TrainSettings, run)
