"""Checkpoints from which `fit` goes on as if it had never stopped.

Keras' `BackupAndRestore` leaves out metrics and every replica's own variables.
"""

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ogm_tf.checkpoint_files import CheckpointFiles, Position, reason
from ogm_tf.training_state import TrainingState

_STATE = "state.json"


class Stopped(Exception):
    """Training was asked to stop, and what it needs to go on has been saved."""


class Stateful(Protocol):
    """What has a state of its own beside the model's, such as the memory of the best epoch."""

    def get_state(self) -> dict[str, Any]:
        """Returns the state, of what JSON can hold."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over a state."""


class Checkpoint(keras.callbacks.Callback):
    """Saves all of a training, and restores it where `fit` begins.

    The same `fit` with the same callback goes on where the newest checkpoint stands, in the middle
    of an epoch as well: with model, optimiser, loss scale, metrics, and every replica's own part of
    what replicas do not share. The dataset must go on there too:

    ```python
    checkpoint = ogm_tf.checkpoints.Checkpoint("run/checkpoints", every_steps=500)
    epoch, step = checkpoint.progress()
    model.fit(make_dataset(skip=epoch * steps + step), steps_per_epoch=steps, epochs=100,
              callbacks=[checkpoint])
    ```

    Place it after callbacks that change the model, or what `extra` remembers, at an epoch's end.
    A property `step_variables` of the model names what a step keeps beside weights and metrics.

    Args:
      folder: Of the checkpoints.
      every_steps: Steps after which a checkpoint is written, >= 1, counted over epochs; None: at
        the end of an epoch only, where there always is one.
      keep: Checkpoints to keep, >= 1.
      writes: Whether this process keeps what it saves. Of several workers all must save, for the
        values that they do not share are read by all at once, and the chief alone keeps files.
      extra: More to save, by name.
      should_stop: Called after every step; where it returns True, training is saved and `fit`
        raises `Stopped`. Of several workers all must get the same answer.

    Raises:
      ValueError: where `every_steps` or `keep` is out of its range.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        every_steps: int | None = None,
        *,
        keep: int = 2,
        writes: bool = True,
        extra: Mapping[str, Stateful] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ):
        super().__init__()
        # Spares every step the copy of its logs to NumPy.
        self._supports_tf_logs = True
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"`every_steps` must be >= 1. Received: every_steps={every_steps!r}.")
        self.every_steps = every_steps
        self.writes = writes
        self._files = CheckpointFiles(folder, keep)
        self._extra = dict(extra or {})
        self._should_stop = should_stop or (lambda: False)
        self._saved: Position | None = None
        self._position = Position(0, 0)
        self._after_last_step: dict[str, np.ndarray] | None = None

    def progress(self) -> Position:
        """Returns where the newest whole checkpoint stands; epoch 0, step 0 where there is none.

        Raises:
          ValueError: where there are checkpoints and every one of them is damaged.
        """
        return self._files.newest() or Position(0, 0)

    def on_train_begin(self, logs=None):
        self._steps = self.params["steps"]
        if self.every_steps and self._steps is None:
            raise ValueError(
                "`every_steps` needs an epoch of known length; give `steps_per_epoch`. "
                f"Received: every_steps={self.every_steps}."
            )
        self._after_last_step = None
        self._state = TrainingState(self.model)
        self._saved = self._files.newest()
        if self.writes:
            self._files.sweep(self._saved)
        if self._saved is not None:
            self._restore(self._saved)

    def maybe_load_initial_counters_from_ckpt(self, steps_per_epoch, initial_epoch, mode):
        """Tells `fit` where to begin; by this name Keras asks `model._training_state` for it."""
        del steps_per_epoch, initial_epoch, mode
        self.model._training_state = None
        epoch, step = self._saved
        # An epoch without a step is an error to `fit`: the one left over trains nothing.
        return epoch, min(step, self._steps - 1) if step else 0

    def on_epoch_begin(self, epoch, logs=None):
        # The first epoch may begin in its middle.
        self._position = max(Position(epoch, 0), self._saved or Position(0, 0))
        if self._should_stop():
            self._stop(self._position)

    def on_train_batch_end(self, batch, logs=None):
        before, self._position = self._position, self._position._replace(step=batch + 1)
        if self._should_stop():
            self._stop(self._position)
        # What is due at an epoch's last step is saved with the epoch.
        if self.every_steps and self._position.step < self._steps:
            done, done_before = (p.epoch * self._steps + p.step for p in (self._position, before))
            if done // self.every_steps > done_before // self.every_steps:
                self.save(self._position)

    def on_test_begin(self, logs=None):
        if self._position.step == self._steps:
            # Validation takes the metrics for itself.
            self._after_last_step = self._state.local_values()

    def on_test_batch_end(self, batch, logs=None):
        if self._after_last_step is not None and self._should_stop():
            self._stop(self._position)

    def on_epoch_end(self, epoch, logs=None):
        self._after_last_step = None
        self._position = Position(epoch + 1, 0)
        self.save(self._position)

    def save(self, position: Position) -> None:
        """Writes a checkpoint, unless there is one of this position already.

        Raises:
          OSError: where it cannot be written; those before it stay as they are.
        """
        if position == self._saved:
            return
        try:
            if self.writes:
                with self._files.writing(position) as folder:
                    self._write(folder, position)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    self._write(pathlib.Path(folder), position)
        except (OSError, tf.errors.OpError) as error:
            saved = self._saved
            last = "none" if saved is None else f"{saved}, in {self._files.path(saved)}"
            raise OSError(
                f"The checkpoint of {position} must be written to {self._files.folder}. "
                f"Received: {reason(error)}. The last whole checkpoint: {last}."
            ) from error
        self._saved = position

    def _stop(self, position: Position) -> None:
        self.save(position)
        raise Stopped(f"Stopped and saved at {position}.")

    def _write(self, folder: pathlib.Path, position: Position) -> None:
        self._state.write(folder, local=self._after_last_step)
        state = {
            "epoch": position.epoch,
            "step": position.step,
            "steps_per_epoch": self._steps,
            "extra": {name: item.get_state() for name, item in self._extra.items()},
        }
        (folder / _STATE).write_text(json.dumps(state, indent=2) + "\n")

    def _restore(self, position: Position) -> None:
        folder = self._files.path(position)
        state = json.loads((folder / _STATE).read_text())
        if position.step and state["steps_per_epoch"] != self._steps:
            raise ValueError(
                "An epoch must have as many steps as where it was begun, "
                f"{state['steps_per_epoch']}. Received: {self._steps} steps."
            )
        logging.info("Training goes on from %s.", folder)
        self._state.read_shared(folder)
        if state["extra"].keys() != self._extra.keys():
            raise ValueError(
                "A training must go on with the `extra` it was begun with, "
                f"{sorted(state['extra'])}. Received: {sorted(self._extra)}."
            )
        for name, item in self._extra.items():
            item.set_state(state["extra"][name])
        self._restore_in_first_step(position, self._state.read_local(folder))
        self.model._training_state = self

    def _restore_in_first_step(self, position: Position, local: dict[str, np.ndarray]) -> None:
        """Restores metrics where `fit` has reset them and Keras has made all of them."""
        train = self.model.make_train_function()

        def first_step(iterator):
            self.model.train_function = train
            if isinstance(train, tf.types.experimental.PolymorphicFunction):
                # Keras makes some metrics, and a model its sums of gradients, while it traces.
                train.get_concrete_function(iterator)
            elif position.step:
                logging.warning("A model that runs eagerly begins its epoch's metrics anew.")
            self._state.assign_local(local, with_step=position.step > 0)
            if not position.step:
                # Keeps what metrics carry from epoch to epoch.
                self.model.reset_metrics()
            if position.step == self._steps:
                return self.model.get_metrics_result()
            return train(iterator)

        self.model.train_function = first_step
