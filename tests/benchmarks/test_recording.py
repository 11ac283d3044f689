"""The numbers of the benchmark of recording: what is timed, and the table of it."""

import pytest

from benchmarks import recording as benchmark
from launchers import fitting, recording


def test_what_a_run_does_for_it_is_added_up(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])

    def takes(seconds, fails=False):
        def call(*_, **__):
            clock[0] += seconds
            if fails:
                raise OSError("full")

        return call

    monkeypatch.setattr(fitting, "_fit", takes(100.0))
    monkeypatch.setattr(recording, "recorder", takes(3.0))
    monkeypatch.setattr(recording.ClipRecorder, "on_epoch_end", takes(0.25))
    monkeypatch.setattr(recording.ClipRecorder, "write", takes(0.5, fails=True))
    recorder = recording.ClipRecorder(2, [1], ["b"], ["bell"])
    spent = {}
    with benchmark._timed(spent):
        recording.recorder(None, None)
        fitting._fit()
        for epoch in range(3):
            recorder.on_epoch_end(epoch)
        with pytest.raises(OSError, match="full"):
            recorder.write(None)
    assert spent == {
        "finding the clips": 3.0, "training": 100.0, "on_epoch_end": 0.75, "write": 0.5
    }  # fmt: skip
    # Nothing is timed any more.
    recorder.on_epoch_end(3)
    assert spent["on_epoch_end"] == 0.75


def test_the_table_holds_seconds_and_shares():
    found = {"training, s": 200.0, "recording, s": {"write": 0.5, "steps of validation": 1.25}}
    assert benchmark.table(found).splitlines()[2:] == [
        "| write | 0.500 | 0.25% |",
        "| steps of validation | 1.250 | 0.62% |",
        "| all | 1.750 | 0.88% |",
        "| training | 200.0 | |",
    ]
