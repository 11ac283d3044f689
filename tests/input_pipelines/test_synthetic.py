"""The built-in dataset: what it draws, what it writes, and what its knobs change."""

import collections
import dataclasses
import json
import subprocess
import sys

import av
import numpy as np
import pytest

from input_pipelines import synthetic
from input_pipelines.manifest import read_manifest
from input_pipelines.sounding_objects import OBJECT_CONTRAST
from input_pipelines.synthetic import SyntheticSettings, encode_clip, render_clip, write_dataset

SMALL = SyntheticSettings(num_classes=3, train_clips=7, validation_clips=3, test_clips=3, seed=100)
QUIET = dataclasses.replace(SMALL, audio_difficulty=0.0, test_audio_difficulty=0.0)


def decode(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
    with av.open(str(path)) as container:
        blocks = [block.to_ndarray()[0] for block in container.decode(audio=0)]
        stream = container.streams.audio[0]
        names = stream.codec_context.name, stream.codec_context.sample_rate, stream.channels
    return np.stack(frames), rate, np.concatenate(blocks), names


def test_a_clip_depends_on_seed_split_and_index_alone():
    frames, waveform, label = render_clip(SMALL, "train", 4)
    again = render_clip(SMALL, "train", 4)
    np.testing.assert_array_equal(frames, again[0])
    np.testing.assert_array_equal(waveform, again[1])
    assert (label, again[2]) == ("square", "square")
    assert frames.shape == (10, 64, 64, 3) and frames.dtype == np.uint8
    assert waveform.shape == (16_000,) and waveform.dtype == np.float32
    assert 0.2 <= np.abs(waveform).max() <= 0.9
    # Moves, and no channel is the same as another.
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3)).min() > 0.5
    for other in (
        render_clip(SMALL, "train", 1),
        render_clip(SMALL, "validation", 1),
        render_clip(dataclasses.replace(SMALL, seed=101), "train", 4),
    ):
        assert np.abs(frames.astype(int) - other[0]).mean() > 5
        assert abs(np.corrcoef(waveform, other[1])[0, 1]) < 0.5


def test_labels_are_balanced_to_one_clip():
    labels = [render_clip(SMALL, "train", index)[2] for index in range(SMALL.train_clips)]
    assert collections.Counter(labels) == {"disc": 3, "square": 2, "triangle": 2}


@pytest.mark.parametrize(("difficulty", "expected_db"), [(0.0, 20.0), (0.5, 5.0), (1.0, -10.0)])
def test_audio_difficulty_is_a_straight_line_of_db(difficulty, expected_db):
    settings = dataclasses.replace(SMALL, audio_difficulty=difficulty)
    assert settings.signal_to_noise_db("validation") == pytest.approx(expected_db)
    assert dataclasses.replace(
        SMALL, test_audio_difficulty=difficulty
    ).signal_to_noise_db("test") == pytest.approx(expected_db)  # fmt: skip


def test_visual_difficulty_scales_the_clutter_and_leaves_the_object():
    pictures = [
        render_clip(dataclasses.replace(SMALL, visual_difficulty=difficulty), "train", 0)[0]
        for difficulty in (0.0, 0.2, 0.4)
    ]
    plain, some, more = (picture.astype(float) for picture in pictures)
    ground = np.median(plain, axis=(0, 1, 2))
    is_object = (np.abs(plain - ground) > 8).any(-1)
    assert 0.05 < is_object.mean() < 0.4
    inside = np.abs(some - plain)[is_object]
    assert np.median(inside) == 0
    unclipped = ((more > 0) & (more < 255)).all(-1) & ~is_object
    clutter, twice = (some - plain)[unclipped], (more - plain)[unclipped]
    # Each was rounded to whole levels.
    np.testing.assert_allclose(twice, 2 * clutter, atol=2.0)
    assert clutter.std() == pytest.approx(twice.std() / 2, rel=0.02)
    assert clutter.std() > 0.05 * OBJECT_CONTRAST
    brightness = plain[is_object].max(0) - ground
    assert np.sqrt(np.mean(brightness**2)) == pytest.approx(OBJECT_CONTRAST, abs=1.5)


def test_the_knobs_of_one_modality_leave_the_other():
    frames, waveform, _ = render_clip(SMALL, "test", 1)
    noisy = render_clip(dataclasses.replace(SMALL, test_audio_difficulty=1.0), "test", 1)
    hard = render_clip(dataclasses.replace(SMALL, visual_difficulty=1.0), "test", 1)
    np.testing.assert_array_equal(frames, noisy[0])
    np.testing.assert_array_equal(waveform, hard[1])
    assert not np.array_equal(waveform, noisy[1]) and not np.array_equal(frames, hard[0])


