"""Gradient blending: losses weighted by how well, and how little over, each head learns."""

import keras
import tensorflow as tf
from absl import logging

from ogm_tf.modulation.interface import Modulation


@keras.saving.register_keras_serializable(package="ogm_tf")
class GBlend(Modulation):
    """Blends the losses of the fused and of each modality's own logits:

        L = w_0 L(fused) + sum over the modalities u of w_u L(logits of u),   w of sum 1

    Wang et al., "What Makes Training Multi-modal Classification Networks Hard?" (CVPR 2020). The
    weights are estimated by `ogm_tf.gradient_blending.GBlendEstimator`, a callback of `fit`, from
    what each head gains on held-out data, G, and overfits, O: w proportional to G / O^2. Until then
    they are equal. A training that never had the callback says so, once.

    Args:
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.
    """

    adds_unimodal_losses = True
    remembers = True

    def __init__(self, start_epoch: int = 0, end_epoch: int | None = None):
        super().__init__(start_epoch, end_epoch)
        # The estimator says that it is there.
        self.has_estimator = False
        self._has_warned = False

    def __getstate__(self):
        return {**super().__getstate__(), "has_estimator": False, "_has_warned": False}

    def weights(self, num_modalities: int) -> tf.Variable:
        """Returns the weights: of the fused loss, then of each modality's, float32 `[M + 1]`."""
        count = num_modalities + 1
        return self._state.get("weights", lambda: tf.fill([count], 1 / count))

    def loss(self, step):
        if not self.has_estimator and not self._has_warned:
            self._has_warned = True
            logging.warning(
                "GBlend has no GBlendEstimator among the callbacks of `fit`: its weights stay as "
                "they are."
            )
        loss = step.loss(step.logits)
        weights = tf.cast(self.weights(len(step.unimodal)).read_value(), loss.dtype)
        weights = tf.unstack(weights)
        fused = (weights[0] - 1) * loss
        own = [
            weight * step.loss(logits)
            for weight, logits in zip(weights[1:], step.unimodal.values(), strict=True)
        ]
        return tf.add_n([fused, *own])
