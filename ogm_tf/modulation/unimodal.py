"""A loss of each modality's own logits beside the fused one."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from ogm_tf.modulation.interface import Modulation, require_number


@keras.saving.register_keras_serializable(package="ogm_tf")
class Unimodal(Modulation):
    """Adds the loss of each modality's own logits, with fixed weights:

        L = L(fused) + sum over the modalities u of w_u L(logits of u)

    the joint training that G-Blend (Wang et al., "What Makes Training Multi-modal Classification
    Networks Hard?", CVPR 2020) and MMPareto start from. The logits are those that the fusion gives
    each modality, whose map it shares with the fused ones; there are no further heads.

    Args:
      weight: Of every modality, or `{modality: weight}` of all of them; finite, >= 0. Default 1.
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.

    Raises:
      ValueError: where a value is out of its range.
    """

    adds_unimodal_losses = True

    def __init__(
        self,
        weight: float | Mapping[str, float] = 1.0,
        start_epoch: int = 0,
        end_epoch: int | None = None,
    ):
        super().__init__(start_epoch, end_epoch)
        if isinstance(weight, Mapping):
            self.weight = {name: _weight(value) for name, value in weight.items()}
        else:
            self.weight = _weight(weight)

    def loss(self, step):
        """Returns the weighted sum of the modalities' losses.

        Raises:
          ValueError: where the weights are of other modalities.
        """
        weights = self.weight
        if not isinstance(weights, Mapping):
            weights = dict.fromkeys(step.unimodal, weights)
        if weights.keys() != step.unimodal.keys():
            raise ValueError(
                f"`weight` must name the modalities {sorted(step.unimodal)}. "
                f"Received: weight={self.weight!r}."
            )
        losses = [weights[name] * step.loss(logits) for name, logits in step.unimodal.items()]
        return tf.add_n(losses)

    def get_config(self):
        return {"weight": self.weight, **super().get_config()}


def _weight(value: float) -> float:
    return require_number("weight", value, ">= 0", lambda number: number >= 0)
