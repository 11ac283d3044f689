import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import media
from input_pipelines.media import pictures
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits, VideoSettings
from tests.input_pipelines.media_files import (
    BLACK,
    WHITE,
    amplitude_of,
    clip_of,
    luma_of,
    tone,
    write_image,
    write_video,
    write_wav,
)

RATE = 16_000
SETTINGS = ClipSettings(
    window_s=0.5,
    audio=AudioSettings(sample_rate_hz=RATE),
    video=VideoSettings(frames_per_second=5, stored_short_side=256),
)
LIMITS = MediaLimits()
# Frame i is this bright; steps of 8 survive the codecs.
RAMP = [20 + 8 * index for index in range(25)]


def _read(path, settings=SETTINGS, limits=LIMITS, **values):
    return media.read_clip(clip_of(path, **values), settings, limits)


def _onset_s(waveform):
    """When the sound first exceeds half of its greatest amplitude."""
    loud = np.abs(waveform) > np.abs(waveform).max() / 2
    return np.argmax(loud) / RATE


def test_frames_are_the_nearest_with_their_true_times(tmp_path):
    write_video(tmp_path / "a.mp4", RAMP, tone(1.0))
    decoded = _read(tmp_path / "a.mp4")
    # Wanted 0.1, 0.3, ... s; frames are 0.04 s apart; of two equally near ones the earlier.
    frames = [2, 7, 12, 17, 22]
    assert decoded.visual.timestamps_us == [40_000 * frame for frame in frames]
    np.testing.assert_allclose(
        [luma_of(f) for f in decoded.visual.encoded], [RAMP[f] for f in frames], atol=2
    )
    assert (decoded.visual.height, decoded.visual.width) == (48, 64)
    assert decoded.visual.frame_rate == pytest.approx(5.0)
    assert decoded.problems == []
    assert decoded.waveform.dtype == np.int16
    assert len(decoded.waveform) == RATE


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_sound_and_pictures_stay_together_in_every_container(tmp_path, name, rate_hz):
    # The picture turns white and the tone begins at 0.52 s.
    luma = [BLACK] * 13 + [WHITE] * 12
    sound = tone(1.0, rate_hz=rate_hz, begins_s=0.52)
    codec = "mpeg4" if name == "a.avi" else "libx264"
    if name == "a.flv":
        rate_hz = 44_100
        sound = tone(1.0, rate_hz=rate_hz, begins_s=0.52)
    write_video(tmp_path / name, luma, sound, rate_hz=rate_hz, codec=codec)
    video = dataclasses.replace(SETTINGS.video, frames_per_second=25)
    decoded = _read(tmp_path / name, dataclasses.replace(SETTINGS, video=video))
    bright = np.array([luma_of(frame) for frame in decoded.visual.encoded]) > 125
    white_s = decoded.visual.timestamps_us[int(np.argmax(bright))] / 1e6
    # AAC smears a sharp onset by a few milliseconds; AVI cannot note the encoder's delay (64 ms
    # of 1024 samples at 16 kHz), and MPEG-TS may.
    allowed = 0.07 if name in ("a.avi", "a.ts") else 0.012
    assert _onset_s(decoded.waveform) == pytest.approx(white_s, abs=allowed)
    if name in ("a.mp4", "a.mkv"):
        assert white_s == pytest.approx(0.52, abs=0.003)


@pytest.mark.parametrize(
    "channels, expected", [((1.0,), 0.5), ((1.0, 1.0), 0.5), ((1.0, 0.0), 0.25)]
)
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_any_rate_and_layout_become_mono_at_the_wanted_rate(tmp_path, channels, expected, rate_hz):
    sound = tone(1.0, 440.0, rate_hz=rate_hz, channels=channels)
    write_video(
        tmp_path / "a.mkv", RAMP, sound, rate_hz=rate_hz, audio_codec="pcm_s16le", codec="mpeg4"
    )
    waveform = _read(tmp_path / "a.mkv").waveform
    assert abs(len(waveform) - RATE) <= 1
    assert amplitude_of(waveform, 440.0) == pytest.approx(expected, rel=0.01)
    assert amplitude_of(waveform, 880.0) < 0.005
    if channels == (1.0,):
        # The whole length, flushed resampler included, equals the sine sample by sample.
        middle = slice(32, 15_968)
        expected_samples = tone(1.0, 440.0)[0] * 32768
        np.testing.assert_allclose(waveform[middle], expected_samples[middle], atol=60)


