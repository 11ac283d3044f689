"""Who may know whom: the import arrows of the packages, and what an import may not do."""

import subprocess
import sys

import pytest

from tests.source_tree import MODULES, PACKAGES, ROOT, imported_modules, imported_modules_of

# A room is a module or a package; the longest name that fits a module is its room. The value names
# the rooms of ours that it may import beside itself.
MAY_IMPORT = {
    "launchers": {"input_pipelines", "ogm_tf"},
    "input_pipelines": {"input_pipelines"},
    "input_pipelines.datasets": {"input_pipelines.files", "input_pipelines.listing"},
    "ogm_tf": {"ogm_tf"},
    "ogm_tf.accumulation": {"ogm_tf.modulation"},
    "ogm_tf.addons_optimizer": set(),
    "ogm_tf.batch_spec": set(),
    "ogm_tf.analysis": {"ogm_tf.model", "ogm_tf.fusion"},
    "ogm_tf.callbacks": {"ogm_tf.accumulation"},
    "ogm_tf.checkpoint_files": set(),
    "ogm_tf.checkpoints": {"ogm_tf.checkpoint_files", "ogm_tf.training_state"},
    "ogm_tf.compatibility": set(),
    "ogm_tf.confidence": {"ogm_tf.modulation"},
    "ogm_tf.encoders": set(),
    "ogm_tf.fusion": set(),
    "ogm_tf.gradient_blending": {
        "ogm_tf.metrics",
        "ogm_tf.modulation",
        "ogm_tf.optimizers",
        "ogm_tf.training_state",
    },
    "ogm_tf.layers": set(),
    "ogm_tf.localization": {
        "ogm_tf.model",
        "ogm_tf.layers",
        "ogm_tf.metrics",
        "ogm_tf.model_checks",
        "ogm_tf.modulation",
        "ogm_tf.representation",
    },
    "ogm_tf.metrics": {"ogm_tf.modulation"},
    "ogm_tf.model": {
        "ogm_tf.accumulation",
        "ogm_tf.modulation",
        "ogm_tf.fusion",
        "ogm_tf.metrics",
        "ogm_tf.callbacks",
        "ogm_tf.model_checks",
        "ogm_tf.reporting_model",
    },
    "ogm_tf.model_checks": set(),
    "ogm_tf.modulation": set(),
    "ogm_tf.optimizers": {"ogm_tf.addons_optimizer"},
    "ogm_tf.reporting_model": {"ogm_tf.batch_spec", "ogm_tf.metrics", "ogm_tf.modulation"},
    "ogm_tf.representation": {
        "ogm_tf.model",
        "ogm_tf.encoders",
        "ogm_tf.layers",
        "ogm_tf.metrics",
        "ogm_tf.model_checks",
        "ogm_tf.modulation",
    },
    "ogm_tf.serving": {"ogm_tf.model", "ogm_tf.model_checks", "ogm_tf.representation"},
    "ogm_tf.training_state": set(),
    "ogm_tf.transfer": {"ogm_tf.model"},
    "ogm_tf.version": set(),
}
# What a module may not import although its room may.
EXCEPT = {"input_pipelines.dataset": "input_pipelines.datasets"}

CHECKED = [name for name in MODULES if name.split(".")[0] in PACKAGES]
LIBRARY_MODULES = [name for name in CHECKED if not name.startswith("launchers")]


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def _wrong_arrows(module: str, imported: set[str]) -> list[str]:
    room = max((room for room in MAY_IMPORT if _within(module, room)), key=len)
    assert room != "ogm_tf" or module == room, f"MAY_IMPORT needs a line for {module}."
    allowed = MAY_IMPORT[room] | {room}
    ours = [name for name in imported if name.split(".")[0] in PACKAGES]
    wrong = {name for name in ours if not any(_within(name, other) for other in allowed)}
    if module in EXCEPT:
        wrong.update(name for name in ours if _within(name, EXCEPT[module]))
    return sorted(wrong)


@pytest.mark.parametrize("module", CHECKED)
def test_module_imports_only_what_its_room_may_know(module):
    assert _wrong_arrows(module, imported_modules_of(MODULES[module])) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("ogm_tf/model.py", "import input_pipelines.records", ["input_pipelines.records"]),
        ("ogm_tf/model.py", "from ogm_tf import fusion, version", ["ogm_tf.version"]),
        ("ogm_tf/fusion.py", "def f():\n    import ogm_tf.model", ["ogm_tf.model"]),
        ("ogm_tf/modulation/noise.py", "from ogm_tf.modulation import scores", []),
        ("ogm_tf/modulation/noise.py", "from .. import model", ["ogm_tf.model"]),
        ("ogm_tf/modulation/__init__.py", "from .scores import correct_predictions", []),
        ("ogm_tf/encoders.py", "import ogm_tf", ["ogm_tf"]),
        ("input_pipelines/media.py", "import launchers.train", ["launchers.train"]),
        (
            "input_pipelines/dataset.py",
            "from input_pipelines.datasets import crema_d\nfrom input_pipelines import records",
            ["input_pipelines.datasets.crema_d"],
        ),
        ("launchers/train.py", "from launchers import config; import ogm_tf.fusion", []),
    ],
)
def test_the_check_sees_a_wrong_arrow(path, source, expected):
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert _wrong_arrows(module, imported_modules(source, path)) == expected


def _run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_libraries_defines_no_flag_touches_no_device_and_starts_no_thread():
    _run(f"""
import importlib, threading
import tensorflow as tf
from absl import flags
threads = threading.active_count()
for name in {LIBRARY_MODULES!r}:
    importlib.import_module(name)
ours = [name for name in flags.FLAGS.flags_by_module_dict() if name.startswith({PACKAGES!r})]
assert not ours, ours
assert threading.active_count() == threads, threading.enumerate()
# TensorFlow refuses this once a device has been touched.
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
""")


def test_decoding_media_does_not_load_tensorflow():
    _run("""
import sys
import input_pipelines.media
assert "tensorflow" not in sys.modules
""")
