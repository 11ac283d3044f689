"""The versions this library runs on, checked before anything else is imported."""

from collections.abc import Sequence

PYTHON = (3, 11)
KERAS_MAJOR = "2"


def require_supported(python_version: Sequence[int], keras_version: str) -> None:
    """Refuses an interpreter or a Keras that the pinned packages cannot run on.

    TensorFlow 2.15.1, the last release that tensorflow-addons and tensorflow-io load into, ends at
    Python 3.11, and PyAV 18 begins there.

    Args:
      python_version: As `sys.version_info`.
      keras_version: As `keras.__version__`.

    Raises:
      ImportError: where either is not supported.
    """
    if tuple(python_version[:2]) != PYTHON:
        received = ".".join(str(part) for part in python_version[:2])
        raise ImportError(
            f"ogm_tf needs Python 3.11, the one version that its TensorFlow and PyAV share. "
            f"Received: Python {received}."
        )
    if keras_version.split(".")[0] != KERAS_MAJOR:
        raise ImportError(
            "ogm_tf needs Keras 2.15; run `pip install tensorflow==2.15.1 keras==2.15.0`. "
            f"Received: Keras {keras_version}."
        )
