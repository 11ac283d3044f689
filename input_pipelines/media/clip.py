"""Pictures, sound and optical flow out of any container, as much as can be decoded.

Local paths are read without TensorFlow: the worker processes of `preparation` live here.
"""

import dataclasses
import math

import numpy as np

from input_pipelines import files
from input_pipelines.listing import Clip
from input_pipelines.media.budget import Budget, MediaError
from input_pipelines.media.decoding import END_TOLERANCE_S
from input_pipelines.media.tracks import FrameTrack, Tracks
from input_pipelines.settings import ClipSettings, MediaLimits

DEFAULT_LIMITS = MediaLimits()


@dataclasses.dataclass(frozen=True)
class DecodedFrames:
    """Pictures of one clip, or its optical flow, on the clip's time axis.

    Args:
      encoded: JPEG files, in order of time, each a different picture of the media. Of flow, red is
        the horizontal and green the vertical part, and blue is 128.
      timestamps_us: When each is first shown, microseconds after the clip's start.
      height: Of every frame, pixels, even.
      width: Of every frame, pixels, even.
      frame_rate: Stored frames per second of the clip.
    """

    encoded: list[bytes]
    timestamps_us: list[int]
    height: int
    width: int
    frame_rate: float


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """What the settings want of one clip, on one time axis that begins with the clip.

    Args:
      duration_s: The clip's length, seconds.
      waveform: int16 `[round(duration_s * sample_rate_hz)]`, mono; None: not wanted.
      visual: Pictures; None: not wanted.
      flow: Optical flow; None: not wanted.
      problems: What was wrong with the media, though the clip was kept.
    """

    duration_s: float
    waveform: np.ndarray | None
    visual: DecodedFrames | None
    flow: DecodedFrames | None
    problems: list[str]


def read_clip(
    clip: Clip, settings: ClipSettings, limits: MediaLimits = DEFAULT_LIMITS
) -> DecodedClip:
    """Decodes one clip: the part where there is all that the settings want.

    Frames are those nearest to the times (i + 0.5) / `frames_per_second`. A packet that cannot be
    decoded is left out, with a note in `problems`, and the rest stays at its time. A folder of
    images is spread over the whole length of the video or sound file beside it, whether that is
    wanted or not; without one, image i is shown at i / `folder_frames_per_second`. A single image
    is shown for ever: alone, its clip lasts 1 / `frames_per_second`.

    Args:
      clip: From a listing.
      settings: The modalities, the rate of the sound, the number and size of the frames.
      limits: What decoding may cost.

    Returns:
      What could be decoded of the clip.

    Raises:
      MediaError: where a wanted modality is missing or costs too much.
    """
    start_s = clip.start_s or 0.0
    limit_s = min(math.inf if clip.end_s is None else clip.end_s - start_s, limits.max_duration_s)
    problems: list[str] = []
    tracks = Tracks(clip, settings, limit_s, Budget(limits), problems)
    tracks.read()
    ends_s = tracks.ends_s()
    duration_s = min(*ends_s.values(), limit_s)
    if math.isinf(min(ends_s.values())):
        # One picture, and nothing beside it that ends.
        duration_s = min(1 / settings.video.frames_per_second, limit_s)
    elif clip.end_s is not None and duration_s < limit_s - END_TOLERANCE_S:
        problems.append(f"ends at {start_s + duration_s:.2f} s, before end_s={clip.end_s:.2f}")
    if round(duration_s * settings.audio.sample_rate_hz) < 1:
        raise MediaError(f"{files.name(clip.path)}: {' and '.join(ends_s)} are not at one time")
    finite = {name: end_s for name, end_s in ends_s.items() if math.isfinite(end_s)}
    if finite and max(finite.values()) - min(finite.values()) > END_TOLERANCE_S:
        problems.append(", ".join(f"{name} ends at {s:.2f} s" for name, s in finite.items()))
    if tracks.is_cut and (clip.end_s is None or clip.end_s - start_s > limits.max_duration_s):
        problems.append(f"longer than {limits.max_duration_s:g} s, its first part kept")
    return DecodedClip(
        duration_s=duration_s,
        waveform=tracks.sound.waveform(duration_s) if tracks.sound else None,
        visual=_decoded_frames(tracks.visual, duration_s) if tracks.visual else None,
        flow=_decoded_frames(tracks.flow, duration_s) if tracks.flow else None,
        problems=list(dict.fromkeys(problems)),
    )


def _decoded_frames(track: FrameTrack, duration_s: float) -> DecodedFrames:
    selected = track.frames.until(duration_s)
    return DecodedFrames(
        encoded=[jpeg for _, jpeg in selected],
        timestamps_us=[max(0, round(time_s * 1e6)) for time_s, _ in selected],
        height=track.encoder.height,
        width=track.encoder.width,
        frame_rate=len(selected) / duration_s,
    )
