"""OGM and OGM-GE: the gradients of the modality that is ahead are damped."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ogm_tf.modulation import discrepancy
from ogm_tf.modulation.branches import VariableFilter, get_filter, serialized_filter
from ogm_tf.modulation.interface import Modulation, is_integer, require_number
from ogm_tf.modulation.noise import noise_seeds, scale_and_add_noise


@keras.saving.register_keras_serializable(package="ogm_tf")
class OGM(Modulation):
    """On-the-fly gradient modulation: damps the encoder of the modality that is ahead.

    Eq. 11 of Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation"
    (CVPR 2022): the gradients of modality u are multiplied by its coefficient k_u (Eq. 10).

    The authors' code and their paper differ; where they do, this follows the paper (a tie damps
    nobody, no fixed number of modalities) but for two things taken from the code: the window of
    epochs and, by default, which variables are modulated. Optimisers that divide a gradient by its
    running magnitude (Adam and its kin) cancel much of a slowly changing coefficient. The gradient
    of an embedding that is modulated is dense, so "lazy_adam" and the like touch all of its rows.

    Args:
      alpha: How strongly, finite and >= 0. The paper uses 0.1 (VGGSound) to 0.8 (CREMA-D).
      start_epoch: First epoch that is modulated, from 0.
      end_epoch: Last epoch that is modulated, included; None for the whole run. The authors' code
        uses 50 of 100.
      variables: Which of an encoder's variables: "kernels" (rank >= 2, but no bias, gamma
        or beta), "conv" (rank 4, the authors' code), "all" (the paper's text), or a function
        variable -> bool.
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
        super().__init__(start_epoch, end_epoch)
        self.alpha = require_number("alpha", alpha, ">= 0", lambda value: value >= 0)
        if rule not in discrepancy.RULES:
            raise ValueError(
                f"`rule` must be one of {', '.join(discrepancy.RULES)}. Received: rule={rule!r}."
            )
        get_filter(variables)
        self.variables = variables
        self.rule = rule

    def accepts(self, variable: tf.Variable) -> bool:
        """Returns whether an encoder's variable is modulated."""
        return get_filter(self.variables)(variable)

    def coefficients(self, ratios: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns each modality's coefficient inside the window; see `modulation.coefficients`."""
        return discrepancy.coefficients(ratios, self.alpha, self.rule)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "alpha": self.alpha,
            "start_epoch": self.start_epoch,
            "end_epoch": self.end_epoch,
            "variables": serialized_filter(self.variables),
            "rule": self.rule,
        }


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
        if not is_integer(seed) or not 0 <= seed < 2**31:
            raise ValueError(f"`seed` must be an integer in [0, 2**31). Received: seed={seed!r}.")
        self.seed = int(seed)

    def modulate(self, gradients, coefficients, step, owners=(), added=None):
        """Returns k * gradient + noise where there is a coefficient."""
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
            tf.gather(seeds, tf.constant(chosen, tf.int32)),
        )
        result = list(gradients)
        for index, value in zip(chosen, enhanced, strict=True):
            result[index] = value
        return result

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}
