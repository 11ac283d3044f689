"""A process is told the peak of its own memory, not of the one that started it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import launched, memory


def test_a_child_of_a_large_process_is_small():
    before = memory.peak_mib()
    large = np.ones(400 << 17)
    assert memory.peak_mib() > 400 and memory.peak_mib(os.getpid()) >= before
    child = subprocess.run(
        [sys.executable, "-c", "from benchmarks import memory; print(memory.peak_mib())"],
        capture_output=True, text=True, check=True, cwd=os.fspath(_root()),
    )  # fmt: skip
    assert 1 < float(child.stdout) < 100
    del large
    with pytest.raises(OSError):
        memory.peak_mib(2**30)


def test_a_launcher_is_watched_to_its_end():
    assert 100 < launched.launch("runs") < 2000
    with pytest.raises(subprocess.CalledProcessError, match="exit status 1"):
        launched.launch("no_such")


def _root():
    return launched.pathlib.Path(launched.__file__).parents[1]
