"""Whether two runs ended with the same bytes."""

import io
import zipfile

import h5py
import numpy as np
import tensorflow as tf

from launchers.runs import RunFolder
from ogm_tf.checkpoint_files import CheckpointFiles


def arrays(run_dir):
    """Returns the bytes of all the numbers that a run ends with, by name."""
    found = {}
    with zipfile.ZipFile(RunFolder(run_dir).best_model) as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))

    def add(name, item):
        # Metrics in a model's file are whatever was computed last.
        if isinstance(item, h5py.Dataset) and not name.startswith("metrics"):
            found[f"best/{name}"] = item[()].tobytes()

    weights.visititems(add)
    files = CheckpointFiles(RunFolder(run_dir).checkpoints)
    for position in files.positions():
        reader = tf.train.load_checkpoint(str(files.path(position) / "variables"))
        for name in reader.get_variable_to_shape_map():
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
                found[f"{position}/{name}"] = np.asarray(reader.get_tensor(name)).tobytes()
        with np.load(files.path(position) / "local.npz") as local:
            found |= {f"{position}/{name}": value.tobytes() for name, value in local.items()}
    return found


def assert_same_runs(ours, theirs):
    for name in ("history.csv", "metrics.json", "state.json"):
        assert (ours / name).read_text() == (theirs / name).read_text(), name
    for path in (*theirs.glob("predictions_*.csv"), *theirs.glob("confidence.npz")):
        assert (ours / path.name).read_bytes() == path.read_bytes(), path.name
    received, expected = arrays(ours), arrays(theirs)
    assert received.keys() == expected.keys() and len(expected) > 100
    assert [name for name in expected if received[name] != expected[name]] == []
    left = {path.name for path in ours.iterdir()} ^ {path.name for path in theirs.iterdir()}
    assert left == set()
