"""Unsupported versions are refused in one sentence."""

import pytest

from ogm_tf.compatibility import require_supported


def test_supported():
    require_supported((3, 11, 7), "2.15.0")


def test_other_python():
    with pytest.raises(ImportError, match="needs Python 3.11.*Received: Python 3.12"):
        require_supported((3, 12, 0), "2.15.0")


def test_keras_3():
    with pytest.raises(ImportError, match="needs Keras 2.15.*Received: Keras 3.1.0"):
        require_supported((3, 11, 7), "3.1.0")
