"""Every container and codec that people have, and every way a file may differ from its name."""

import struct

import av
import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import media
from input_pipelines.settings import ClipSettings, VideoSettings
from tests.input_pipelines.media_files import (
    FILMS,
    IMAGES,
    SOUNDS,
    amplitude_of,
    clip_of,
    luma_of,
    tone,
    write_image,
    write_sound,
    write_video,
    write_wav,
)

RATE = 16_000
RAMP = [20 + 8 * index for index in range(25)]


def _read(path, *modalities, frames_per_second=5, **values):
    settings = ClipSettings(
        modalities=modalities or ("audio", "visual"),
        video=VideoSettings(frames_per_second=frames_per_second),
    )
    return media.read_clip(clip_of(path, **values), settings)


@pytest.mark.parametrize("name", FILMS)
def test_every_container_of_pictures_and_sound(tmp_path, name):
    rate_hz = 48_000 if "opus" in name else 44_100
    sound = tone(1.6, 440.0, rate_hz=rate_hz, channels=(1.0, 1.0))
    luma = RAMP + RAMP[:15]
    write_video(tmp_path / name, luma, sound, rate_hz=rate_hz, **FILMS[name])
    decoded = _read(tmp_path / name)
    assert decoded.problems == []
    # MP3 and AAC begin up to 50 ms before the first picture where a container cannot say so.
    assert decoded.duration_s == pytest.approx(1.6, abs=0.06)
    assert len(decoded.waveform) == round(decoded.duration_s * RATE)
    assert amplitude_of(decoded.waveform, 440.0) == pytest.approx(0.5, rel=0.06)
    # AVI counts in frames, MPEG-2's clock is 11 ms late: there the neighbour may be nearest.
    atol = 8.5 if name in ("mpeg4_mp3.avi", "mpeg2_mp2.mpg") else 1.0
    expected = [luma[index] for index in range(2, 40, 5)]
    brightness = [luma_of(jpeg) for jpeg in decoded.visual.encoded]
    np.testing.assert_allclose(brightness, expected, atol=atol)
    late_s = np.array(decoded.visual.timestamps_us) / 1e6 - np.arange(2, 40, 5) / 25
    assert np.all(np.abs(late_s) < 0.051)


@pytest.mark.parametrize("name", SOUNDS)
def test_every_container_of_sound(tmp_path, name):
    rate_hz = 48_000 if "opus" in name else 44_100
    write_sound(
        tmp_path / name, tone(2.0, 440.0, rate_hz=rate_hz, channels=(1, 1)), SOUNDS[name], rate_hz
    )
    decoded = _read(tmp_path / name, "audio")
    assert decoded.visual is None and decoded.flow is None and decoded.problems == []
    # An ADTS stream cannot say how much of it is the encoder's warm-up.
    assert decoded.duration_s == pytest.approx(2.0, abs=0.05)
    assert amplitude_of(decoded.waveform, 440.0) == pytest.approx(0.5, rel=0.06)
    assert amplitude_of(decoded.waveform, 880.0) < 0.005
    part = _read(tmp_path / name, "audio", start_s=0.5, end_s=1.25)
    assert len(part.waveform) == 12_000


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_is_one_frame(tmp_path, name):
    write_image(tmp_path / name, 100)
    decoded = _read(tmp_path / name, "visual", frames_per_second=4)
    assert decoded.duration_s == 0.25 and decoded.waveform is None
    assert decoded.visual.timestamps_us == [0]
    assert luma_of(decoded.visual.encoded[0]) == pytest.approx(100 * 219 / 255 + 16, abs=1)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_255, 96_000])
def test_odd_rates_and_many_channels_become_mono(tmp_path, channels, rate_hz):
    # The same in all channels stays what it is, up to how loud a layout mixes its parts.
    sound = tone(1.0, 440.0, rate_hz=rate_hz, channels=(1.0,) * channels)
    write_sound(tmp_path / "a.wav", sound, "pcm_s16le", rate_hz)
    decoded = _read(tmp_path / "a.wav", "audio")
    assert len(decoded.waveform) == pytest.approx(RATE, abs=2)
    assert amplitude_of(decoded.waveform, 440.0) == pytest.approx(0.5, rel=0.02)


def test_variable_frame_rate_keeps_the_true_times(tmp_path):
    # Shown at 0, 0.04, 0.08 s, then nothing until 0.6, 0.64, 0.9 s.
    times_s = [0.0, 0.04, 0.08, 0.6, 0.64, 0.9]
    luma = [20, 60, 100, 140, 180, 220]
    write_video(tmp_path / "a.mkv", luma, tone(1.0), times_s=times_s)
    decoded = _read(tmp_path / "a.mkv")
    # Nearest to 0.1, 0.3, 0.5, 0.7 and 0.9 s.
    assert decoded.visual.timestamps_us == [80_000, 600_000, 640_000, 900_000]
    brightness = [luma_of(jpeg) for jpeg in decoded.visual.encoded]
    np.testing.assert_allclose(brightness, [100, 140, 180, 220], atol=1.5)


