"""What every test shares: two logical CPU devices, a fresh seed and a clean Keras state."""

import os
import pathlib

import hypothesis
import keras
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Both must happen before TensorFlow first touches a device. One thread an operation: the tests run
# in several processes at once, and sums come out in the same order every time.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# Graph tracing makes first calls slow, and a failure must come back when the test is run again.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def keras_state():
    """Seeds Python, NumPy and TensorFlow, and leaves no Keras state to the next test."""
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def mirrored() -> tf.distribute.MirroredStrategy:
    """Two replicas on the CPU: one strategy for all tests, for a second one can abort."""
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.fixture(scope="session")
def grid_digits() -> pathlib.Path:
    """Folder of the GRID digit clips: $GRID_DIGITS, or where they lie beside the repository."""
    beside = ROOT.parent / "shared" / "data" / "grid_digits"
    folder = pathlib.Path(os.environ.get("GRID_DIGITS", beside))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"GRID_DIGITS does not name the GRID digit clips. Received: {folder}")
    return folder
