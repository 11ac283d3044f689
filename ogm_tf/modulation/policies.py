"""What a user passes to `OGMModel`: how, when and where gradients are modulated."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ogm_tf.modulation import discrepancy
from ogm_tf.modulation.branches import VariableFilter, get_filter
from ogm_tf.modulation.noise import noise_seeds, scale_and_add_noise


@keras.saving.register_keras_serializable(package="ogm_tf")
class OGM:
    """On-the-fly gradient modulation: damps the encoder of the modality that is ahead.

    Eq. 11 of Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation"
    (CVPR 2022): the gradients of modality u are multiplied by its coefficient k_u (Eq. 10).

    The authors' code and their paper differ; where they do, this follows the paper (a tie damps
    nobody, no fixed number of modalities) but for two things taken from the code: the window of
    epochs and, by default, which variables are modulated. Optimisers that divide a gradient by its
    running magnitude (Adam and its kin) cancel much of a slowly changing coefficient.

    Args:
      alpha: How strongly, finite and >= 0. The paper uses 0.1 (VGGSound) to 0.8 (CREMA-D).
      start_epoch: First epoch that is modulated, from 0.
      end_epoch: Last epoch that is modulated, included; None for the whole run. The authors' code
        uses 50 of 100.
      variables: Which of an encoder's variables: "kernels" (rank >= 2, no bias of any rank), "conv"
        (rank 4, the authors' code), "all" (the paper's text), or a function variable -> bool.
      rule: Of the coefficient: "tanh" (the paper), "continuous" or "tpami"; see
        `ogm_tf.modulation.coefficients`.

    Raises:
      ValueError: where a value is out of its range or a name is unknown.
    """

    def __init__(
        self,
        alpha: float,
        start_epoch: int = 0,
        end_epoch: int | None = None,
        variables: str | VariableFilter = "kernels",
        rule: str = "tanh",
    ):
        if not isinstance(alpha, numbers.Real) or not math.isfinite(alpha) or alpha < 0:
            raise ValueError(f"`alpha` must be a finite number >= 0. Received: alpha={alpha!r}.")
        if not _is_integer(start_epoch) or start_epoch < 0:
            raise ValueError(
                f"`start_epoch` must be an integer >= 0. Received: start_epoch={start_epoch!r}."
            )
        if end_epoch is not None and (not _is_integer(end_epoch) or end_epoch < start_epoch):
            raise ValueError(
                "`end_epoch` must be None or an integer >= start_epoch. Received: "
                f"start_epoch={start_epoch!r}, end_epoch={end_epoch!r}."
            )
        if rule not in discrepancy.RULES:
            raise ValueError(
                f"`rule` must be one of {', '.join(discrepancy.RULES)}. Received: rule={rule!r}."
            )
        get_filter(variables)
        self.alpha = float(alpha)
        self.start_epoch = int(start_epoch)
        self.end_epoch = None if end_epoch is None else int(end_epoch)
        self.variables = variables
        self.rule = rule

    def accepts(self, variable: tf.Variable) -> bool:
        """Returns whether an encoder's variable is modulated."""
        return get_filter(self.variables)(variable)

    def is_active(self, epoch: tf.Tensor) -> tf.Tensor:
        """Returns whether an epoch, an integer scalar from 0, lies in the window."""
        active = epoch >= self.start_epoch
        if self.end_epoch is not None:
            active &= epoch <= self.end_epoch
        return active

    def coefficients(self, ratios: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns each modality's coefficient inside the window; see `modulation.coefficients`."""
        return discrepancy.coefficients(ratios, self.alpha, self.rule)

    def modulate(
        self,
        gradients: Sequence[tf.Tensor],
        coefficients: Sequence[tf.Tensor | None],
        step: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Returns the modulated gradients of all trainable variables.

        Args:
          gradients: Of every trainable variable, in a fixed order, already summed over replicas;
            None where there is none.
          coefficients: Beside each gradient its coefficient, or None where it is not modulated.
          step: Integer scalar, the optimiser's iterations.

        Returns:
          k * gradient where there is a coefficient, the gradient itself elsewhere.
        """
        return [
            gradient if coefficient is None else _scale(gradient, coefficient)
            for gradient, coefficient in zip(gradients, coefficients, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        variables = self.variables
        if callable(variables):
            variables = keras.saving.serialize_keras_object(variables)
        return {
            "alpha": self.alpha,
            "start_epoch": self.start_epoch,
            "end_epoch": self.end_epoch,
            "variables": variables,
            "rule": self.rule,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OGM":
        """Returns the policy that `get_config` describes."""
        config = dict(config)
        if isinstance(config.get("variables"), dict):
            config["variables"] = keras.saving.deserialize_keras_object(config["variables"])
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="ogm_tf")
class OGMGE(OGM):
    """OGM with generalisation enhancement: adds back the noise that damping took away.

    Eq. 17 of the paper: k_u * gradient + h, with h ~ N(0, sigma^2) on the modulated variables of
    every modality, also of those with k = 1. The paper's h has the covariance of the mini-batch
    gradient over samples; sigma is here, as in the authors' code, one number a variable: the
    standard deviation over the elements of its unscaled gradient. Outside the window of epochs
    there is neither scaling nor noise.

    Args:
      alpha: As in `OGM`.
      start_epoch: As in `OGM`.
      end_epoch: As in `OGM`.
      variables: As in `OGM`.
      rule: As in `OGM`.
      seed: Of the noise, an integer in [0, 2**31). The noise is a function of the seed, the
        variable's position and the optimiser's iterations alone, so every replica adds the same.

    Raises:
      ValueError: where a value is out of its range or a name is unknown.
    """

    def __init__(
        self,
        alpha: float,
        start_epoch: int = 0,
        end_epoch: int | None = None,
        variables: str | VariableFilter = "kernels",
        rule: str = "tanh",
        seed: int = 0,
    ):
        super().__init__(alpha, start_epoch, end_epoch, variables, rule)
        if not _is_integer(seed) or not 0 <= seed < 2**31:
            raise ValueError(f"`seed` must be an integer in [0, 2**31). Received: seed={seed!r}.")
        self.seed = int(seed)

    def modulate(self, gradients, coefficients, step):
        """Returns k * gradient + noise where there is a coefficient; see `OGM.modulate`."""
        seeds = noise_seeds(self.seed, step, len(gradients))
        chosen = [
            index
            for index, (gradient, coefficient) in enumerate(
                zip(gradients, coefficients, strict=True)
            )
            if gradient is not None and coefficient is not None
        ]
        enhanced = scale_and_add_noise(
            [gradients[index] for index in chosen],
            [coefficients[index] for index in chosen],
            tf.gather(seeds, chosen),
        )
        result = list(gradients)
        for index, value in zip(chosen, enhanced, strict=True):
            result[index] = value
        return result

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}


def _scale(gradient: tf.Tensor | None, coefficient: tf.Tensor) -> tf.Tensor | None:
    return None if gradient is None else gradient * tf.cast(coefficient, gradient.dtype)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
