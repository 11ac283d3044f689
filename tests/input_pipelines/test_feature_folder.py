"""Folders of features: written in one go, read row by row, refused where they do not fit."""

import dataclasses
import fcntl
import json
import os

import numpy as np
import pytest

from input_pipelines import feature_folder
from input_pipelines.feature_folder import Video
from input_pipelines.feature_sequences import FeatureSequences

ABOUT = {"class_names": ("bark", "meow"), "segment_s": 0.25, "settings": {"encoder": "runs/a"}}
SPLITS = ("train", "test", "train", "validation")


def _video(number, split="train", **changes):
    random = np.random.default_rng(number)
    values = {
        "video_id": f"video, {number}",
        "split": split,
        "labels": np.array([2, number % 2, 2], np.int64),
        "inputs": {
            "audio": random.normal(size=[3, 4]).astype(np.float32),
            "visual": random.normal(size=[3, 2, 2, 5]).astype(np.float16),
        },
    }
    return Video(**values | changes)


VIDEOS = [_video(number, split) for number, split in enumerate(SPLITS)]


def _write(folder, videos=VIDEOS, **changes):
    return feature_folder.write_features(folder, videos, **ABOUT | changes)


def test_what_was_written_is_read_back_bit_for_bit(tmp_path):
    about = _write(tmp_path / "new" / "mine")
    assert about == feature_folder.read_about(tmp_path / "new" / "mine")
    assert (about.class_names, about.segment_s) == (("bark", "meow"), 0.25)
    assert about.settings == {"encoder": "runs/a"} and about.num_segments == 3
    features = feature_folder.open_folder(tmp_path / "new" / "mine")
    assert features.shapes == about.shapes == {"audio": (3, 4), "visual": (3, 2, 2, 5)}
    assert features.video_ids == tuple(f"video, {number}" for number in range(4))
    splits = {name: rows.tolist() for name, rows in features.splits.items()}
    assert splits == {"train": [0, 2], "validation": [3], "test": [1]}
    assert features.labels.dtype == np.int32
    np.testing.assert_array_equal(features.labels, [[2, 0, 2], [2, 1, 2], [2, 0, 2], [2, 1, 2]])
    for name, array in features.arrays.items():
        # Mapped, not read.
        assert isinstance(array, np.memmap)
        for row, video in enumerate(VIDEOS):
            np.testing.assert_array_equal(array[row], video.inputs[name])
    # Nothing but the format's own files is left, here and beside it.
    assert os.listdir(tmp_path / "new") == ["mine"]
    assert sorted(os.listdir(tmp_path / "new" / "mine")) == [
        "audio.npy", "features.json", "labels.npy", "videos.csv", "visual.npy",
    ]  # fmt: skip


def test_pictures_belong_to_rows(tmp_path):
    _write(tmp_path / "a", [VIDEOS[0], dataclasses.replace(VIDEOS[1], picture=b"strip")])
    assert feature_folder.read_picture(tmp_path / "a", 0) is None
    assert feature_folder.read_picture(tmp_path / "a", 1) == b"strip"


def test_any_number_of_videos_fits_the_header(tmp_path):
    videos = (_video(number) for number in range(1234))
    assert _write(tmp_path / "a", videos).num_videos == 1234
    assert feature_folder.open_folder(tmp_path / "a").arrays["visual"].shape == (1234, 3, 2, 2, 5)


def test_a_finished_folder_is_left_as_it_is_and_another_one_is_refused(tmp_path):
    _write(tmp_path / "a")

    def untouchable():
        raise AssertionError
        yield

    assert _write(tmp_path / "a", untouchable()).num_videos == 4
    with pytest.raises(ValueError, match=r"Received: .* encoder \('runs/a' there, 'runs/b' want"):
        _write(tmp_path / "a", settings={"encoder": "runs/b"})
    with pytest.raises(ValueError, match=r"segment_s \(0.25 there, 0.5 wanted\)"):
        _write(tmp_path / "a", segment_s=0.5)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").touch()
    with pytest.raises(ValueError, match="or hold features. Received"):
        _write(tmp_path / "b")


def test_a_run_that_fails_leaves_nothing_and_one_that_was_killed_is_no_obstacle(tmp_path):
    def broken():
        yield VIDEOS[0]
        raise KeyError

    with pytest.raises(KeyError):
        _write(tmp_path / "a", broken())
    assert os.listdir(tmp_path) == []
    (tmp_path / ".a.partial" / "pictures").mkdir(parents=True)
    (tmp_path / ".a.partial" / "pictures" / "7.jpg").touch()
    (tmp_path / ".a.partial" / "audio.npy").write_bytes(b"half")
    (tmp_path / "a").mkdir()
    _write(tmp_path / "a")
    assert feature_folder.read_picture(tmp_path / "a", 7) is None
    assert os.listdir(tmp_path) == ["a"]


