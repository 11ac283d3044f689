"""`launchers.train` in two worker processes: one run, which stops and goes on as a whole."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from launchers import networks, recording, train
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.checkpoint_files import CheckpointFiles
from tests.integration import killed_runs, multi_worker, small_records

# G-Blend trains heads beside the run, in all workers together.
SETTINGS = {
    **small_records.TRAINING, "checkpoint_every_steps": 2, "modulation": "gblend+ogm_ge",
}  # fmt: skip


def train_in_two_workers(folder, run_dir, *kill_points, other_run_dir=None):
    """Trains once for every pair of kill points, worker 0's first; returns codes and messages."""
    addresses = multi_worker.free_addresses()
    settings = {**SETTINGS, "records_dir": str(folder / "records"), "strategy": "multi_worker"}
    (folder / "settings.json").write_text(json.dumps(settings))
    workers = []
    run_dirs = (run_dir, other_run_dir or run_dir)
    for index, points in enumerate(zip(*kill_points, strict=True)):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen(
                [
                    sys.executable,
                    killed_runs.__file__,
                    folder / "settings.json",
                    run_dirs[index],
                    *points,
                ],
                env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    codes, messages = [], []
    for worker in workers:
        output, errors = worker.communicate(timeout=300)
        lines = [line for line in output.splitlines() if not line.startswith("{")]
        codes.append([int(line.split()[-1]) for line in lines])
        messages.append(errors)
    return codes, messages


@pytest.mark.slow
def test_two_workers_stop_together_and_train_as_two_devices(tmp_path, monkeypatch):
    small_records.write(tmp_path)
    run_dir = tmp_path / "workers"
    # Worker 1 is back while the chief is still writing the checkpoint both go on from.
    codes, messages = train_in_two_workers(
        tmp_path, run_dir, ("slow:1", "term:3"), ("none", "none")
    )
    assert codes == [[0, 0], [0, 0]], messages
    # Asked alone, worker 1 took the other along.
    assert "Stopped and saved at epoch 0, step" in messages[0]
    assert len(CheckpointFiles(run_dir / "checkpoints").positions()) == 2
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)
    train.run(
        TrainSettings(
            str(tmp_path / "records"), str(tmp_path / "devices"),
            **SETTINGS, strategy="mirrored", logical_devices=2,
        )
    )  # fmt: skip
    ours, theirs = (RunFolder(tmp_path / name) for name in ("workers", "devices"))
    assert ours.read_history().keys() == theirs.read_history().keys()
    for name, values in theirs.read_history().items():
        assert ours.read_history()[name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
    recorded = [recording.read(folder) for folder in (ours, theirs)]
    assert recorded[0].confidence.shape == (2, 9, 3)
    np.testing.assert_allclose(recorded[0].confidence, recorded[1].confidence, atol=1e-5)
    assert recorded[0].clip_ids.tolist() == recorded[1].clip_ids.tolist()
    for split, metrics in theirs.read_metrics().items():
        assert ours.read_metrics()[split] == pytest.approx(metrics, rel=1e-4), split


@pytest.mark.slow
def test_a_lost_worker_ends_the_other_and_the_run_goes_on(tmp_path):
    small_records.write(tmp_path)
    codes, messages = train_in_two_workers(
        tmp_path, tmp_path / "run", ("none", "step:3"), ("none", "none")
    )
    assert codes == [[1, 0], [-9, 0]], messages
    assert "start all workers again with the same command" in messages[0]
    left_alone = tmp_path / "left_alone"
    assert train_in_two_workers(tmp_path, left_alone, ("none", "none"))[0] == [[0], [0]]
    for name in ("history.csv", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (left_alone / name).read_bytes()


@pytest.mark.slow
def test_workers_that_share_no_folder_are_refused(tmp_path):
    small_records.write(tmp_path)
    codes, messages = train_in_two_workers(
        tmp_path, tmp_path / "one", ("none", "none"), other_run_dir=tmp_path / "two"
    )
    assert codes == [[1], [1]], messages
    for text in messages:
        assert "All workers must see the same --output_dir" in text
