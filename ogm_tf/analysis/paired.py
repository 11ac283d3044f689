"""What several seeds say: their spread, and paired differences with their intervals."""

from collections.abc import Sequence

import numpy as np

from ogm_tf.analysis import intervals


def deviation(values: Sequence[float]) -> float | None:
    """Returns the standard deviation of 2 or more values, unbiased variance; of one: None."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns Student's 95 % interval of the mean of 2 or more values; of one: None."""
    return intervals.student(values) if len(values) > 1 else None


def spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation of some values; of one, itself."""
    mean, own = f"{np.mean(values):.3f}", deviation(values)
    return mean if own is None else f"{mean} ± {own:.3f}"


def difference(values: Sequence[float]) -> str:
    """Returns the mean of paired differences, of 2 and more with `interval`."""
    mean, ends = f"{np.mean(values):+.3f}", interval(values)
    return mean if ends is None else f"{mean} [{ends[0]:+.3f}, {ends[1]:+.3f}]"
