"""Runs that are killed, stopped or out of disk end, bit for bit, as one that was left alone."""

import functools
import json
import random
import resource
import subprocess
import sys

import numpy as np
import pytest

from launchers import networks, train
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.checkpoint_files import CheckpointFiles
from tests.integration import killed_runs, small_records
from tests.integration.same_runs import assert_same_runs

SETTINGS = {**small_records.TRAINING, "checkpoint_every_steps": 2}


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    return small_records.write(tmp_path_factory.mktemp("data"))


class Trainings:
    """Processes that train on one run folder, one after the other."""

    def __init__(self, records_dir, run_dir, kill_points, **settings):
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        path = run_dir.with_suffix(".json")
        path.write_text(json.dumps({"records_dir": str(records_dir), **SETTINGS, **settings}))
        self._process = subprocess.Popen(
            [sys.executable, killed_runs.__file__, path, run_dir, *kill_points],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self):
        """Waits for the processes; returns their exit codes, the counts and the messages."""
        output, messages = self._process.communicate()
        assert self._process.returncode == 0, messages
        lines = output.splitlines()
        codes = [int(line.split()[-1]) for line in lines if not line.startswith("{")]
        counts = [json.loads(line.replace("'", '"')) for line in lines if line.startswith("{")]
        return codes, counts, messages


@pytest.fixture(scope="module")
def whole(records_dir, tmp_path_factory):
    """Starts an uninterrupted run; it goes on beside the first test."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return run_dir, Trainings(records_dir, run_dir, ["none"])


def test_stopped_and_killed_runs_end_like_an_uninterrupted_one(records_dir, whole, tmp_path):
    kill_points = ("term:3", "rename:.epoch-0000-step-000004", "rename:.best", "rename:.metrics")
    trainings = Trainings(records_dir, tmp_path / "run", [*kill_points, "none"])
    expected, once = whole
    assert once.end()[0] == [0]
    codes, _, messages = trainings.end()
    assert codes == [0, -9, -9, -9, 0], messages
    stops = [line for line in messages.splitlines() if "Stopped and saved" in line]
    assert len(stops) == 1
    assert stops[0].endswith("at epoch 0, step 3. The same command goes on from there.")
    assert_same_runs(tmp_path / "run", expected)
    folder = RunFolder(tmp_path / "run")
    assert list(folder.figures.parent.iterdir()) == [folder.figures]
    starts = folder.read_starts()
    # The last process found all epochs done.
    positions = [(start["epoch"], start["step"]) for start in starts]
    assert positions == [(0, 0), (0, 3), (0, 3), (1, 0)]


@pytest.mark.slow
def test_runs_killed_anywhere_end_like_an_uninterrupted_one(records_dir, tmp_path):
    expected = tmp_path / "whole"
    [code], [counts], _ = Trainings(records_dir, expected, ["none"]).end()
    assert code == 0
    choose, num_kills, run = random.Random(0), 0, 0
    while num_kills < 24:
        run_dir = tmp_path / f"run{run}"
        points = [f"file:{choose.randint(1, counts['file'])}" for _ in range(4)]
        points += [f"time:{choose.uniform(0, 3):.3f}" for _ in range(2)]
        choose.shuffle(points)
        codes, _, messages = Trainings(records_dir, run_dir, [*points, "none"]).end()
        assert set(codes) <= {0, -9} and codes[-1] == 0, messages
        assert_same_runs(run_dir, expected)
        num_kills += codes.count(-9)
        run += 1


def test_a_full_disk_is_named_and_the_run_goes_on(records_dir, whole, tmp_path):
    settings = TrainSettings(
        str(records_dir), str(tmp_path / "run"), **{**SETTINGS, "epochs": 1, "modulation": "none"}
    )
    best = RunFolder(tmp_path / "run").best_model
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # More than a checkpoint's largest file, and less than the best model's.
    too_little = RunFolder(whole[0]).best_model.stat().st_size * 3 // 4
    resource.setrlimit(resource.RLIMIT_FSIZE, (too_little, hard))
    try:
        with pytest.raises(OSError) as caught:
            train.run(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = str(caught.value)
    assert f"{best} must be written. Received: " in message
    assert message.endswith("The last checkpoint: epoch 1, step 0.")
    files = CheckpointFiles(best.parent)
    assert sorted(best.parent.iterdir()) == [files.path(position) for position in files.positions()]
    assert set(train.run(settings)) == {"validation", "test"}
    assert RunFolder(tmp_path / "run").read_state()["epoch"] == 1
    assert RunFolder(tmp_path / "run").load_best().built


def test_a_folder_that_cannot_be_written_is_named(records_dir, tmp_path):
    (tmp_path / "file").write_text("")
    run_dir = tmp_path / "file" / "run"
    with pytest.raises(OSError, match=f"{run_dir} must be written. Received: .*checkpoint: none"):
        train.run(TrainSettings(str(records_dir), str(run_dir), **SETTINGS))


@pytest.mark.slow
def test_a_run_starts_from_anothers_best_weights(records_dir, whole, tmp_path):
    # So small a step that what is trained stays where it began.
    settings = functools.partial(
        TrainSettings,
        str(records_dir),
        **{**SETTINGS, "modulation": "none", "epochs": 1, "learning_rate": 1e-12},
    )
    first = RunFolder(whole[0])
    train.run(settings(str(tmp_path / "second"), init_from=str(first.path)))
    second = RunFolder(tmp_path / "second")
    weights = second.load_best().trainable_weights, first.load_best().trainable_weights
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
    assert second.read_config()["init_from"] == str(first.path)
    with pytest.raises(ValueError, match="init_from was '.*run' and is None"):
        train.run(settings(str(second.path)))
    with pytest.raises(ValueError, match=r"must fit.*kernel.*\(1, 5\). Received: .*\(1, 4\)"):
        train.run(settings(str(tmp_path / "wider"), encoder_width=5, init_from=str(first.path)))
