"""Mean average precision by hand."""

import numpy as np
import pytest

from ogm_tf.metrics import mean_average_precision


def test_mean_average_precision_by_hand():
    labels = np.array([0, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    # Class 0 is found at ranks 1 and 3: (1 + 2/3) / 2. Class 1 at rank 2 of its column: 1/2.
    assert mean_average_precision(probabilities, labels) == pytest.approx((5 / 6 + 1 / 2) / 2)


def test_ties_enter_together_and_absent_classes_do_not_count():
    labels = np.array([0, 1, 1, 0])
    probabilities = np.full((4, 3), 0.5)
    assert mean_average_precision(probabilities, labels) == pytest.approx(0.5)


def test_perfect_and_refused():
    assert mean_average_precision(np.eye(4), np.arange(4)) == 1.0
    with pytest.raises(ValueError, match="Received: \\(4, 4\\) and \\(3,\\)"):
        mean_average_precision(np.eye(4), np.arange(3))