def test_the_written_clips_decode_to_what_was_drawn(tmp_path):
    manifest = write_dataset(tmp_path / "data", QUIET, num_workers=2, progress=False)
    assert manifest == tmp_path / "data" / "manifest.csv"
    clips = read_manifest(manifest).clips
    assert collections.Counter(clip.split for clip in clips) == {
        "train": 7, "validation": 3, "test": 3,
    }  # fmt: skip
    assert [clip.label for clip in clips[7:]] == ["disc", "square", "triangle"] * 2
    for clip, split, index in ((clips[4], "train", 4), (clips[12], "test", 2)):
        frames, waveform, label = render_clip(QUIET, split, index)
        decoded, rate, sound, names = decode(clip.path)
        assert (clip.clip_id, clip.split, clip.label) == (f"{split}-{index:05d}", split, label)
        assert decoded.shape == frames.shape and rate == 10 and names == ("aac", 16_000, 1)
        assert np.abs(decoded.astype(int) - frames).mean() < 8
        # The encoder may begin with silence and end on a whole block.
        assert 16_000 <= len(sound) <= 16_000 + 3 * 1024
        product = np.fft.rfft(sound, 40_000) * np.conj(np.fft.rfft(waveform, 40_000))
        correlation = np.fft.irfft(product).max() / np.linalg.norm(sound) / np.linalg.norm(waveform)
        assert correlation > 0.97
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_one_process_and_two_write_the_same_bytes(tmp_path):
    settings = dataclasses.replace(SMALL, train_clips=3)
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), settings, num_workers=workers, progress=False)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("1", "2")
    )
    assert len(one) == 9 + 2 and one == two


def test_a_finished_folder_stays_and_another_is_refused(tmp_path):
    settings = dataclasses.replace(SMALL, train_clips=3)
    folder = tmp_path / "data"
    folder.mkdir()
    manifest = write_dataset(folder, settings, num_workers=1, progress=False)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_dataset(folder, settings, num_workers=1, progress=False) == manifest
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert json.loads((folder / "settings.json").read_text())["train_clips"] == 3
    with pytest.raises(ValueError, match=r"Received: seed=101, there 100; train_clips=4, there 3"):
        write_dataset(folder, dataclasses.replace(settings, seed=101, train_clips=4))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match=r"Received: output_dir='.*other'"):
        write_dataset(tmp_path / "other", settings)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def fail_at_the_second(*args, count=[0], **kwargs):  # noqa: B006
        count[0] += 1
        if count[0] == 2:
            raise OSError("The disk is full.")
        return encode_clip(*args, **kwargs)

    monkeypatch.setattr(synthetic, "encode_clip", fail_at_the_second)
    with pytest.raises(OSError, match="disk is full"):
        write_dataset(tmp_path / "data", SMALL, num_workers=1, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_classes", 9),
        ("num_classes", 1),
        ("validation_clips", 5),
        ("duration_s", 0.2),
        ("duration_s", float("nan")),
        ("frame_size", 63),
        ("frame_rate", 0),
        ("sample_rate_hz", 15_000),
        ("audio_difficulty", 1.1),
        ("test_audio_difficulty", -0.1),
        ("visual_difficulty", float("nan")),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}={value}"):
        SyntheticSettings(**{name: value})


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="Received: split='dev'"):
        render_clip(SMALL, "dev", 0)
    with pytest.raises(ValueError, match="Received: index=7"):
        render_clip(SMALL, "train", 7)
    with pytest.raises(ValueError, match="Received: num_workers=-1"):
        write_dataset(tmp_path / "data", SMALL, num_workers=-1)
    rates = {"frame_rate": 10, "sample_rate_hz": 16_000}
    with pytest.raises(ValueError, match=r"Received: frames of shape \(2, 64, 64\)"):
        encode_clip(tmp_path / "a.mp4", np.zeros((2, 64, 64), np.uint8), np.zeros(100), **rates)
    with pytest.raises(ValueError, match=r"Received: waveform of shape \(1, 100\)"):
        frames = np.zeros((2, 64, 64, 3), np.uint8)
        encode_clip(tmp_path / "a.mp4", frames, np.zeros((1, 100)), **rates)
    assert not list(tmp_path.iterdir())


def test_importing_it_does_not_import_tensorflow():
    code = "import sys, input_pipelines.synthetic; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
