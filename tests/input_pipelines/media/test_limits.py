"""No file costs more than the limits say, whatever it declares."""

import itertools
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import types
import zlib

import av
import numpy as np
import pytest

from input_pipelines import media
from input_pipelines.media import budget
from input_pipelines.media.soundtrack import SoundTrack
from input_pipelines.settings import ClipSettings, MediaLimits
from tests.input_pipelines.media_files import (
    IMAGES,
    clip_of,
    tone,
    write_image,
    write_sound,
    write_video,
    write_wav,
)

# Reads files, one modality each, and reports why each was skipped or how long it is, and how much
# memory that took at most, in megabytes.
PROGRAM = """
import json, resource, sys
from input_pipelines import media
from input_pipelines.listing import Clip
from input_pipelines.settings import ClipSettings

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before_mb = peak_mb()
results = {}
for path, modality in json.loads(sys.argv[1]):
    clip = Clip("one", "train", "label", path)
    try:
        decoded = media.read_clip(clip, ClipSettings(modalities=(modality,)))
        results[path] = [decoded.duration_s, *decoded.problems]
    except media.MediaError as error:
        results[path] = [str(error)]
print(json.dumps([peak_mb() - before_mb, results]))
"""


def _read(path, *modalities, limits, **values):
    settings = ClipSettings(modalities=modalities or ("audio", "visual"))
    return media.read_clip(clip_of(path, **values), settings, limits)


def _patch(path, place, data):
    whole = bytearray(path.read_bytes())
    whole[place : place + len(data)] = data
    path.write_bytes(whole)


def _absurd_files(tmp_path):
    """Returns `(path, modality, what is reported)` of files whose headers lie."""
    for name in ("a.png", "a.bmp", "a.jpg"):
        write_image(tmp_path / name, 100)
    _patch(tmp_path / "a.png", 16, struct.pack(">II", 15_000, 15_000))
    header = (tmp_path / "a.png").read_bytes()[12:29]
    _patch(tmp_path / "a.png", 29, struct.pack(">I", zlib.crc32(header)))
    _patch(tmp_path / "a.bmp", 18, struct.pack("<ii", 15_000, 15_000))
    place = (tmp_path / "a.jpg").read_bytes().index(b"\xff\xc0") + 5
    _patch(tmp_path / "a.jpg", place, struct.pack(">HH", 15_000, 15_000))
    (tmp_path / "a.ppm").write_bytes(b"P6 15000 15000 255\n" + bytes(1000))
    pixels = str(MediaLimits().max_pixels)
    yield from ((name, "visual", pixels) for name in ("a.png", "a.bmp", "a.jpg", "a.ppm"))

    write_video(tmp_path / "large.mkv", [100] * 3, None, codec="mpeg4", width=8_000, height=6_000)
    yield "large.mkv", "visual", "large.mkv: pictures of 8000x6000, more than 33177600 pixels"

    for name in ("slow.wav", "fast.wav", "many.wav", "long.wav", "lying.wav"):
        write_wav(tmp_path / name, tone(1.0))
    _patch(tmp_path / "slow.wav", 24, struct.pack("<I", 1))
    _patch(tmp_path / "fast.wav", 24, struct.pack("<I", 2**31 - 1))
    _patch(tmp_path / "many.wav", 22, struct.pack("<HIIH", 100, 16_000, 3_200_000, 200))
    yield "slow.wav", "audio", "sound of 1 Hz and 1 channels"
    yield "fast.wav", "audio", "sound of 2147483647 Hz"
    yield "many.wav", "audio", "sound of 16000 Hz and 100 channels"
    # 18 hours of silence, of which the disk holds nothing.
    _patch(tmp_path / "long.wav", 40, struct.pack("<I", 2**31 - 44))
    os.truncate(tmp_path / "long.wav", 2**31)
    yield "long.wav", "audio", 60.0
    _patch(tmp_path / "lying.wav", 40, struct.pack("<I", 2**31 - 44))
    yield "lying.wav", "audio", 1.0

    write_video(tmp_path / "ages.mp4", [100] * 25, codec="mpeg4")
    data = (tmp_path / "ages.mp4").read_bytes()
    for atom, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        _patch(tmp_path / "ages.mp4", data.index(atom) + offset, struct.pack(">I", 2**32 - 2))
    yield "ages.mp4", "visual", 1.0
    for number, duration in enumerate((1e300, float("inf"), float("nan"), -1.0)):
        name = f"ages{number}.mkv"
        write_video(tmp_path / name, [100] * 25, codec="mpeg4")
        place = (tmp_path / name).read_bytes().index(b"\x44\x89\x88") + 3
        _patch(tmp_path / name, place, struct.pack(">d", duration))
        yield name, "visual", 1.0


def test_absurd_files_cost_little(tmp_path):
    files = list(_absurd_files(tmp_path))
    wanted = json.dumps([(str(tmp_path / name), modality) for name, modality, _ in files])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, wanted], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    peak_mb, results = json.loads(done.stdout)
    for name, _, expected in files:
        first, *problems = results[str(tmp_path / name)]
        if isinstance(expected, str):
            assert name in first and expected in first
        else:
            assert first == pytest.approx(expected, abs=0.05), (name, first, problems)
    assert peak_mb < 300


