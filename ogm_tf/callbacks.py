"""Callbacks of training."""

import keras
import tensorflow as tf


class EpochCounter(keras.callbacks.Callback):
    """Tells the model which epoch runs, for the window of its modulation; `fit` adds it.

    Args:
      epoch: Integer variable to set.
    """

    def __init__(self, epoch: tf.Variable):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch.assign(epoch)
