"""The life of a run, whatever it trains: folder, devices, checkpoints, best epoch, evaluation."""

import contextlib
import dataclasses
import math
import pathlib
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from absl import logging

from input_pipelines import files
from input_pipelines.order import Rows
from launchers import evaluate, provenance, strategies, tensorboard
from launchers.recording import ClipRecorder
from launchers.runs import RunFolder
from launchers.stopping import stop_request
from launchers.training import FitSettings
from ogm_tf.callbacks import SkippedSteps
from ogm_tf.checkpoint_files import CheckpointFiles, Position
from ogm_tf.checkpoints import Checkpoint, Stopped
from ogm_tf.model import OGMModel
from ogm_tf.transfer import copy_weights


class Data(NamedTuple):
    """What a run reads, in batches of one replica's rows.

    Args:
      training: Endless, from where the run goes on.
      steps_per_epoch: Global batches of an epoch.
      validation: One pass over the validation split; None: there is none.
      validation_steps: Global batches of it.
      recorder: Of the confidence in some clips of it; None: nothing is recorded.
    """

    training: tf.data.Dataset
    steps_per_epoch: int
    validation: tf.data.Dataset | None = None
    validation_steps: int | None = None
    recorder: ClipRecorder | None = None


def run(
    settings: FitSettings,
    splits: Collection[str],
    read: Callable[[Rows, Position], Data],
    build: Callable[[], OGMModel],
    watch: Callable[[OGMModel, Rows], Sequence[keras.callbacks.Callback]] = lambda *_: (),
    data: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split.

    The best epoch is that of the highest accuracy on the validation split; without one, or with
    `keep="last"`, it is the last.

    Args:
      settings: Of the run.
      splits: Names of those that its data has.
      read: Returns the data, given this process's rows of every global batch and the position to
        go on from.
      build: Returns the compiled model.
      watch: Given this process's rows as well, returns callbacks that leave the model as it is, and
        may add to an epoch's logs.
      data: What tells the data from others, of values that JSON holds; kept with the settings, and
        compared when the run goes on.

    Raises:
      ValueError: where the folder has a run of other settings or data.
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
    """
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    folder = RunFolder(pathlib.Path(settings.output_dir))
    config = {**run_config(settings), **(data or {})}
    strategy = strategies.make_strategy(settings.strategy, settings.logical_devices, config)
    is_chief = strategies.is_chief(strategy)
    settings.require_share(strategies.input_rows(strategy, settings.batch_size).batch_size)
    with folder.locked() if is_chief else contextlib.nullcontext(), stop_request() as stop:
        if is_chief:
            folder.keep_config(config)
        try:
            with strategies.explain_lost_worker(strategy):
                start, num_epochs = _progress(folder, strategy)
                if start == (settings.epochs, 0) and num_epochs == settings.epochs:
                    logging.info("%s has all its %d epochs already.", folder.path, settings.epochs)
                else:
                    if is_chief:
                        folder.add_start(
                            {
                                **provenance.describe(folder.launcher, settings),
                                "devices": strategy.num_replicas_in_sync,
                                **start._asdict(),
                            }
                        )
                    _fit(settings, strategy, folder, start, read, build, watch, stop)
            if is_chief:
                with stop.at_once():
                    _evaluate(settings, splits)
                    tensorboard.write_figures(folder)
        except Stopped as stopped:
            logging.info("%s The same command goes on from there.", stopped)
            raise SystemExit(0) from stopped
        return folder.read_metrics()


def run_config(settings: FitSettings) -> dict[str, Any]:
    """Returns the settings that a run's folder keeps, to compare when the run goes on."""
    # A folder may be moved, and may be named from anywhere.
    config = dataclasses.asdict(settings)
    del config["output_dir"]
    for name, value in config.items():
        if value is not None and (name.endswith("_dir") or name == "init_from"):
            config[name] = files.absolute(value)
    return config


def _fit(
    settings: FitSettings,
    strategy: tf.distribute.Strategy,
    folder: RunFolder,
    start: Position,
    read: Callable[[Rows, Position], Data],
    build: Callable[[], OGMModel],
    watch: Callable[[OGMModel, Rows], Sequence[keras.callbacks.Callback]],
    should_stop: Callable[[], bool],
) -> None:
    is_chief = strategies.is_chief(strategy)
    keras.utils.set_random_seed(settings.seed)
    rows = strategies.input_rows(strategy, settings.batch_size)
    data = read(rows, start)
    recorder = _Recorder(folder, is_chief, data.recorder, settings.keep)
    remembered = {"recorder": recorder}
    if data.recorder is not None:
        remembered["confidence"] = data.recorder
    checkpoint = Checkpoint(
        folder.checkpoints,
        settings.checkpoint_every_steps,
        writes=is_chief,
        extra=remembered,
        should_stop=lambda: strategies.agree(strategy, should_stop()),
    )
    validation = {}
    if data.validation is None:
        logging.warning("No validation split: the last epoch is kept as the best.")
    else:
        validation = {
            "validation_data": strategy.distribute_datasets_from_function(
                lambda _: data.validation
            ),
            "validation_steps": data.validation_steps,
        }
    keras.mixed_precision.set_global_policy(settings.precision)
    with strategy.scope():
        model = build()
        if settings.init_from is not None and start == (0, 0):
            copy_weights(RunFolder(pathlib.Path(settings.init_from)).load_best(), model)
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, _: settings.learning_rate_at(epoch)),
        SkippedSteps(settings.max_skipped_steps),
        *remembered.values(),
        checkpoint,
        # A checkpoint is what counts: the files that show it come after it.
        keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: recorder.publish(start.step == 0),
            on_epoch_end=lambda epoch, logs: recorder.publish(True),
        ),
    ]
    if is_chief:
        # Once the scheduler has said the learning rate, and before a checkpoint closes the epoch.
        place = callbacks.index(recorder)
        callbacks.insert(place, keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False))
    # What they add to the logs, all the others see.
    callbacks[:0] = watch(model, rows)
    model.fit(
        strategy.distribute_datasets_from_function(lambda _: data.training),
        epochs=settings.epochs,
        steps_per_epoch=data.steps_per_epoch,
        **validation,
        callbacks=callbacks,
        verbose=2 if is_chief else 0,
    )