def test_one_run_at_a_time(tmp_path):
    (tmp_path / ".a.partial").mkdir()
    with open(tmp_path / ".a.partial" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="Another run .* Received"):
            _write(tmp_path / "a")
    assert (tmp_path / ".a.partial").exists()


def test_a_folder_is_locked_until_it_has_its_name(tmp_path, monkeypatch):
    rename = os.rename

    def meets_another_run(old, new):
        with pytest.raises(RuntimeError, match="Another run"):
            _write(tmp_path / "a")
        rename(old, new)
        # The next run's folder, which is none of this one's.
        os.mkdir(old)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", meets_another_run)
        _write(tmp_path / "a")
    assert feature_folder.open_folder(tmp_path / "a").labels.shape == (4, 3)
    assert ".lock" not in os.listdir(tmp_path / "a")
    assert (tmp_path / ".a.partial").is_dir()


INPUTS = VIDEOS[0].inputs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": "video, 0"}, "all different. Received: video_id='video, 0'"),
        ({"split": "dev"}, "Received: split='dev' of video_id='video, 9'"),
        ({"labels": np.array([0, 3, 0])}, r"in \[0, 2\].* Received: labels=\[0, 3, 0\]"),
        ({"labels": np.array([0.0, 1.0, 2.0])}, r"int \[T\]. Received: float64 \(3,\)"),
        ({"labels": np.array([0, 1])}, "of the 2 segments that have labels. Received: audio"),
        ({"inputs": {"audio": INPUTS["audio"]}}, "All videos must be alike.* Received: labels"),
        ({"inputs": {}}, r"There must be inputs.* Received: inputs=\[\]"),
        ({"inputs": {**INPUTS, "visual": INPUTS["visual"][:, :1]}}, r"visual float16 \(3, 1, 2, 5"),
        ({"inputs": {**INPUTS, "audio": INPUTS["audio"].astype(int)}}, "Received: audio int64"),
        (
            {"inputs": {**INPUTS, "audio": INPUTS["audio"] * np.inf}},
            "finite.* Received: audio",
        ),
    ],
)
def test_videos_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _write(tmp_path / "a", [VIDEOS[0], _video(9, **changes)])
    assert os.listdir(tmp_path) == []


def test_arguments_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="a video to write. Received: none"):
        _write(tmp_path / "a", [])
    with pytest.raises(ValueError, match="Received: segment_s=0"):
        _write(tmp_path / "a", segment_s=0)
    with pytest.raises(ValueError, match="class_names.* Received"):
        _write(tmp_path / "a", class_names=("bark", "bark"))
    with pytest.raises(ValueError, match="Received: output_dir='gs://bucket/a'"):
        _write("gs://bucket/a")


def test_folders_that_are_damaged_say_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished features here .* Received"):
        feature_folder.open_folder(tmp_path / "none")
    _write(tmp_path / "a")
    visual = tmp_path / "a" / "visual.npy"
    whole = visual.read_bytes()
    visual.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="A whole .npy file.* Received: '.*visual.npy'"):
        feature_folder.open_folder(tmp_path / "a")
    np.save(visual, np.zeros([4, 3, 2, 2, 6], np.float16))
    with pytest.raises(ValueError, match=r"visual.npy must be .* Received: float16 \(4, 3, 2, 2"):
        feature_folder.open_folder(tmp_path / "a")
    visual.unlink()
    with pytest.raises(FileNotFoundError, match="Received: '.*visual.npy'"):
        feature_folder.open_folder(tmp_path / "a")
    visual.write_bytes(whole)
    (tmp_path / "a" / "videos.csv").write_text("video_id,split\na,train\n")
    with pytest.raises(ValueError, match="and 4 rows. Received: .* 1 rows"):
        feature_folder.open_folder(tmp_path / "a")
    about = json.loads((tmp_path / "a" / "features.json").read_text())
    for text, message in (
        (json.dumps({**about, "format_version": 9}), "Received: format_version=9"),
        ("{}", "damaged. Received"),
        ("[", "damaged. Received"),
    ):
        (tmp_path / "a" / "features.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            feature_folder.open_folder(tmp_path / "a")


def test_feature_sequences_can_be_written(tmp_path):
    arrays = {"audio": np.arange(24.0).reshape(4, 2, 3)}
    labels = np.zeros([4, 2], np.int32)
    splits = {"test": np.array([3]), "train": np.array([2, 0])}
    source = FeatureSequences(arrays, labels, splits, ("bark", "meow"), tuple("abcd"))
    _write(tmp_path / "a", feature_folder.videos_of(source, {2: b"strip"}))
    found = feature_folder.open_folder(tmp_path / "a")
    assert found.video_ids == ("d", "c", "a")
    np.testing.assert_array_equal(found.arrays["audio"], arrays["audio"][[3, 2, 0]])
    assert found.splits["test"].tolist() == [0] and found.splits["train"].tolist() == [1, 2]
    assert feature_folder.read_picture(tmp_path / "a", 1) == b"strip"
