"""MMPareto: where a modality's own loss and the fused one pull apart, the Pareto mix of both."""

import keras
import tensorflow as tf

from ogm_tf.modulation.branches import VariableFilter, get_filter, serialized_filter
from ogm_tf.modulation.gradients import sum_of
from ogm_tf.modulation.interface import Modulation, require_number


@keras.saving.register_keras_serializable(package="ogm_tf")
class MMPareto(Modulation):
    """Mixes in every encoder the gradients of the fused and of the modality's own loss.

    Wei and Hu, "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance" (ICML
    2024). With g the gradient of the fused loss and u that of the modality's own, over all of the
    encoder's modulated variables together,

        h = g + u                                              where g . u >= 0
        h = 2 a g + 2 (1 - a) u,  a = argmin |a g + (1 - a) u|   where g . u < 0
        step = gamma |g + u| / |h| h                           where g . u < 0
        step = gamma h                                         else

    The minimum has a closed form, a = u . (u - g) / |g - u|^2, in (0, 1) where g . u < 0. Then h
    makes neither loss worse, but is short: the last lines give it the length of the plain sum,
    times gamma. All other variables, such as the head's, learn from the sum of all losses. An
    encoder has one a and one length, as in the paper; the authors' code takes the length tensor by
    tensor, and shortens none. The coefficient that `fit` reports is always 1: nothing is damped.

    Where g and u are opposite to within about 1e-3 of a radian, float32 cannot hold |h|: the step
    may have another length, or be 0.

    Outside of its window of epochs training is that of `Unimodal(1.0)`.

    Args:
      gamma: Length of the step as a share of the plain sum's, finite and > 0; the authors' is 1.5.
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.
      variables: Which of an encoder's variables, as of `OGM`; by default "all".

    Raises:
      ValueError: where a value is out of its range.
    """

    adds_unimodal_losses = True
    separates_losses = True

    def __init__(
        self,
        gamma: float = 1.5,
        start_epoch: int = 0,
        end_epoch: int | None = None,
        variables: str | VariableFilter = "all",
    ):
        super().__init__(start_epoch, end_epoch)
        self.gamma = require_number("gamma", gamma, "> 0", lambda value: value > 0)
        get_filter(variables)
        self.variables = variables

    def added_loss(self, step):
        return tf.add_n([step.loss(logits) for logits in step.unimodal.values()])

    def accepts(self, variable):
        return get_filter(self.variables)(variable)

    def modulate(self, gradients, coefficients, step, owners=(), added=None):
        result = [sum_of(own, other) for own, other in zip(gradients, added, strict=True)]
        for name in dict.fromkeys(owner for owner in owners if owner is not None):
            members = [
                index
                for index, owner in enumerate(owners)
                if owner == name and gradients[index] is not None and added[index] is not None
            ]
            if not members:
                # One of the losses has no gradient in this encoder: there is nothing to mix.
                continue
            joint = [tf.convert_to_tensor(gradients[index]) for index in members]
            own = [tf.convert_to_tensor(added[index]) for index in members]
            joint_factor, own_factor = pareto_factors(
                _dot(joint, joint), _dot(joint, own), _dot(own, own), self.gamma
            )
            for index, first, second in zip(members, joint, own, strict=True):
                result[index] = (
                    tf.cast(joint_factor, first.dtype) * first
                    + tf.cast(own_factor, second.dtype) * second
                )
        return result

    def get_config(self):
        return {
            "gamma": self.gamma,
            **super().get_config(),
            "variables": serialized_filter(self.variables),
        }


def pareto_factors(
    joint: tf.Tensor, mixed: tf.Tensor, own: tf.Tensor, gamma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what the fused and the own loss' gradients are multiplied by; see `MMPareto`.

    Args:
      joint: |g|^2, `[]`.
      mixed: g . u, `[]`.
      own: |u|^2, `[]`.
      gamma: Length of the step as a share of that of g + u.

    Returns:
      Two float32 scalars.
    """
    conflict = mixed < 0
    # Where they are opposite and equal there is no step to take, and 0 / 0 must not come of it.
    share = tf.math.divide_no_nan(own - mixed, joint - 2 * mixed + own)
    first = tf.where(conflict, 2 * share, 1.0)
    second = tf.where(conflict, 2 * (1 - share), 1.0)
    length = tf.square(first) * joint + 2 * first * second * mixed + tf.square(second) * own
    plain = joint + 2 * mixed + own
    scale = tf.sqrt(tf.math.divide_no_nan(tf.maximum(plain, 0.0), tf.maximum(length, 0.0)))
    scale = gamma * tf.where(conflict, scale, 1.0)
    return scale * first, scale * second


def _dot(first: list[tf.Tensor], second: list[tf.Tensor]) -> tf.Tensor:
    """Returns the inner product of two lists of tensors as one vector each, float32 `[]`."""
    return tf.add_n(
        [
            tf.reduce_sum(tf.cast(a, tf.float32) * tf.cast(b, tf.float32))
            for a, b in zip(first, second, strict=True)
        ]
    )
