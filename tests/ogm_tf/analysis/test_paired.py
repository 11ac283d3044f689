import pytest

from ogm_tf.analysis import paired


def test_spreads_and_intervals_by_hand():
    """Mean 2 and deviation 1 of three values; half of the interval is 4.302653 / sqrt(3)."""
    assert paired.spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
    assert paired.difference([1.0, 2.0, 3.0]) == "+2.000 [-0.484, +4.484]"
    assert paired.deviation([1.0, 2.0, 3.0]) == pytest.approx(1.0)
    assert paired.interval([1.0, 2.0, 3.0]) == pytest.approx((-0.484138, 4.484138), abs=1e-5)
    # Two values have one degree of freedom, ten have nine, eleven ten.
    assert paired.interval([0.0, 2.0]) == pytest.approx((1 - 12.7062, 1 + 12.7062))
    ten = paired.interval([0.0, 1.0] * 5)
    assert ten == pytest.approx((0.5 - 0.377, 0.5 + 0.377), abs=1e-3)
    # Mean 0 and deviation sqrt(110 / 10); 2.228 sqrt(11 / 11).
    eleven = paired.interval([float(value) for value in range(-5, 6)])
    assert eleven == pytest.approx((-2.228, 2.228), abs=1e-3)


def test_one_seed_has_no_spread():
    assert paired.deviation([0.25]) is None and paired.interval([0.25]) is None
    assert paired.spread([0.25]) == "0.250" and paired.difference([-0.25]) == "-0.250"
