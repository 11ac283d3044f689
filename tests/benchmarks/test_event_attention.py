import numpy as np

from benchmarks import event_attention


def test_quarters_are_counted_row_by_row():
    maps = np.zeros((3, 4, 6))
    # At the right of the upper half; there again, but for a peak below; and at the lower left.
    maps[0, 1, 3:5] = 0.6, 0.4
    maps[1, 0, 5], maps[1, 3, 5] = 0.3, 0.7
    maps[2, 2, 2] = 1
    is_highest, share = event_attention.quarters(maps, [1, 1, 2])
    assert is_highest.tolist() == [True, False, True]
    np.testing.assert_allclose(share, [1, 0.3, 1])
    is_highest, share = event_attention.quarters(maps, [0, 3, 3])
    assert is_highest.tolist() == [False, True, False]
    np.testing.assert_allclose(share, [0, 0.7, 0])
