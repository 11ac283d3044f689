import dataclasses
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import dataset, files, listing, manifest, preparation, records, shards
from input_pipelines.index import read_index
from input_pipelines.settings import ClipSettings, MediaLimits, VideoSettings
from input_pipelines.verification import verify
from tests.input_pipelines.media_files import tone, write_video

SETTINGS = ClipSettings(window_s=0.2, video=VideoSettings(frames_per_second=10))
# Two classes, told apart by the pitch of the tone; five clips of each: three to learn from.
FREQUENCIES_HZ = {"high": 2000.0, "low": 500.0}
SPLITS = ("train", "train", "train", "validation", "test")


@pytest.fixture(scope="module")
def clips_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for label, frequency_hz in FREQUENCIES_HZ.items():
        for index in range(len(SPLITS)):
            path = folder / f"{label}{index}.mp4"
            write_video(path, [30 + 30 * index] * 8, tone(0.32, frequency_hz), codec="mpeg4")
    return folder


@pytest.fixture
def data(tmp_path, clips_folder):
    """A folder with the ten clips, of which a test may spoil some, and their manifest."""
    for path in clips_folder.iterdir():
        os.link(path, tmp_path / path.name)
    rows = [
        {"clip_id": f"{label}{i}", "split": split, "label": label, "path": f"{label}{i}.mp4"}
        for label in FREQUENCIES_HZ
        for i, split in enumerate(SPLITS)
    ]
    manifest.write_manifest(tmp_path / "manifest.csv", rows)
    return tmp_path


def _spoil(data, *names):
    for name in names:
        (data / f"{name}.mp4").unlink()
        (data / f"{name}.mp4").write_bytes(b"")


def _prepare(data, output="records", **values):
    values = {"num_workers": 0, "progress": False, "clips_per_shard": 2} | values
    settings = values.pop("settings", SETTINGS)
    return preparation.prepare(data / "manifest.csv", data / output, settings, **values)


def _contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_events_are_counted_and_one_after_the_end_is_a_problem(data):
    listed = manifest.read_manifest(data / "manifest.csv")
    times = {"low0": (0.1, 0.2), "low1": (0.0, 9.0), "low2": (5.0, 6.0), "high4": (0.3, 0.4)}
    clips = [
        dataclasses.replace(clip, event_start_s=times[clip.clip_id][0],
                            event_end_s=times[clip.clip_id][1])
        if clip.clip_id in times else clip
        for clip in listed.clips
    ]  # fmt: skip
    manifest.write_manifest(data / "manifest.csv", clips)
    index = _prepare(data)
    assert [split.num_events for split in index.splits.values()] == [3, 0, 1]
    assert read_index(data / "records") == index
    (problem,) = index.problems
    assert problem["clip_id"] == "low2"
    assert "low2.mp4: its event begins at 5 s, after its end at 0.32 s" in problem["reason"]


def test_an_index_without_events_does_not_mention_them(data):
    index = _prepare(data)
    assert [split.num_events for split in index.splits.values()] == [0, 0, 0]
    assert "event" not in (data / "records" / "index.json").read_text()


def test_records_hold_every_clip_once_in_the_order_of_hashes(data):
    index = _prepare(data)
    assert index == read_index(data / "records")
    assert index.class_names == ("high", "low")
    assert [split.num_clips for split in index.splits.values()] == [6, 2, 2]
    assert index.splits["train"].class_counts == {"high": 3, "low": 3}
    assert index.skipped == index.problems == ()
    assert set(os.listdir(data / "records")) == {
        "index.json",
        *(f"train-0000{shard}-of-00003.tfrecord" for shard in range(3)),
        "validation-00000-of-00001.tfrecord",
        "test-00000-of-00001.tfrecord",
    }
    clip_ids = []
    for shard in index.splits["train"].shards:
        for example in tf.data.TFRecordDataset(str(data / "records" / shard.file)):
            context, lists = tf.io.parse_single_sequence_example(
                example, *records.parsed_features(SETTINGS.modalities)
            )
            clip_ids.append(context[records.MEDIA_ID].numpy().decode())
            label = index.class_names[int(context[records.LABEL_INDEX])]
            assert clip_ids[-1].startswith(label)
            assert lists["image/timestamp"].numpy().tolist() == [40_000, 160_000, 240_000]
            waveform = tf.io.decode_raw(context[records.WAVEFORM_PCM16], tf.int16).numpy()
            # The loudest of the 50 Hz bins of 0.32 s is the tone's.
            loudest = np.argmax(np.abs(np.fft.rfft(waveform))) * 16_000 / len(waveform)
            assert loudest == pytest.approx(FREQUENCIES_HZ[label], abs=5)
        content = (data / "records" / shard.file).read_bytes()
        for offset, size in zip(*shard.places(), strict=True):
            # The length of a record is the first thing in its frame.
            assert int.from_bytes(content[offset : offset + 8], "little") == size
    expected = [f"{label}{i}" for label in FREQUENCIES_HZ for i in range(3)]
    assert clip_ids == sorted(expected, key=listing.clip_hash)


