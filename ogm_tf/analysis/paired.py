"""What several seeds say: their spread, and paired differences with their intervals."""

import math
from collections.abc import Sequence

import numpy as np

MAX_SEEDS = 10
# Student's 97.5 % quantiles for 1 to 9 degrees of freedom.
_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def deviation(values: Sequence[float]) -> float | None:
    """Returns the standard deviation of 2 or more values, unbiased variance; of one: None."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns Student's 95 % interval of the mean of 2 to `MAX_SEEDS` values; of one: None."""
    if len(values) < 2:
        return None
    mean = float(np.mean(values))
    half = _QUANTILES[len(values) - 2] * deviation(values) / math.sqrt(len(values))
    return mean - half, mean + half


def spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation of some values; of one, itself."""
    mean, own = f"{np.mean(values):.3f}", deviation(values)
    return mean if own is None else f"{mean} ± {own:.3f}"


def difference(values: Sequence[float]) -> str:
    """Returns the mean of 1 to `MAX_SEEDS` paired differences, of 2 and more with `interval`."""
    mean, ends = f"{np.mean(values):+.3f}", interval(values)
    return mean if ends is None else f"{mean} [{ends[0]:+.3f}, {ends[1]:+.3f}]"