@pytest.mark.parametrize("gop", [1, 12, 250])
def test_window_cuts_both(tmp_path, gop):
    luma = (RAMP * 3)[:75]
    luma[41:] = [WHITE] * 34
    sound = tone(3.0, begins_s=1.64)
    write_video(tmp_path / "a.mp4", luma, sound, gop=gop)
    decoded = _read(tmp_path / "a.mp4", start_s=1.44, end_s=2.04)
    assert len(decoded.waveform) == 9600
    # Wanted 1.54, 1.74, 1.94 s: frames 38 (1.52, the earlier of two), 43 and 48.
    assert decoded.visual.timestamps_us == [80_000, 280_000, 480_000]
    assert _onset_s(decoded.waveform) == pytest.approx(0.2, abs=0.012)
    np.testing.assert_allclose(
        [luma_of(f) for f in decoded.visual.encoded], [luma[38], WHITE, WHITE], atol=2.5
    )
    # The same samples as in the whole clip: nothing of the jump is heard.
    whole = _read(tmp_path / "a.mp4").waveform
    difference = decoded.waveform.astype(int) - whole[23_040:32_640]
    assert np.abs(difference).max() <= 2


def test_late_sound_leaves_zeros_before_it(tmp_path):
    sound = tone(0.6)
    write_video(
        tmp_path / "a.mkv", RAMP, sound, audio_codec="pcm_s16le", sound_at_s=0.4, codec="mpeg4"
    )
    waveform = _read(tmp_path / "a.mkv").waveform
    assert len(waveform) == RATE
    assert not waveform[:6384].any()
    np.testing.assert_allclose(waveform[6400:], sound[0] * 32768, atol=3)


def test_frames_are_scaled_down_to_even_sides_never_up(tmp_path):
    write_video(tmp_path / "a.mp4", RAMP, tone(1.0), width=128, height=72)
    small = dataclasses.replace(SETTINGS, video=VideoSettings(stored_short_side=41))
    decoded = _read(tmp_path / "a.mp4", small)
    # 128 * 41 / 72 = 72.9 -> 73 -> 72 and 41 -> 40.
    assert (decoded.visual.height, decoded.visual.width) == (40, 72)
    assert tf.io.decode_jpeg(decoded.visual.encoded[0]).shape == (40, 72, 3)


