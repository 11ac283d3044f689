"""Damaged files of every kind do no harm: a sample of `benchmarks/fuzz_media.py`."""

import collections
import json
import os
import signal

import numpy as np
import pytest

from benchmarks import damaged_media, fuzz_media
from input_pipelines import media


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return damaged_media.make_originals(tmp_path_factory.mktemp("originals"))


def _outcomes(results):
    return collections.Counter(result["outcome"] for result in results)


def test_damaged_files_do_no_harm(tmp_path, originals):
    results = []
    for number in range(4 * len(originals)):
        case = damaged_media.make_case(originals, seed=7, number=number)
        results.append(fuzz_media.read_case(case, tmp_path) | {"number": number})
    outcomes = _outcomes(results)
    assert len(results) >= 100
    harm = [result for result in results if result["outcome"] in fuzz_media.HARM]
    assert not harm
    # Neither do all files survive, nor does reading refuse whatever is damaged.
    assert min(outcomes["kept"], outcomes["damaged"], outcomes["skipped"]) >= 15
    assert max(result["seconds"] for result in results) < 10
    assert all(result["reason"] for result in results if result["outcome"] != "kept")


def test_the_same_seed_damages_alike(originals):
    cases = [damaged_media.make_case(originals, seed=3, number=number) for number in (5, 6, 5)]
    assert cases[0] == cases[2]
    assert cases[0].data != originals[list(originals)[5]].read_bytes()
    # Every kind of damage changes a file.
    data = originals["h264_aac.mp4"].read_bytes()
    for damage in damaged_media.MUTATIONS.values():
        damaged = bytearray(data)
        damage(damaged, np.random.default_rng(0))
        assert damaged != data


def test_harm_is_noticed(tmp_path, originals, monkeypatch):
    case = damaged_media.make_case(originals, seed=0, number=0)
    held = []

    def leak(*arguments):
        held.append(open(tmp_path / case.name, "rb"))
        raise media.MediaError("no picture")

    def fail(*arguments):
        raise KeyError("stream")

    for stand_in, outcome in ((leak, "leak"), (fail, "error")):
        monkeypatch.setattr(fuzz_media, "read_clip", stand_in)
        assert fuzz_media.read_case(case, tmp_path)["outcome"] == outcome
    for file in held:
        file.close()
    worker = fuzz_media.Worker()
    try:
        assert worker.read(case, time_limit_s=0.0)["outcome"] == "hang"
    finally:
        worker.stop()
    worker = fuzz_media.Worker()
    os.kill(worker.pid, signal.SIGSEGV)
    try:
        crash = worker.read(case, time_limit_s=30.0)
    finally:
        worker.stop()
    assert (crash["outcome"], crash["reason"]) == ("crash", "exit code -11")


@pytest.mark.slow
def test_two_thousand_damaged_files_do_no_harm(tmp_path, capsys):
    settings = fuzz_media.FuzzSettings(output_dir=str(tmp_path / "result"), num_files=2000)
    fuzz_media.run(settings)
    report = json.loads((tmp_path / "result" / "fuzz_media.json").read_text())
    assert sum(report["outcomes"].values()) == len(report["files"]) == 2000
    assert not set(report["outcomes"]) & set(fuzz_media.HARM)
    assert "| **kept** |" in capsys.readouterr().out
