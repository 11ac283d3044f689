"""What may be said of a mean of few values, and of a share of few things."""

import math
from collections.abc import Sequence

import numpy as np

_PROBABILITY = 0.95
# The normal distribution's quantile, beyond which a half of the rest lies on each side.
_NORMAL_QUANTILE = 1.959964


def student(values: Sequence[float], correlation: float = 0.0) -> tuple[float, float]:
    """Returns Student's 95 % interval of the mean of some values; NaN of fewer than 2.

    Args:
      values: Equally distributed.
      correlation: Of any two of them, r in [0, 1). Of n values the variance of the mean is then
        `(1 + (n - 1) r) / (1 - r)` times what their spread says.
    """
    values = np.asarray(values, float)
    if values.size < 2:
        return math.nan, math.nan
    half = student_quantile(values.size - 1) * values.std(ddof=1) / math.sqrt(values.size)
    half *= math.sqrt((1 + (values.size - 1) * correlation) / (1 - correlation))
    return float(values.mean() - half), float(values.mean() + half)


def student_quantile(degrees: int) -> float:
    """Returns the 97.5 % quantile of Student's distribution of so many degrees of freedom, >= 1."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if _probability_within(middle, degrees) < _PROBABILITY:
            low = middle
        else:
            high = middle
    return high


def student_p(values: Sequence[float]) -> float:
    """Returns the p of a two-sided t-test of a mean against 0; NaN of fewer than 2 values.

    Of paired differences it is the paired t-test. Values that are all equal differ from 0 surely,
    p = 0, or are 0, p = 1.
    """
    values = np.asarray(values, float)
    if values.size < 2:
        return math.nan
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(values.size)
    if error == 0:
        return float(mean == 0)
    return max(0.0, 1 - _probability_within(abs(mean) / error, values.size - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """Returns p values corrected for their number: Holm's step-down, in the order given.

    The k-th smallest of n, from 0, becomes (n - k) times itself, no less than one before it, and
    at most 1 (Holm, 1979). NaN stays, and does not count.
    """
    known = [index for index in np.argsort(ps) if not math.isnan(ps[index])]
    corrected = [math.nan] * len(ps)
    least = 0.0
    for rank, index in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * ps[index]))
        corrected[index] = least
    return corrected


def wilson(num_right: float, num_all: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share; NaN of nothing.

    Args:
      num_right: In [0, num_all].
      num_all: Things that were right or wrong, independently, >= 0.
    """
    if num_all == 0:
        return math.nan, math.nan
    share, square = num_right / num_all, _NORMAL_QUANTILE**2
    centre = share + square / (2 * num_all)
    half = math.sqrt(square * (share * (1 - share) + square / (4 * num_all)) / num_all)
    scale = 1 + square / num_all
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _probability_within(limit: float, degrees: int) -> float:
    """Returns the probability that Student's t lies in [-limit, limit].

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(limit / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for place in range(degrees // 2):
        total += term
        numerator = 2 * place + 1 + is_odd
        term *= cosine**2 * numerator / (numerator + 1)
    if is_odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total
