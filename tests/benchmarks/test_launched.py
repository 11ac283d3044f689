"""What the benchmarks say of a run: its metrics, and its minutes where one process trained it."""

import pytest

from benchmarks import launched
from launchers.runs import RunFolder


class Trainings:
    """Takes the place of a process; each call is told how it ends, and how many seconds it takes.

    Args:
      monkeypatch: Puts it there, and a clock that it sets.
      *ends: "done", "stopped" as by SIGTERM, or "killed", and the seconds.
    """

    def __init__(self, monkeypatch, *ends):
        self.ends = list(ends)
        self.seconds = 0.0
        self.calls = []
        monkeypatch.setattr(launched, "launch", self.launch)
        monkeypatch.setattr(launched.time, "monotonic", lambda: self.seconds)

    def launch(self, name, *arguments):
        self.calls.append((name, *arguments))
        end, seconds = self.ends.pop(0)
        self.seconds += seconds
        folder = RunFolder(launched.pathlib.Path(arguments[0].removeprefix("--output_dir=")))
        folder.path.mkdir(exist_ok=True)
        if end == "killed":
            raise KeyboardInterrupt
        if end == "done":
            folder.add_metrics("test", {"accuracy": 0.75})


def test_a_run_that_one_process_trained_keeps_its_time(monkeypatch, tmp_path):
    trainings = Trainings(monkeypatch, ("done", 90.0), ("done", 6.0))
    expected = {"accuracy": 0.75, "minutes": 1.5}
    for _ in range(2):
        assert launched.train("pretrain", tmp_path / "run", "--seed=3") == expected
    assert trainings.calls == [("pretrain", f"--output_dir={tmp_path / 'run'}", "--seed=3")] * 2


@pytest.mark.parametrize(
    ("end", "raised"), [("stopped", RuntimeError), ("killed", KeyboardInterrupt)]
)
def test_a_run_that_went_on_has_no_time(monkeypatch, tmp_path, end, raised):
    Trainings(monkeypatch, (end, 60.0), ("done", 30.0), ("done", 6.0))
    with pytest.raises(raised):
        launched.train("pretrain", tmp_path / "run")
    for _ in range(2):
        found = launched.train("pretrain", tmp_path / "run")
        assert found == {"accuracy": 0.75, "minutes": None}


def test_a_stopped_run_is_named(monkeypatch, tmp_path):
    Trainings(monkeypatch, ("stopped", 1.0))
    with pytest.raises(RuntimeError, match="test split.*Received: .*run, with metrics of no split"):
        launched.train("pretrain", tmp_path / "run")
    assert not (tmp_path / "run" / "training.json").exists()