def _evaluate(settings: FitSettings, splits: Collection[str]) -> None:
    for split in ("validation", "test"):
        if split in splits:
            evaluate.run(
                evaluate.EvaluateSettings(settings.output_dir, split, (), settings.batch_size)
            )


class _Recorder(keras.callbacks.Callback):
    """Remembers history and best epoch, and writes them, and the best model, into the run's folder.

    Args:
      folder: Of the run.
      writes: Whether this process does; of several workers the chief alone.
      confidence: What to write with them, or None.
      keep: Which epoch is the best: see `FitSettings`.
    """

    def __init__(
        self,
        folder: RunFolder,
        writes: bool,
        confidence: ClipRecorder | None,
        keep: str | None = None,
    ):
        super().__init__()
        self._keep = keep
        self._folder = folder
        self._writes = writes
        self._confidence = confidence
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
        num_before = len(self._history.get("epoch", ()))
        # What is not measured in every epoch has gaps.
        for name in [*self._history, *(name for name in row if name not in self._history)]:
            values = self._history.setdefault(name, [math.nan] * num_before)
            values.append(row.get(name, math.nan))
        score = row.get("val_accuracy", float(epoch)) if self._keep != "last" else float(epoch)
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
            if self._confidence is not None:
                self._confidence.write(self._folder)
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


def _progress(folder: RunFolder, strategy: tf.distribute.Strategy) -> tuple[Position, int]:
    """Returns the position that a run goes on from, and how many epochs its files tell of.

    Raises:
      ValueError: where a worker does not see what the chief has written.
    """
    # Nobody looks before the chief holds the folder, which an earlier chief may still have been
    # writing to when this worker was started.
    strategies.agree(strategy, False)
    start = CheckpointFiles(folder.checkpoints).newest() or Position(0, 0)
    seen = (folder.config_path.exists(), *start, folder.read_state().get("epoch", 0))
    if strategies.agree(strategy, seen != strategies.chiefs(strategy, seen)):
        raise ValueError(
            "All workers must see the same --output_dir, on a file system that they share. "
            f"Received: {folder.path}, which is another folder on some worker."
        )
    return start, seen[-1]
