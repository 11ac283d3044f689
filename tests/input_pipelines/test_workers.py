import dataclasses
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from input_pipelines import workers
from input_pipelines.listing import Clip
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits
from tests.input_pipelines.media_files import tone, write_wav

SETTINGS = ClipSettings(
    window_s=0.1, modalities=("audio",), audio=AudioSettings(sample_rate_hz=8000)
)


class _Bomb(str):
    """A label that ends, or stops, the process that unpickles it, as a broken decoder may."""

    def __reduce__(self):
        return (os._exit, (7,)) if self == "dies" else (time.sleep, (1000.0,))


@pytest.fixture
def clips(tmp_path):
    """Twelve clips of different lengths."""
    made = []
    for index in range(12):
        path = tmp_path / f"{index}.wav"
        write_wav(path, tone(0.1 + 0.01 * index, rate_hz=8000), rate_hz=8000)
        made.append(Clip(f"c{index}", "train", "x", str(path)))
    return made


def _lengths(outcomes):
    return [outcome.decoded and len(outcome.decoded.waveform) for outcome in outcomes]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_outcomes_come_in_order(clips, num_workers):
    outcomes = workers.decode_in_order(clips, SETTINGS, MediaLimits(), num_workers)
    assert _lengths(outcomes) == [800 + 80 * index for index in range(12)]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("num_workers", "kind", "reason"),
    [
        (1, "dies", "5.wav: the decoder ended its process (often: out of memory)"),
        (2, "dies", "5.wav: the decoder ended its process (often: out of memory)"),
        pytest.param(
            2, "hangs", "5.wav: the decoder did not end within 4 s", marks=pytest.mark.slow
        ),
    ],
)
def test_a_clip_that_takes_its_process_along_costs_no_other(
    clips, monkeypatch, num_workers, kind, reason
):
    # Long enough for a process to start.
    monkeypatch.setattr(workers, "_GRACE_S", 3.5)
    clips[5] = dataclasses.replace(clips[5], label=_Bomb(kind))
    limits = MediaLimits(max_decode_s=0.5)
    outcomes = list(workers.decode_in_order(clips, SETTINGS, limits, num_workers))
    assert outcomes[5].reason == reason
    assert _lengths(outcomes) == [None if i == 5 else 800 + 80 * i for i in range(12)]
    assert not multiprocessing.active_children()


def test_any_error_is_a_reason(clips, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(workers, "read_clip", fail)
    (outcome,) = workers.decode_in_order(clips[:1], SETTINGS, MediaLimits(), 0)
    assert outcome == workers.Outcome(None, "0.wav: ZeroDivisionError: by nought")


def test_workers_load_no_tensorflow():
    code = "import input_pipelines.workers, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