def test_any_number_of_workers_gives_the_same_bytes(data):
    _spoil(data, "low1")
    one = _prepare(data, "one", max_bad_fraction=0.1, num_workers=1)
    two = _prepare(data, "two", max_bad_fraction=0.1, num_workers=2)
    assert one == two and len(one.skipped) == 1
    assert _contents(data / "one") == _contents(data / "two")
    assert not multiprocessing.active_children()


def test_bad_clips_are_left_out_counted_and_named(data, caplog):
    _spoil(data, "low1")
    (data / "high2.mp4").unlink()
    index = _prepare(data, max_bad_fraction=0.2)
    assert index.splits["train"].class_counts == {"high": 2, "low": 2}
    assert {skip["clip_id"]: (skip["split"], skip["reason"]) for skip in index.skipped} == {
        "low1": ("train", "low1.mp4: the file is empty"),
        "high2": ("train", "high2.mp4: no such file"),
    }
    assert "Skipped clip low1: low1.mp4: the file is empty" in caplog.text
    assert sum(shard.num_clips for shard in index.splits["train"].shards) == 4


@pytest.mark.parametrize(
    "spoiled, error, message",
    [
        (["low1"], RuntimeError, r"1 of 10 tried \(10 in all\). Received: max_bad_fraction=0.05"),
        (["low3", "high3"], ValueError, "No clip of a split .* Received: split='validation'"),
        (["low0", "low1", "low2"], ValueError, r"a class of the train split .* labels=\['low'\]"),
    ],
)
def test_failed_runs_go_on_and_try_mended_clips_again(data, clips_folder, spoiled, error, message):
    _spoil(data, *spoiled)
    output = data / "records"
    fraction = 0.05 if error is RuntimeError else 0.5
    with pytest.raises(error, match=message) as raised:
        _prepare(data, max_bad_fraction=fraction)
    assert "the file is empty" in str(raised.value)
    assert not (output / "index.json").exists() and not list(output.glob("*.tmp"))
    times = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    assert times
    with pytest.raises(error, match=message):
        _prepare(data, max_bad_fraction=fraction)
    # Nothing has changed, so nothing was decoded again.
    assert {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")} == times
    for name in spoiled:
        (data / f"{name}.mp4").write_bytes((clips_folder / f"{name}.mp4").read_bytes())
    index = _prepare(data)
    assert not index.skipped and sum(split.num_clips for split in index.splits.values()) == 10
    _prepare(data, "uninterrupted")
    assert _contents(output) == _contents(data / "uninterrupted")


def test_a_run_with_too_many_bad_clips_may_go_on_with_a_higher_limit(data, monkeypatch):
    _spoil(data, "low1")
    with pytest.raises(RuntimeError, match="1 of 10 tried"):
        _prepare(data)
    monkeypatch.setattr("input_pipelines.workers.read_clip", None)
    assert [skip["clip_id"] for skip in _prepare(data, max_bad_fraction=0.1).skipped] == ["low1"]


def test_missing_media_count_before_anything_is_decoded(data, monkeypatch):
    clips = manifest.read_manifest(data / "manifest.csv")
    gone = ({"clip_id": "gone", "split": "train", "reason": "no gone.mp4"},)
    source = dataclasses.replace(clips, missing=gone)
    arguments = {"num_workers": 0, "progress": False}
    index = preparation.prepare(
        source, data / "records", SETTINGS, max_bad_fraction=0.1, **arguments
    )
    assert index.skipped == gone
    monkeypatch.setattr("input_pipelines.workers.read_clip", None)
    with pytest.raises(RuntimeError, match=r"1 of 1 tried \(11 in all\).* gone \(no gone.mp4\)"):
        preparation.prepare(source, data / "deep/other", SETTINGS, **arguments)
    assert not (data / "deep").exists()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(data, monkeypatch, num_workers):
    index = _prepare(data, "uninterrupted", num_workers=num_workers)
    write, written = shards.write, []

    def die_in_the_third(job, planned, outcomes):
        if len(written) == 2:
            # What a process leaves that is killed while it writes.
            (data / "records" / f"{planned.name}.0a7f.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(planned.name)
        return write(job, planned, outcomes)

    monkeypatch.setattr(shards, "write", die_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        _prepare(data, num_workers=num_workers)
    times = {name: (data / "records" / name).stat().st_mtime_ns for name in written}
    assert len(times) == 2 and not multiprocessing.active_children()
    monkeypatch.setattr(shards, "write", write)
    with pytest.raises(ValueError, match=r"clips_per_shard \(2 there, 3 wanted\)"):
        _prepare(data, clips_per_shard=3)
    arguments = data / "records" / shards.PROGRESS_FOLDER / "arguments.json"
    begun = arguments.read_text()
    arguments.write_text(begun.replace('"version": 3', '"version": 2'))
    with pytest.raises(ValueError, match=r"version \(2 there, 3 wanted\)"):
        _prepare(data)
    arguments.write_text(begun)
    assert _prepare(data, num_workers=num_workers) == index
    assert {name: (data / "records" / name).stat().st_mtime_ns for name in written} == times
    assert _contents(data / "records") == _contents(data / "uninterrupted")


def test_finished_records_are_returned_or_refused(data):
    index = _prepare(data)
    before = {path: path.stat().st_mtime_ns for path in (data / "records").iterdir()}
    assert _prepare(data, num_workers=2) == index
    settings = ClipSettings(window_s=0.2, video=VideoSettings(frames_per_second=5))
    with pytest.raises(ValueError, match=r"settings.video.frames_per_second \(10 there, 5 wanted"):
        _prepare(data, settings=settings)
    with pytest.raises(ValueError, match=r"max_duration_s \(60.0 there, 5.0 wanted\)"):
        _prepare(data, limits=MediaLimits(max_duration_s=5.0))
    with (data / "manifest.csv").open("a") as file:
        file.write("more,train,low,low0.mp4\n")
    with pytest.raises(ValueError, match="clips_sha256"):
        _prepare(data)
    assert {path: path.stat().st_mtime_ns for path in (data / "records").iterdir()} == before


def test_a_process_killed_in_the_middle_goes_on(data):
    _prepare(data, "uninterrupted")
    code = (
        "import os, signal; from input_pipelines import preparation, shards; "
        "from tests.input_pipelines.test_preparation import SETTINGS; write = shards.write; "
        "shards.write = lambda job, planned, outcomes: ("
        "os.kill(os.getpid(), signal.SIGKILL) if planned.name.startswith('test') "
        "else write(job, planned, outcomes)); "
        f"preparation.prepare({str(data / 'manifest.csv')!r}, {str(data / 'records')!r}, SETTINGS, "
        "num_workers=0, clips_per_shard=2, progress=False)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = {path.name: path.stat().st_mtime_ns for path in (data / "records").glob("*.tfrecord")}
    assert len(left) == 4
    _prepare(data)
    assert {name: (data / "records" / name).stat().st_mtime_ns for name in left} == left
    assert _contents(data / "records") == _contents(data / "uninterrupted")


def test_a_run_killed_after_its_index_is_finished(data):
    index = _prepare(data)
    progress = data / "records" / shards.PROGRESS_FOLDER
    progress.mkdir()
    (progress / "arguments.json").write_text("{}")
    assert _prepare(data) == index and not progress.exists()


def test_a_run_killed_before_its_first_report_begins_anew(data):
    expected = _prepare(data, "expected")
    _prepare(data, clips_per_shard=3)
    progress = data / "records" / shards.PROGRESS_FOLDER
    progress.mkdir()
    (progress / "arguments.json").write_text('{"clips_per_shard": 3}')
    (data / "records" / "index.json").unlink()
    assert _prepare(data) == expected
    assert _contents(data / "records") == _contents(data / "expected")


def test_shards_of_nobody_are_refused_and_unfinished_files_go(data):
    output = data / "records"
    output.mkdir()
    (output / "train-00000-of-00003.tfrecord").write_bytes(b"old")
    with pytest.raises(ValueError, match="no unfinished run; .*Received: .* train-00000-of-00003"):
        _prepare(data)
    assert (output / "train-00000-of-00003.tfrecord").read_bytes() == b"old"
    (output / "train-00000-of-00003.tfrecord").unlink()
    (output / "test-00000-of-00001.tfrecord.0a7f.tmp").write_bytes(b"half")
    (output / "mine.tfrecord").write_bytes(b"mine")
    index = _prepare(data)
    assert (output / "mine.tfrecord").read_bytes() == b"mine"
    names = {shard.file for split in index.splits.values() for shard in split.shards}
    assert set(os.listdir(output)) == {"mine.tfrecord", "index.json"} | names


def test_validation_is_held_out_where_there_is_none(data):
    text = (data / "manifest.csv").read_text().replace("validation", "train")
    (data / "manifest.csv").write_text(text)
    index = _prepare(data, validation_fraction=0.2)
    held = index.splits["validation"].num_clips
    assert held >= 1 and index.splits["train"].num_clips == 8 - held
    assert "validation" not in _prepare(data, "other").splits


def test_a_dead_worker_costs_no_clip(data, monkeypatch):
    expected = _prepare(data, "expected")
    encode, killed = records.encode_example, []

    def kill_workers(*arguments):
        for process in multiprocessing.active_children() if not killed else ():
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        return encode(*arguments)

    monkeypatch.setattr(records, "encode_example", kill_workers)
    monkeypatch.setattr("input_pipelines.workers._AHEAD", 1)
    assert _prepare(data, num_workers=2) == expected
    assert killed and not multiprocessing.active_children()


def test_a_folder_in_use_is_refused(data):
    (data / "records").mkdir()
    with (data / "records" / ".prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="Another run .* Received: output_dir="):
            _prepare(data)
    assert _prepare(data).splits["train"].num_clips == 6


@pytest.mark.parametrize(
    "values",
    [
        {"validation_fraction": 1.0},
        {"max_bad_fraction": 1.5},
        {"num_workers": -1},
        {"clips_per_shard": 0},
        {"settings": {}},
    ],
)
def test_arguments_are_checked_first(data, values):
    with pytest.raises(ValueError, match=f"Received: {next(iter(values))}="):
        _prepare(data, **values)
    assert not (data / "records").exists()
    (data / "file").write_text("")
    with pytest.raises(ValueError, match="Received: output_dir="):
        _prepare(data, "file")


def test_object_stores_work_like_folders(data):
    """TensorFlow's file system in memory stands for the others: nothing of it is on a disk."""
    expected = _prepare(data, "local")
    store = f"ram://{data.name}"
    for path in [*data.glob("*.mp4"), data / "manifest.csv"]:
        with tf.io.gfile.GFile(f"{store}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    arguments = {"num_workers": 0, "clips_per_shard": 2, "progress": False}
    index = preparation.prepare(f"{store}/manifest.csv", f"{store}/out", SETTINGS, **arguments)
    assert index == expected == verify(f"{store}/out", progress=False)
    assert files.names_in(f"{store}/out") == sorted(_contents(data / "local"))
    for name, content in _contents(data / "local").items():
        assert files.read_bytes(f"{store}/out/{name}") == content
    assert preparation.prepare(f"{store}/manifest.csv", f"{store}/out", SETTINGS, **arguments)
    batches = dataset.eval_dataset(f"{store}/out", "test", 2).dataset
    assert next(iter(batches))[0]["audio"].shape == (2, *SETTINGS.shapes["audio"])