def test_jpeg_quality(tmp_path):
    y, x = np.mgrid[0:240, 0:320]
    waves = [np.sin(x / 20), np.cos(y / 15), np.sin((x + y) / 30)]
    image = np.stack([128 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)
    frame = pictures.av.VideoFrame.from_ndarray(image, format="rgb24")
    psnr, sizes = [], []
    for quality in (95, 75, 25):
        jpeg = pictures.JpegEncoder(256, quality).encode(frame)
        # A second frame of the same encoder is as good as the first.
        encoder = pictures.JpegEncoder(256, quality)
        assert [encoder.encode(frame) for _ in range(3)] == [jpeg] * 3
        error = tf.io.decode_jpeg(jpeg).numpy().astype(float) - image
        psnr.append(10 * np.log10(255**2 / np.mean(error**2)))
        sizes.append(len(jpeg))
        assert np.abs(error.mean(axis=(0, 1))).max() < 2.5
    assert psnr[0] > 40 and psnr[0] > psnr[1] > psnr[2] > 25
    assert sizes[0] > sizes[1] > sizes[2]
    assert [pictures.quantiser(quality) for quality in (100, 95, 75, 50, 1)] == [1, 1, 8, 17, 31]


def test_truncated_clip_keeps_what_decodes(tmp_path):
    path = tmp_path / "a.mkv"
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, (1, 4 * RATE)).astype(np.float32)
    write_video(path, [RAMP[i % 25] for i in range(100)], noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    decoded = _read(path)
    duration_s = len(decoded.waveform) / RATE
    assert 1.0 < duration_s < 3.0
    assert len(decoded.visual.encoded) == pytest.approx(duration_s * 5, abs=1)
    assert any("4.0" in problem for problem in decoded.problems), decoded.problems


def test_lost_packets_leave_the_rest_in_its_place(tmp_path):
    path = tmp_path / "a.mp4"
    # Noise all through, so that every packet has some size.
    noise = np.random.default_rng(0).normal(0, 0.05, (1, 2 * RATE))
    sound = (tone(2.0, begins_s=1.5) + noise).astype(np.float32)
    write_video(path, [BLACK] * 50, sound, options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    # Overwrite a stretch in the middle of the media data.
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 3
    data[middle : middle + 1500] = b"\xff" * 1500
    path.write_bytes(data)
    decoded = _read(path)
    assert _onset_s(decoded.waveform[RATE * 5 // 4 :]) == pytest.approx(0.25, abs=0.012)
    assert any("could not be decoded" in problem for problem in decoded.problems)


def test_folder_of_frames_with_sound(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    # 10 images over 2 s; "frame10" comes after "frame9".
    for index in range(10):
        write_image(folder / f"frame{index + 1}.png", 20 + 20 * index)
    (folder / "notes.txt").write_text("no image")
    write_wav(tmp_path / "a.wav", tone(2.0, 440.0))
    decoded = _read(folder, audio_path=tmp_path / "a.wav")
    assert len(decoded.waveform) == 2 * RATE
    assert decoded.visual.timestamps_us == [200_000 * index for index in range(10)]
    values = [float(tf.reduce_mean(tf.io.decode_jpeg(f)[..., 1])) for f in decoded.visual.encoded]
    np.testing.assert_allclose(values, [20 + 20 * index for index in range(10)], atol=2)
    (folder / "frame4.png").write_bytes(b"not a png")
    decoded = _read(folder, audio_path=tmp_path / "a.wav", start_s=0.4, end_s=1.2)
    assert len(decoded.waveform) == RATE * 8 // 10
    assert decoded.visual.timestamps_us == [0, 400_000, 600_000]
    assert "frame4.png" in decoded.problems[0]


def test_image_with_sound_is_one_frame(tmp_path):
    write_image(tmp_path / "a.png", 200, width=65, height=49)
    write_wav(tmp_path / "a.wav", tone(2.0))
    decoded = _read(tmp_path / "a.png", audio_path=tmp_path / "a.wav", start_s=0.5)
    assert len(decoded.visual.encoded) == 1 and decoded.visual.timestamps_us == [0]
    assert len(decoded.waveform) == RATE * 3 // 2
    assert (decoded.visual.height, decoded.visual.width) == (48, 64)


def test_long_clip_is_cut(tmp_path):
    write_video(tmp_path / "a.mp4", RAMP * 2, tone(2.0))
    decoded = _read(tmp_path / "a.mp4", limits=MediaLimits(max_duration_s=1.0))
    assert len(decoded.waveform) == RATE
    assert len(decoded.visual.encoded) == 5
    assert decoded.problems == ["longer than 1 s, its first part kept"]


def test_every_unusable_clip_has_one_clear_reason(tmp_path):
    write_video(tmp_path / "silent.mp4", RAMP)
    write_video(tmp_path / "good.mp4", RAMP, tone(1.0))
    write_wav(tmp_path / "sound.wav", tone(1.0))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"this is not a film " * 100)
    (tmp_path / "no_images").mkdir()
    write_image(tmp_path / "image.png", 100)
    # The table of contents, at the end of the file, is lost.
    whole = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    wav = tmp_path / "sound.wav"
    cases = [
        (clip_of(tmp_path / "silent.mp4"), "silent.mp4: no audio track"),
        (clip_of(wav), "sound.wav: no video track"),
        (clip_of(tmp_path / "empty.mp4"), "empty.mp4: the file is empty"),
        (clip_of(tmp_path / "text.mp4"), "text.mp4: not readable as media"),
        (clip_of(tmp_path / "headless.mp4"), "headless.mp4: not readable as media"),
        (clip_of(tmp_path / "missing.mp4"), "missing.mp4: no such file"),
        (clip_of(tmp_path / "no_images"), "no_images: a folder of frames needs an audio_path"),
        (clip_of(tmp_path / "no_images", audio_path=wav), "no_images: the folder has no images"),
        (clip_of(tmp_path / "image.png"), "image.png: no audio track"),
        (clip_of(tmp_path / "good.mp4", audio_path=tmp_path / "x.wav"), "x.wav: no such file"),
        (clip_of(tmp_path / "good.mp4", start_s=5.0, end_s=6.0), "good.mp4: no sound between 5 s"),
    ]
    for clip, reason in cases:
        with pytest.raises(media.MediaError) as raised:
            media.read_clip(clip, SETTINGS)
        assert str(raised.value).startswith(reason)


def test_workers_do_not_import_tensorflow():
    program = "import sys, input_pipelines.workers; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
