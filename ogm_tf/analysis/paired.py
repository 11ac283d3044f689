"""What several seeds say: their spread, and paired differences with their intervals."""

import math
from collections.abc import Sequence

import numpy as np

MAX_SEEDS = 10
# Student's 97.5 % quantiles for 1 to 9 degrees of freedom.
_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation of 2 or more values."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns Student's interval, 95 %, of the mean of 2 or more paired differences.

    Of more than 10, where the quantiles end, it is wider than need be, by less than a sixth.
    """
    quantile = _QUANTILES[min(len(values), MAX_SEEDS) - 2]
    half = quantile * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def difference(values: Sequence[float]) -> str:
    """Returns the mean of 2 or more paired differences and Student's interval of it, 95 %."""
    low, high = interval(values)
    return f"{np.mean(values):+.3f} [{low:+.3f}, {high:+.3f}]"
