"""The numbers of the serving benchmark."""

import pytest

from benchmarks import serving


def test_percentiles_and_throughput():
    # 99 calls of 2 ms and two of 12 ms: the 99th percentile of 101 is the second longest.
    found = serving.summary([0.012, *[0.002] * 99, 0.012], batch_size=32)
    assert found["p50, ms"] == pytest.approx(2)
    assert found["p99, ms"] == pytest.approx(12)
    assert found["clips/s"] == pytest.approx(32 * 101 / 0.222, rel=1e-6)
    assert found["calls, ms"][:2] == [12, 2]
    assert serving.row("features", 32, found) == "| 32 | features | 101 | 2.0 | 12.0 | 14558.6 |"


def test_a_handful_of_calls_has_no_99th_percentile():
    assert serving.summary([0.002] * 100, batch_size=1)["p99, ms"] == pytest.approx(2)
    found = serving.summary([0.002] * 99, batch_size=1)
    assert found["p99, ms"] is None
    assert serving.row("encoded", 1, found) == "| 1 | encoded | 99 | 2.0 | – | 500.0 |"


def test_ways_take_turns_until_the_time_is_over(monkeypatch):
    called, clock = [], [0.0]
    monkeypatch.setattr(serving.time, "perf_counter", lambda: clock[0])

    def way(name, seconds):
        called.append(name)
        clock[0] += seconds

    ways = {"a": lambda: way("a", 1.0), "b": lambda: way("b", 2.0)}
    assert serving.measure(ways, seconds=7.0) == {"a": [1.0] * 3, "b": [2.0] * 3}
    warm_up = ["a", "b"]
    assert called == [*warm_up, "a", "b", "b", "a", "a", "b"]
    assert serving.measure(ways, seconds=1e-9) == {"a": [1.0], "b": [2.0]}
    assert serving.measure(ways, seconds=7.0, min_calls=4) == {"a": [1.0] * 4, "b": [2.0] * 4}
    assert serving.ServingSettings("bench").min_calls == serving.MIN_CALLS_OF_P99
