"""Gradient blending: losses weighted by how well, and how little over, each head learns."""

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ogm_tf.modulation.interface import Modulation, State, is_integer


@keras.saving.register_keras_serializable(package="ogm_tf")
class GBlend(Modulation):
    """Blends the losses of the fused and of each modality's own logits:

        L = w_0 L(fused) + sum over the modalities u of w_u L(logits of u),   w of sum 1

    Wang et al., "What Makes Training Multi-modal Classification Networks Hard?" (CVPR 2020). The
    weights are estimated by `GBlendEstimator`, a callback of `fit`; until then they are equal.

    Args:
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.
    """

    acts_on_loss = True

    def __init__(self, start_epoch: int = 0, end_epoch: int | None = None):
        super().__init__(start_epoch, end_epoch)
        self._state = State()

    @property
    def state(self):
        return self._state.variables

    def weights(self, num_modalities: int) -> tf.Variable:
        """Returns the weights: of the fused loss, then of each modality's, float32 `[M + 1]`."""
        count = num_modalities + 1
        return self._state.get("weights", lambda: tf.fill([count], 1 / count))

    def loss(self, step):
        weights = tf.unstack(self.weights(len(step.unimodal)).read_value())
        fused = (weights[0] - 1) * step.loss(step.logits)
        own = [
            weight * step.loss(logits)
            for weight, logits in zip(weights[1:], step.unimodal.values(), strict=True)
        ]
        return tf.add_n([fused, *own])


class GBlendEstimator(keras.callbacks.Callback):
    """Estimates the weights of `GBlend` anew at the beginning of every super-epoch.

    From the weights that the network has, each head is trained alone for some epochs, and all is
    put back. Of what a head's loss came down by on held-out data, its generalisation G, and of how
    much its gap between training and held-out loss grew, its overfitting O, follow

        G = L_held(before) - L_held(after)
        O = (L_held - L_train)(after) - (L_held - L_train)(before)
        w proportional to G / O^2                                         (eq. 5 of the paper)

    Heads that get no better, G <= 0, weigh nothing; where none does, the weights stay. An O below a
    thousandth of G is taken for that.

    Args:
      training: Batches of `fit`'s form, on which the heads are trained and measured: finite.
      held_out: Batches of training data that `fit` does not see, for the other measure: finite.
      super_epoch: Epochs between estimates, >= 1.
      epochs: Passes over `training` of each head, >= 1.

    Raises:
      ValueError: where a number is out of its range.
    """

    def __init__(
        self,
        training: tf.data.Dataset,
        held_out: tf.data.Dataset,
        super_epoch: int = 10,
        epochs: int = 1,
    ):
        super().__init__()
        for name, value in (("super_epoch", super_epoch), ("epochs", epochs)):
            if not is_integer(value) or value < 1:
                raise ValueError(f"`{name}` must be an integer >= 1. Received: {name}={value!r}.")
        self.training, self.held_out = training, held_out
        self.super_epoch, self.epochs = super_epoch, epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch % self.super_epoch == 0:
            found = self.estimate()
            logging.info("Epoch %d: G-Blend weighs the losses %s.", epoch, np.round(found, 3))

    def estimate(self) -> np.ndarray:
        """Estimates and sets the weights, and returns them, `[M + 1]`."""
        method = self._method()
        strategy = self.model.distribute_strategy
        with strategy.scope():
            weights = method.weights(len(self.model.branches))
        current = self._read(weights)
        saved = self._snapshot()
        before = self._losses()
        after = []
        for head in range(len(current)):
            weights.assign(np.eye(len(current), dtype=np.float32)[head])
            self._train()
            after.append([losses[head] for losses in self._losses()])
            self._restore(saved)
        found = blend(np.array(before), np.array(after).T)
        found = current if found is None else found
        weights.assign(found.astype(np.float32))
        self.model.reset_metrics()
        return found
