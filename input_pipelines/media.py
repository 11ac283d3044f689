"""Frames and sound out of any container, as much as can be decoded.

Imports no TensorFlow: the worker processes of `preparation` live here.
"""

import dataclasses
import math
import pathlib
import re

import numpy as np
from av.error import FFmpegError

from input_pipelines.decoding import (
    END_TOLERANCE_S,
    MediaError,
    SoundTrack,
    decode,
    error_text,
    read_image,
)
from input_pipelines.manifest import Clip
from input_pipelines.pictures import JpegEncoder, NearestFrames
from input_pipelines.settings import ClipSettings

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Sound and frames of one clip, on one time axis that begins with the clip.

    Args:
      waveform: int16 `[samples]`, mono, at the settings' rate. Its length is the clip's.
      frames: JPEG files, in order of time, each a different picture of the media.
      timestamps_us: When each frame is first shown, microseconds after the clip's start.
      height: Of every frame, pixels, even.
      width: Of every frame, pixels, even.
      frame_rate: Stored frames per second of the clip.
      problems: What was wrong with the media, though the clip was kept.
    """

    waveform: np.ndarray
    frames: list[bytes]
    timestamps_us: list[int]
    height: int
    width: int
    frame_rate: float
    problems: list[str]


def read_clip(clip: Clip, settings: ClipSettings, *, max_duration_s: float = 60.0) -> DecodedClip:
    """Decodes one clip: the part where there are both sound and pictures.

    Frames are those nearest to the times (i + 0.5) / `frames_per_second`. A packet that cannot be
    decoded is left out, with a note in `problems`, and the rest stays at its time.

    Args:
      clip: A row of a manifest.
      settings: The rate of the sound, the number and size of the frames.
      max_duration_s: Longer clips are cut to this, seconds.

    Returns:
      What could be decoded of the clip.

    Raises:
      MediaError: where there is no sound or no picture, for whatever reason.
    """
    path = pathlib.Path(clip.path)
    sound_path = pathlib.Path(clip.audio_path) if clip.audio_path else path
    start_s = clip.start_s or 0.0
    limit_s = min(math.inf if clip.end_s is None else clip.end_s - start_s, max_duration_s)
    problems: list[str] = []
    encoder = JpegEncoder(settings.video.stored_short_side, settings.video.jpeg_quality)

    def encode_file(file: pathlib.Path) -> bytes | None:
        try:
            return encoder.encode(read_image(file))
        except (FFmpegError, MediaError) as error:
            problems.append(f"{file.name}: not readable as an image ({error_text(error)})")
            return None

    encode = encode_file if path.is_dir() else encoder.encode
    frames = NearestFrames(settings.video.frames_per_second, limit_s, encode)
    sound = SoundTrack(settings.audio.sample_rate_hz, limit_s)
    if path.is_dir():
        if clip.audio_path is None:
            raise MediaError(f"{path.name}: a folder of frames needs an audio_path")
        declared_s = decode(sound_path, start_s, None, sound, problems)
        total_s = declared_s or sound.end_s + start_s
        _read_folder(path, start_s, total_s, frames)
    elif sound_path == path:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise MediaError(f"{path.name}: an image needs an audio_path")
        decode(path, start_s, frames, sound, problems)
    else:
        decode(path, start_s, frames, None, problems)
        decode(sound_path, start_s, None, sound, problems)

    if not sound.has_samples:
        raise MediaError(f"{sound_path.name}: no sound{_window_text(clip)}")
    if not frames.has_frames:
        raise MediaError(f"{path.name}: no picture{_window_text(clip)}")
    duration_s = min(sound.end_s, frames.end_s, limit_s)
    waveform = sound.waveform(duration_s)
    selected = frames.until(duration_s)
    if not (len(waveform) and selected):
        raise MediaError(f"{path.name}: sound and pictures are not at the same time")
    if not math.isinf(frames.end_s) and abs(sound.end_s - frames.end_s) > END_TOLERANCE_S:
        problems.append(f"sound ends at {sound.end_s:.2f} s, pictures at {frames.end_s:.2f} s")
    if clip.end_s is not None and duration_s < limit_s - END_TOLERANCE_S:
        problems.append(f"ends at {start_s + duration_s:.2f} s, before end_s={clip.end_s:.2f}")
    if limit_s == max_duration_s and (sound.finished or frames.finished):
        if clip.end_s is None or clip.end_s - start_s > max_duration_s:
            problems.append(f"longer than {max_duration_s:g} s, its first part kept")
    return DecodedClip(
        waveform=waveform,
        frames=[jpeg for _, jpeg in selected],
        timestamps_us=[max(0, round(time_s * 1e6)) for time_s, _ in selected],
        height=encoder.height,
        width=encoder.width,
        frame_rate=len(selected) / duration_s,
        problems=list(dict.fromkeys(problems)),
    )


def _window_text(clip: Clip) -> str:
    if clip.start_s is None and clip.end_s is None:
        return " could be decoded"
    end = "the end" if clip.end_s is None else f"{clip.end_s:g} s"
    return f" between {clip.start_s or 0.0:g} s and {end}"


def _read_folder(
    folder: pathlib.Path, start_s: float, total_s: float, frames: NearestFrames
) -> None:
    """Spreads the images of a folder over the whole length of the sound."""
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        raise MediaError(f"{folder.name}: the folder has no images")
    # frame2 comes before frame10.
    files.sort(key=lambda file: _natural_order(file.name))
    for index, file in enumerate(files):
        frames.add(file, index * total_s / len(files) - start_s)
    frames.close(total_s / len(files), still=False)


def _natural_order(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
