"""Folders of images: pictures without sound, optical flow, and files on object stores."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import media
from input_pipelines.settings import ClipSettings, VideoSettings
from tests.input_pipelines.media_files import (
    clip_of,
    luma_of,
    tone,
    write_image,
    write_video,
    write_wav,
)

RATE = 16_000
VIDEO = VideoSettings(frames_per_second=5, folder_frames_per_second=10)


def _read(path, *modalities, video=VIDEO, **values):
    return media.read_clip(
        clip_of(path, **values), ClipSettings(modalities=modalities, video=video)
    )


def _write_folder(folder, values, **size):
    folder.mkdir()
    for index, value in enumerate(values):
        write_image(folder / f"frame{index + 1:03d}.png", value, **size)


def _channels(jpeg):
    decoded = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")
    return decoded.numpy().astype(float).mean(axis=(0, 1))


@pytest.fixture
def folders(tmp_path):
    """20 pictures and their flow; picture i is 10 i bright, its flow 20 + 10 i and 220 - 10 i."""
    _write_folder(tmp_path / "rgb", [10 * index for index in range(20)])
    _write_folder(tmp_path / "x", [20 + 10 * index for index in range(20)])
    _write_folder(tmp_path / "y", [220 - 10 * index for index in range(20)])
    return tmp_path


def test_folder_without_sound_has_a_rate_of_its_own(folders):
    decoded = _read(folders / "rgb", "visual")
    assert decoded.duration_s == pytest.approx(2.0) and decoded.problems == []
    # Shown every 0.1 s; nearest to 0.1, 0.3, ... s.
    assert decoded.visual.timestamps_us == [200_000 * i + 100_000 for i in range(10)]
    values = [_channels(jpeg)[1] for jpeg in decoded.visual.encoded]
    np.testing.assert_allclose(values, [20 * i + 10 for i in range(10)], atol=2)
    part = _read(folders / "rgb", "visual", start_s=0.5, end_s=1.1)
    assert part.visual.timestamps_us == [100_000, 300_000, 500_000]
    assert part.duration_s == pytest.approx(0.6)


def test_flow_has_the_times_of_the_pictures(folders):
    flow_paths = {"flow_x_path": folders / "x", "flow_y_path": folders / "y"}
    decoded = _read(folders / "rgb", "visual", "flow", **flow_paths)
    assert decoded.waveform is None and decoded.problems == []
    assert decoded.flow.timestamps_us == decoded.visual.timestamps_us
    assert (decoded.flow.height, decoded.flow.width) == (48, 64)
    expected = [(20 + 10 * i, 220 - 10 * i, 128) for i in range(1, 20, 2)]
    np.testing.assert_allclose([_channels(j) for j in decoded.flow.encoded], expected, atol=1.01)
    alone = _read(folders / "rgb", "flow", **flow_paths)
    assert alone.visual is None and alone.flow == decoded.flow


@pytest.mark.parametrize("modalities", [("flow",), ("visual", "flow"), ("audio", "flow")])
def test_folders_are_spread_over_the_media_beside_them(folders, modalities):
    write_video(
        folders / "film.mkv", [100] * 100, tone(4.0), audio_codec="pcm_s16le", codec="mpeg4"
    )
    flow_paths = {"flow_x_path": folders / "x", "flow_y_path": folders / "y"}
    decoded = _read(folders / "film.mkv", *modalities, **flow_paths)
    assert decoded.duration_s == pytest.approx(4.0, abs=0.002)
    # 20 frames over 4 s: each is nearest to one of the times 0.1, 0.3, ...
    times_s = np.array(decoded.flow.timestamps_us) / 1e6
    np.testing.assert_allclose(times_s, np.arange(20) / 5, atol=0.002)
    write_wav(folders / "sound.wav", tone(2.0))
    seen = _read(folders / "rgb", "visual", audio_path=folders / "sound.wav")
    heard = _read(folders / "rgb", "audio", "visual", audio_path=folders / "sound.wav")
    assert seen.visual == heard.visual and seen.duration_s == heard.duration_s == 2.0


def test_flow_survives_storing(tmp_path):
    y, x = np.mgrid[0:240, 0:320]
    horizontal = (128 + 60 * np.sin(x / 20) + 50 * np.cos(y / 15)).astype(np.uint8)
    vertical = (128 - 60 * np.sin(x / 33) + 50 * np.cos(y / 40)).astype(np.uint8)
    _write_folder(tmp_path / "x", [horizontal], width=320, height=240)
    _write_folder(tmp_path / "y", [vertical], width=320, height=240)
    values = {"flow_x_path": tmp_path / "x", "flow_y_path": tmp_path / "y"}
    stored = _read(tmp_path / "x", "flow", **values).flow.encoded[0]
    image = tf.io.decode_jpeg(stored, dct_method="INTEGER_ACCURATE").numpy().astype(float)
    for channel, exact in enumerate((horizontal, vertical)):
        error = image[..., channel] - exact
        assert abs(error.mean()) < 0.1
        assert np.abs(error).mean() < 0.8 and np.abs(error).max() <= 4
    small = dataclasses.replace(VIDEO, stored_short_side=60)
    scaled = _read(tmp_path / "x", "flow", video=small, **values).flow
    assert (scaled.height, scaled.width) == (60, 80)
    image = tf.io.decode_jpeg(scaled.encoded[0], dct_method="INTEGER_ACCURATE").numpy()
    blocks = horizontal.reshape(60, 4, 80, 4).mean(axis=(1, 3))
    assert np.abs(image[..., 0] - blocks).mean() < 1.2


def test_broken_folders_of_flow(folders):
    flow_paths = {"flow_x_path": folders / "x", "flow_y_path": folders / "y"}
    (folders / "y" / "frame020.png").unlink()
    (folders / "x" / "frame004.png").write_bytes(b"not a png")
    write_image(folders / "y" / "frame008.png", 100, width=32, height=24)
    decoded = _read(folders / "rgb", "flow", **flow_paths)
    assert decoded.problems == [
        "20 images of horizontal flow, 19 of vertical",
        "frame004.png: not readable as an image (Invalid data found when processing input)",
        "frame008.png: flow of 64x48 and 32x24",
    ]
    assert len(decoded.flow.encoded) == 8
    with pytest.raises(media.MediaError, match="no_such: no such folder"):
        _read(folders / "rgb", "flow", flow_x_path=folders / "no_such", flow_y_path=folders / "y")


def test_object_stores(folders):
    """TensorFlow's filesystem in memory stands for gs:// and the like."""
    write_video(folders / "film.mp4", [20 + 8 * i for i in range(25)], tone(1.0))
    write_wav(folders / "sound.wav", tone(2.0))
    for path in sorted(folders.rglob("*.*")):
        with tf.io.gfile.GFile(f"ram://media/{path.relative_to(folders)}", "wb") as file:
            file.write(path.read_bytes())
    local = _read(folders / "film.mp4", "audio", "visual", start_s=0.2, end_s=0.8)
    remote = _read("ram://media/film.mp4", "audio", "visual", start_s=0.2, end_s=0.8)
    assert remote.visual == local.visual and remote.problems == []
    np.testing.assert_array_equal(remote.waveform, local.waveform)
    values = {"audio_path": "sound.wav", "flow_x_path": "x", "flow_y_path": "y"}
    everything = ("audio", "visual", "flow")
    near = _read(folders / "rgb", *everything, **{k: folders / v for k, v in values.items()})
    far = _read(
        "ram://media/rgb", *everything, **{k: f"ram://media/{v}" for k, v in values.items()}
    )
    assert (near.visual, near.flow) == (far.visual, far.flow)
    assert luma_of(far.visual.encoded[0]) == pytest.approx(10 * 219 / 255 + 16, abs=1)
    with pytest.raises(media.MediaError, match="missing.mp4: no such file"):
        _read("ram://media/missing.mp4", "audio", "visual")