@pytest.mark.parametrize("name", [*IMAGES, "a.mp4", "a.mkv", "a.mpg", "a.flv"])
def test_no_more_pixels_than_allowed(tmp_path, name):
    codec = {"mpg": "mpeg1video", "flv": "flv"}.get(name.split(".")[1], "libx264")
    if name in IMAGES:
        write_image(tmp_path / name, 100)
    else:
        write_video(tmp_path / name, [100] * 25, codec=codec)
    read = _read(tmp_path / name, "visual", limits=MediaLimits(max_pixels=64 * 48))
    assert read.visual.encoded
    with pytest.raises(media.MediaError, match=f"{name}.*more than 3071 pixels"):
        _read(tmp_path / name, "visual", limits=MediaLimits(max_pixels=64 * 48 - 1))


def test_pictures_that_grow_are_left_out(tmp_path):
    for name, width in (("small", 64), ("wide", 72), ("huge", 1600)):
        write_video(tmp_path / f"{name}.h264", [100] * 25, width=width)
    small = (tmp_path / "small.h264").read_bytes()
    for name, reason in (("wide", "pictures of 72x48, more than 3072 pixels"), ("huge", "")):
        (tmp_path / "both.h264").write_bytes(small + (tmp_path / f"{name}.h264").read_bytes())
        decoded = _read(tmp_path / "both.h264", "visual", limits=MediaLimits(max_pixels=64 * 48))
        assert decoded.duration_s == pytest.approx(1.0, abs=0.05)
        assert "packets could not be decoded" in decoded.problems[0]
        assert reason in decoded.problems[0]


def test_pictures_longer_than_jpeg_has_a_reason(tmp_path):
    write_image(tmp_path / "a.png", 100, width=70_000, height=8)
    with pytest.raises(media.MediaError, match="70000x8, longer than JPEG can be"):
        _read(tmp_path / "a.png", "visual", limits=MediaLimits())


@pytest.mark.parametrize("what", ["film.mp4", "sound.wav", "frames"])
def test_a_file_that_takes_too_long_is_given_up(tmp_path, monkeypatch, what):
    write_video(tmp_path / "film.mp4", [100] * 50, tone(2.0))
    write_wav(tmp_path / "sound.wav", tone(3.0))
    (tmp_path / "frames").mkdir()
    for index in range(50):
        write_image(tmp_path / "frames" / f"{index}.png", 100)
    modality = "audio" if what == "sound.wav" else "visual"
    with pytest.raises(media.MediaError, match=f"{what}: given up, decoding takes over 1e-06 s"):
        _read(tmp_path / what, modality, limits=MediaLimits(max_decode_s=1e-6))
    # A clock on which every look takes a second: reading begins in time and does not end in it.
    monkeypatch.setattr(budget, "time", types.SimpleNamespace(monotonic=itertools.count().__next__))
    with pytest.raises(media.MediaError, match="given up, decoding takes over 20 s"):
        _read(tmp_path / what, modality, limits=MediaLimits(max_decode_s=20.0))
    read = _read(tmp_path / what, modality, limits=MediaLimits(max_decode_s=2000.0))
    assert read.duration_s >= 2.0


@pytest.mark.parametrize("name", ["film.mkv", "film.flv", "sound.wav", "sound.flac"])
def test_what_decodes_is_kept_before_gigabytes_of_nothing(tmp_path, name):
    path = tmp_path / name
    if name.startswith("film"):
        write_video(path, [100] * 25, tone(1.0, rate_hz=44_100), rate_hz=44_100)
    else:
        codec = {"sound.wav": "pcm_s16le", "sound.flac": "flac"}[name]
        write_sound(path, tone(1.0), codec)
    # The disk holds nothing of it, but a decoder searches it for the next packet.
    os.truncate(path, 2**31)
    begin_s = time.monotonic()
    decoded = _read(path, "audio", limits=MediaLimits(max_pixels=64 * 48))
    assert time.monotonic() - begin_s < 5
    assert decoded.duration_s == pytest.approx(1.0, abs=0.06)
    assert name == "sound.wav" or "no picture or sound in 16 MB" in decoded.problems[0]


def test_jumps_that_cannot_be_are_no_errors(tmp_path):
    (tmp_path / "a").write_bytes(bytes(100))
    with open(tmp_path / "a", "rb") as file:
        reader = budget.BoundedReader(file, budget.Budget(MediaLimits()))
        assert reader.seek(-5) < 0 and reader.seek(40) == 40
        assert len(reader.read(100)) == 60 and not reader.was_cut


@pytest.mark.parametrize("name", ["a.h264", "a.mp3", "a.png", "a.mp4"])
def test_gigabytes_of_nothing_are_not_held(tmp_path, name):
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 2**31)
    with pytest.raises(media.MediaError, match=f"^{name}: "):
        _read(tmp_path / name, limits=MediaLimits(max_pixels=64 * 48))


def test_sound_that_always_begins_anew_takes_no_more_memory():
    track = SoundTrack(16_000, limit_s=2.0)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4_000), np.int16), "s16", "mono")
    frame.sample_rate = 16_000
    tracemalloc.start()
    for index in range(500):
        track.add(frame, 1.75 * (index % 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    track.flush()
    assert peak < 1_000_000
    assert track.end_s == 2.0 and len(track.waveform(2.0)) == 32_000


def test_playlists_lead_nowhere(tmp_path):
    header = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
    for name, target in (("a.m3u8", "http://127.0.0.1:9/a.ts"), ("b.m3u8", "/etc/hostname")):
        (tmp_path / name).write_text(f"{header}{target}\n#EXT-X-ENDLIST\n")
    (tmp_path / "c.mp4").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    for name in ("a.m3u8", "b.m3u8", "c.mp4"):
        with pytest.raises(media.MediaError, match=f"{name}: not readable as media"):
            _read(tmp_path / name, "visual", limits=MediaLimits())
