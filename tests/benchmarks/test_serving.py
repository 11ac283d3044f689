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


def test_ways_take_turns():
    called = []
    ways = {name: lambda name=name: called.append(name) for name in "ab"}
    times = serving.measure(ways, calls=3)
    warm_up = ["a"] * serving.WARM_UP_CALLS + ["b"] * serving.WARM_UP_CALLS
    assert called == [*warm_up, "a", "b", "b", "a", "a", "b"]
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert min(times["a"] + times["b"]) >= 0


def test_calls_and_batch_sizes_must_match(tmp_path):
    with pytest.raises(ValueError, match=r"Received: calls=\(5,\), batch_sizes=\(1, 32\)"):
        serving.run(serving.ServingSettings(str(tmp_path), calls=(5,)))
