"""Several worker processes against one: the same numbers, and a clear end where one is lost."""

import concurrent.futures
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from launchers import strategies
from launchers.cluster import Cluster
from tests.integration import multi_worker
from tests.source_tree import ROOT

# Where a process hangs, the test fails; what it takes is a quarter of a minute.
LONGEST_S = 300
# Sums in another order differ by rounding: of weights near 1, two units in the last place of a
# half-precision activation.
TOLERANCES = {"plain": 1e-6, "batch_norm": 1e-6, "float16": 2 * 2**-10, "bfloat16": 2 * 2**-7}


@pytest.fixture
def addresses():
    """Two addresses of this machine that nobody listens at."""
    return multi_worker.free_addresses()


@pytest.fixture
def start(addresses):
    """Starts both workers; ends them after the test."""
    started = []

    def start_both(*arguments):
        for index in range(2):
            config = {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.integration.multi_worker", *arguments],
                    cwd=ROOT,
                    env={
                        **os.environ,
                        "TF_CONFIG": json.dumps(config),
                        "CUDA_VISIBLE_DEVICES": "-1",
                        "TF_NUM_INTRAOP_THREADS": "1",
                    },
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        return started

    yield start_both
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("cases", [("plain",), ("batch_norm", "float16", "bfloat16")])
def test_two_workers_train_as_one_does(start, tmp_path, cases):
    processes = start(str(tmp_path), "--cases", *cases)
    one = tf.distribute.get_strategy()
    expected = {name: multi_worker.train(one, **multi_worker.CASES[name]) for name in cases}
    for process in processes:
        output = process.communicate(timeout=LONGEST_S)[0]
        assert process.returncode == 0, output
    for worker in range(2):
        about = np.load(tmp_path / f"strategy-{worker}.npz")
        np.testing.assert_array_equal(about["numbers"], np.arange(4) + 4 * worker)
        assert about["agreed"].tolist() == [False, True, True, True]
        assert about["chiefs"].tolist() == [2**40, -1, 0]
        assert about["chief"] == (worker == 0)
        for name in cases:
            tolerance = TOLERANCES[name]
            actual = np.load(tmp_path / f"{name}-{worker}.npz")
            assert set(actual) == set(expected[name])
            for key, value in expected[name].items():
                # One of the twelve clips may fall to the other side of a near tie.
                near = 1 / 12 + 1e-6 if "accuracy" in key and tolerance > 1e-6 else tolerance
                np.testing.assert_allclose(actual[key], value, rtol=0, atol=near, err_msg=key)


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_worker_ends_the_other_with_one_sentence(start, tmp_path, addresses, killed):
    processes = start(str(tmp_path), f"--kill_worker={killed}", "--kill_step=2")
    output = processes[1 - killed].communicate(timeout=LONGEST_S)[0]
    assert processes[1 - killed].returncode == 1, output
    assert output.splitlines()[-1] == (
        f"RuntimeError: Worker {killed} ({addresses[killed]}) was lost; start all workers again "
        "with the same command: the run goes on from its last checkpoint."
    )


def meet_all(clusters, settings, timeout_s):
    with concurrent.futures.ThreadPoolExecutor(len(clusters)) as pool:
        calls = [
            pool.submit(cluster.meet, setting, timeout_s)
            for cluster, setting in zip(clusters, settings, strict=True)
        ]
    return [call.exception() for call in calls]


def test_workers_meet(addresses):
    clusters = [Cluster(addresses, index) for index in range(2)]
    assert meet_all(clusters, [{"seed": 1, "values": (1, 2)}] * 2, 60) == [None, None]


def test_workers_of_other_settings_are_told_so(addresses):
    clusters = [Cluster(addresses, index) for index in range(2)]
    for error in meet_all(clusters, [{"batch_size": 8}, {"batch_size": 16}], 60):
        assert isinstance(error, ValueError)
        assert f"Received: batch_size=8 on worker 0 ({addresses[0]}) and 16 on" in str(error)


@pytest.mark.parametrize("present", [0, 1])
def test_an_absent_worker_is_named(addresses, present):
    (error,) = meet_all([Cluster(addresses, present)], [{}], 1)
    assert isinstance(error, RuntimeError)
    assert f"Received: no {'call' if present == 0 else 'answer'} from worker" in str(error)
    assert f"worker {1 - present} ({addresses[1 - present]})" in str(error)


def test_a_worker_that_gave_up_is_absent(addresses):
    host, port = addresses[0].split(":")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(Cluster((*addresses, "localhost:1"), 0).meet, {}, 2)
        gave_up = pool.submit(Cluster((*addresses, "localhost:1"), 1).meet, {}, 0.5)
    for error in (first.exception(), gave_up.exception()):
        assert isinstance(error, RuntimeError)
    assert "worker 2 (localhost:1)" in str(first.exception())


def test_a_taken_port_is_refused(addresses):
    with socket.create_server(("localhost", int(addresses[1].split(":")[1]))):
        with pytest.raises(OSError, match=f"Received: worker 1 .{addresses[1]}.*in use"):
            Cluster(addresses, 1).meet({}, 1)


def config(task=("worker", 0), **cluster):
    return json.dumps({"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))})


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        config(),
        config(worker=[]),
        config(worker=["a:1", "a:1"]),
        config(worker=["a"]),
        config(worker=[":1"]),
        config(worker=["a:port"]),
        config(worker=["a:1"], task=("worker", 1)),
        config(worker=["a:1"], task=("worker", -1)),
        config(worker=["a:1"], task=("chief", 0)),
        config(worker=["a:1"], ps=["b:1"]),
        config(worker=["a:1"], evaluator=["b:1"], task=("evaluator", 0)),
        config(worker=["a:1"], chief=["b:1", "c:1"]),
    ],
)
def test_a_wrong_tf_config_is_one_error_before_any_waiting(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="Received: TF_CONFIG="):
        strategies.make_strategy("multi_worker")


def test_a_chief_is_the_first_worker(monkeypatch):
    jobs = {"worker": ["a:1", "b:1"], "chief": ["c:1"]}
    for task, index in (("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2):
        monkeypatch.setenv("TF_CONFIG", config(task, **jobs))
        cluster = Cluster.from_environment()
        assert (cluster.addresses, cluster.index) == (("c:1", "a:1", "b:1"), index)


def test_logical_devices_share_the_rows_in_order():
    strategy = strategies.make_strategy("mirrored", num_logical_devices=2)
    rows = strategies.input_rows(strategy, 8)
    assert rows == (0, 1, 4)
    numbers = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.range(8).batch(rows.batch_size)
    )
    parts = strategy.experimental_local_results(next(iter(numbers)))
    np.testing.assert_array_equal(parts, [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert strategies.is_chief(strategy)
    assert [strategies.agree(strategy, flag) for flag in (False, True)] == [False, True]
    assert strategies.chiefs(strategy, (3, 4)) == (3, 4)
    with pytest.raises(ValueError, match="Received: batch_size=7"):
        strategies.input_rows(strategy, 7)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"kind": "tpu"}, "Received: strategy='tpu'"),
        ({"kind": "default", "num_logical_devices": 2}, "Received: logical_devices=2"),
        ({"kind": "mirrored", "num_logical_devices": 0}, "Received: logical_devices=0"),
    ],
)
def test_other_strategies_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        strategies.make_strategy(**arguments)


def test_other_errors_pass(mirrored):
    with pytest.raises(tf.errors.UnavailableError, match="disk"):
        with strategies.explain_lost_worker(mirrored):
            raise tf.errors.UnavailableError(None, None, "disk")
