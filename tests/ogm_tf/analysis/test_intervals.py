"""Intervals against tables and hand-computed numbers."""

import math

import pytest

from ogm_tf.analysis import intervals


def test_students_quantiles_are_those_of_the_tables():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 10: 2.228, 29: 2.045, 120: 1.980}
    for degrees, quantile in table.items():
        assert intervals.student_quantile(degrees) == pytest.approx(quantile, abs=6e-4)


def test_students_interval_by_hand():
    # Mean 0.2, deviation 0.1, 4.303 * 0.1 / sqrt(3) = 0.24843.
    low, high = intervals.student([0.1, 0.2, 0.3])
    assert (low, high) == pytest.approx((-0.04843, 0.44843), abs=1e-4)
    assert all(map(math.isnan, intervals.student([0.5])))
    # (1 + 2 * 0.25) / 0.75 = 2.
    low, high = intervals.student([0.1, 0.2, 0.3], correlation=0.25)
    assert (low, high) == pytest.approx((0.2 - 0.35133, 0.2 + 0.35133), abs=1e-4)


def test_wilsons_interval_by_hand():
    # z^2 = 3.8415: (0.8 + 0.19207 -+ sqrt(3.8415 (0.16 + 0.0960) / 10)) / 1.38415.
    assert intervals.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert intervals.wilson(0, 10) == pytest.approx((0, 3.8415 / 13.8415), abs=1e-4)
    assert intervals.wilson(3, 3)[1] == pytest.approx(1)
    assert all(map(math.isnan, intervals.wilson(0, 0)))


def test_p_of_students_test_by_the_tables():
    # t = 0.2 / (0.1 / sqrt(3)) = 3.4641 at 2 degrees: 1 - t / sqrt(t^2 + 2) = 1 - 0.92582.
    assert intervals.student_p([0.1, 0.2, 0.3]) == pytest.approx(0.07418, abs=1e-5)
    assert intervals.student_p([-0.1, -0.2, -0.3]) == pytest.approx(0.07418, abs=1e-5)
    assert intervals.student_p([-1.0, 1.0]) == 1 and intervals.student_p([0.0, 0.0]) == 1
    assert intervals.student_p([0.5, 0.5]) == 0
    assert math.isnan(intervals.student_p([0.5]))


def test_holms_correction_by_hand():
    # 4 * 0.01; 3 * 0.02; 2 * 0.03, no less than that; 1 * 0.04, no less.
    assert intervals.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert intervals.holm([0.9, 0.6]) == [1.0, 1.0]
    assert intervals.holm([]) == []
    first, second = intervals.holm([math.nan, 0.2])
    assert math.isnan(first) and second == 0.2