@pytest.mark.parametrize("window, seen", [((0.0, 0.5), 20), ((2.2, 2.8), 100), ((3.01, None), 140)])
def test_one_picture_of_a_slow_film_is_no_image(tmp_path, window, seen):
    write_video(tmp_path / "a.mkv", [20, 60, 100, 140], times_s=[0.0, 1.0, 2.0, 3.0], gop=1)
    start_s, end_s = window
    decoded = _read(tmp_path / "a.mkv", "visual", start_s=start_s, end_s=end_s)
    assert luma_of(decoded.visual.encoded[0]) == pytest.approx(seen, abs=1.5)
    assert len(decoded.visual.encoded) == 1 and decoded.visual.timestamps_us == [0]
    # The last picture is shown for a 25th of a second.
    expected_s = 3.04 - start_s if end_s is None else end_s - start_s
    assert decoded.duration_s == pytest.approx(expected_s, abs=0.002)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_rotated_video_is_stored_upright(tmp_path, quarter_turns):
    path = tmp_path / "a.mp4"
    corners = np.array([[40, 90], [140, 190]])
    write_video(path, [corners.repeat(24, axis=0).repeat(32, axis=1)] * 5, codec="mpeg4")
    data = bytearray(path.read_bytes())
    # Telephones note in the track's header how to turn the picture clockwise, in 16.16 fixed
    # point.
    sine = (0, 1, 0, -1)[quarter_turns] << 16
    cosine = (1, 0, -1, 0)[quarter_turns] << 16
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    decoded = _read(path, "visual")
    image = tf.io.decode_jpeg(decoded.visual.encoded[0])[..., 1].numpy() * (219 / 255) + 16
    assert image.shape == (decoded.visual.height, decoded.visual.width)
    assert image.shape == ((48, 64) if quarter_turns % 2 == 0 else (64, 48))
    height, width = image.shape
    seen = image.reshape(2, height // 2, 2, width // 2)[:, 4:-4, :, 4:-4].mean(axis=(1, 3))
    np.testing.assert_allclose(seen, np.rot90(corners, -quarter_turns), atol=2)


def test_modalities_decide_what_is_needed(tmp_path):
    write_video(tmp_path / "silent.mp4", RAMP)
    write_video(tmp_path / "good.mp4", RAMP, tone(1.0, 440.0))
    write_wav(tmp_path / "sound.wav", tone(1.0))
    seen = _read(tmp_path / "silent.mp4", "visual")
    assert seen.waveform is None and len(seen.visual.encoded) == 5
    assert seen.duration_s == pytest.approx(1.0, abs=1e-6) and seen.problems == []
    heard = _read(tmp_path / "good.mp4", "audio")
    assert heard.visual is None and amplitude_of(heard.waveform, 440.0) == pytest.approx(0.5, 0.02)
    # Sound beside a silent film is not even opened where it is not wanted.
    _read(tmp_path / "silent.mp4", "visual", audio_path=tmp_path / "missing.wav")
    for path, modality, reason in (
        ("silent.mp4", "audio", "silent.mp4: no audio track"),
        ("sound.wav", "visual", "sound.wav: no video track"),
        ("good.mp4", "flow", "good.mp4: no folders of optical flow"),
    ):
        with pytest.raises(media.MediaError, match=reason):
            _read(tmp_path / path, modality)


def test_video_of_one_frame(tmp_path):
    write_video(tmp_path / "a.mp4", [100])
    decoded = _read(tmp_path / "a.mp4", "visual")
    assert decoded.duration_s == 0.2 and decoded.visual.timestamps_us == [0]
    write_video(tmp_path / "b.mkv", [100], tone(2.0), codec="mpeg4", audio_codec="pcm_s16le")
    decoded = _read(tmp_path / "b.mkv")
    assert len(decoded.waveform) == 2 * RATE and len(decoded.visual.encoded) == 1


def test_wrong_extensions_do_not_matter(tmp_path):
    write_video(tmp_path / "a.mkv", RAMP, tone(1.0))
    (tmp_path / "a.mkv").rename(tmp_path / "film.wav")
    write_image(tmp_path / "a.webp", 100)
    (tmp_path / "a.webp").rename(tmp_path / "image.png")
    write_image(tmp_path / "a%03d.png", 50)
    write_wav(tmp_path / "a.wav", tone(1.0))
    (tmp_path / "a.wav").rename(tmp_path / "sound.jpg")
    assert len(_read(tmp_path / "film.wav").visual.encoded) == 5
    assert len(_read(tmp_path / "sound.jpg", "audio").waveform) == RATE
    for name, value in (("image.png", 100), ("a%03d.png", 50)):
        jpeg = _read(tmp_path / name, "visual").visual.encoded[0]
        assert luma_of(jpeg) == pytest.approx(value * 219 / 255 + 16, abs=1)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a"])
def test_cover_art_is_a_picture_only_where_there_is_no_other(tmp_path, name):
    write_image(tmp_path / "cover.jpg", 100)
    codec = "libmp3lame" if name == "a.mp3" else "aac"
    write_sound(
        tmp_path / name,
        tone(1.0, rate_hz=44_100),
        codec,
        44_100,
        (tmp_path / "cover.jpg").read_bytes(),
    )
    assert _read(tmp_path / name, "audio").problems == []
    decoded = _read(tmp_path / name, start_s=0.25, end_s=0.75)
    assert len(decoded.waveform) == 8000 and len(decoded.visual.encoded) == 1
    assert luma_of(decoded.visual.encoded[0]) == pytest.approx(100 * 219 / 255 + 16, abs=1)
    assert decoded.problems == [f"{name}: its only picture is a cover"]


def test_a_film_goes_before_its_cover(tmp_path):
    write_image(tmp_path / "cover.jpg", 200)
    write_video(tmp_path / "film.mp4", [100] * 25)
    with (
        av.open(str(tmp_path / "a.mp4"), "w") as output,
        av.open(str(tmp_path / "film.mp4")) as film,
    ):
        cover = output.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        pictures = output.add_stream_from_template(film.streams.video[0])
        output.start_encoding()
        packet = av.Packet((tmp_path / "cover.jpg").read_bytes())
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = cover, 0, 0, True
        output.mux(packet)
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                output.mux(packet)
    decoded = _read(tmp_path / "a.mp4", "visual")
    assert len(decoded.visual.encoded) == 5 and decoded.problems == []
    assert luma_of(decoded.visual.encoded[0]) == pytest.approx(100, abs=1)
