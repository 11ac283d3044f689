"""Callbacks of training."""

import keras
import tensorflow as tf
from absl import logging

from ogm_tf.accumulation import Accumulator


class EpochCounter(keras.callbacks.Callback):
    """Tells the model which epoch runs, for the window of its modulation; `fit` adds it.

    Args:
      epoch: Integer variable to set.
      accumulator: Of gradients, which starts every epoch empty.
    """

    def __init__(self, epoch: tf.Variable, accumulator: Accumulator):
        super().__init__()
        self.epoch = epoch
        self._accumulator = accumulator

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch.assign(epoch)
        self._accumulator.clear()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if skipped := int(logs.get("skipped_steps", 0)):
            logging.warning(
                "Epoch %d: %d updates were skipped; not finite in the last of them: %s.",
                epoch, skipped, self.model.last_skipped,
            )  # fmt: skip
        steps, wanted = self.params.get("steps"), self._accumulator.num_batches
        if steps and steps < wanted:
            logging.warning(
                "Epoch %d has %d batches, of which accumulate_steps=%d make an update: no weight "
                "was updated.", epoch, steps, wanted,
            )  # fmt: skip


class SkippedSteps(keras.callbacks.Callback):
    """Ends a training of `OGMModel` that has skipped too many steps in a row.

    A step whose loss or gradients are not finite, or what the method makes of it, changes nothing;
    one such step may be a damaged sample, many of them are a training that has diverged. With
    `steps_per_execution`, Keras lets callbacks look at the last step of an execution only.

    Args:
      limit: Skipped steps in a row at which training ends, >= 1.

    Raises:
      ValueError: where the limit is out of its range.
    """

    def __init__(self, limit: int = 20):
        super().__init__()
        if limit < 1:
            raise ValueError(f"`limit` must be >= 1. Received: limit={limit!r}.")
        self.limit = limit
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        in_a_row = self.model.skipped_in_a_row
        if in_a_row >= self.limit:
            raise ArithmeticError(
                f"Loss and gradients must be finite; {in_a_row} steps in a row were not, and were "
                "skipped. Try a lower learning rate, or a weaker method. Received: "
                f"{self.model.last_skipped} not finite at epoch {self._epoch}, step {batch}."
            )
