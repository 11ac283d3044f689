"""From scores to discrepancy ratios to coefficients, for any number of modalities."""

from collections.abc import Callable, Mapping

import tensorflow as tf

_LARGEST = tf.float32.max


def discrepancy_ratios(scores: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns how far each modality is ahead of the others.

    Two modalities: Eq. 9 of the paper, rho_u = s_u / s_v. More: the mean over the others of
    s_u / s_v, as in the authors' journal version (Wei et al., TPAMI 2024), of which two are a
    special case.

    Args:
      scores: Each modality's score, float32 scalars >= 0, at least two.

    Returns:
      Each modality's ratio, float32 in [0, float32's maximum]: no epsilon is added, 0 / 0 is 1 and
      x / 0 is float32's maximum.

    Raises:
      ValueError: where fewer than two modalities are given.
    """
    if len(scores) < 2:
        raise ValueError(
            f"A discrepancy needs at least two modalities. Received: {sorted(scores)}."
        )
    return _mean_ratios(scores, _ratio)


def behind_ratios(scores: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns how far each modality is behind the others: the mean over them of s_v / s_u.

    Args:
      scores: As of `discrepancy_ratios`.
    """
    return _mean_ratios(scores, lambda score, other: _ratio(other, score))


def _mean_ratios(
    scores: Mapping[str, tf.Tensor], ratio: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> dict[str, tf.Tensor]:
    scores = {name: tf.cast(score, tf.float32) for name, score in scores.items()}
    ratios = {}
    for name, score in scores.items():
        others = [other for other_name, other in scores.items() if other_name != name]
        # In float64 a sum of maxima does not overflow, and many ratios of 1 have a mean of 1.
        own = [tf.cast(ratio(score, other), tf.float64) for other in others]
        ratios[name] = tf.cast(tf.add_n(own) / len(own), tf.float32)
    return ratios


def _ratio(numerator: tf.Tensor, denominator: tf.Tensor) -> tf.Tensor:
    zero = denominator == 0
    quotient = numerator / tf.where(zero, tf.ones_like(denominator), denominator)
    at_zero = tf.where(numerator == 0, tf.ones_like(numerator), _LARGEST)
    at_zero = tf.where(tf.math.is_nan(numerator), numerator, at_zero)
    # A denormal denominator overflows to infinity, which would turn 0 * infinity into NaN.
    return tf.where(zero, at_zero, tf.minimum(quotient, _LARGEST))


def _tanh(ratio: tf.Tensor, alpha: float) -> tf.Tensor:
    """Eq. 10 of the paper: jumps from 1 to 1 - tanh(alpha) at a ratio of 1."""
    return 1.0 - tf.tanh(alpha * ratio)


def _continuous(ratio: tf.Tensor, alpha: float) -> tf.Tensor:
    """Eq. 10 shifted to start from 1, as in an early branch of the authors' code."""
    return 1.0 - tf.tanh(alpha * (ratio - 1.0))


def _tpami(ratio: tf.Tensor, alpha: float) -> tf.Tensor:
    """The journal version's rule, floored at 0."""
    return tf.maximum(1.0 - alpha * tf.tanh(ratio - 1.0), 0.0)


RULES: dict[str, Callable[[tf.Tensor, float], tf.Tensor]] = {
    "tanh": _tanh,
    "continuous": _continuous,
    "tpami": _tpami,
}


def coefficients(
    ratios: Mapping[str, tf.Tensor], alpha: float, rule: str = "tanh"
) -> dict[str, tf.Tensor]:
    """Returns the factor of each modality's gradients: below 1 for who is ahead, 1 for the rest.

    Eq. 10 of the paper: k_u = 1 - tanh(alpha * rho_u) where rho_u > 1, else 1. A tie damps
    nobody; the authors' released code damps the sound there.

    Args:
      ratios: Each modality's discrepancy ratio, float32 scalars >= 0.
      alpha: How strongly, finite and >= 0; 0 turns the modulation off.
      rule: "tanh" (the paper), "continuous": 1 - tanh(alpha * (rho - 1)), or "tpami":
        max(1 - alpha * tanh(rho - 1), 0).

    Returns:
      Each modality's coefficient, float32 in [0, 1], without gradient.

    Raises:
      ValueError: where the rule is unknown.
    """
    if rule not in RULES:
        raise ValueError(f"`rule` must be one of {', '.join(RULES)}. Received: rule={rule!r}.")
    damped = RULES[rule]
    result = {}
    for name, ratio in ratios.items():
        ratio = tf.stop_gradient(tf.cast(ratio, tf.float32))
        result[name] = tf.where(ratio > 1.0, damped(ratio, float(alpha)), tf.ones_like(ratio))
    return result
