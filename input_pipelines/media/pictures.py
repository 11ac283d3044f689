"""Which frames of a clip are kept, and how they become JPEG files."""

import fractions
import math
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import Interpolation

from input_pipelines.media.budget import MediaError

# Containers round time stamps to as little as 1 ms: within this, two frames are equally near.
_TIE_S = 0.002
SWSCALE = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
# The longest side JPEG has.
_MAX_SIDE = 65_500


class NearestFrames:
    """Keeps, of a stream of frames, those nearest to the times (i + 0.5) / rate.

    Only the frame last seen and the encoded ones are held. A frame that is nearest to several
    times is kept once; of two equally near ones, the earlier.

    Args:
      rate: Wanted frames per second.
      limit_s: Frames from here on are not taken, seconds after the clip's start.
      encode: What is kept of a frame; None: the frame is left out.
    """

    def __init__(self, rate: float, limit_s: float, encode: Callable[[Any], bytes | None]):
        self._rate = rate
        self._limit_s = limit_s
        self._encode = encode
        self.reset()

    def reset(self) -> None:
        """Forgets everything, for another attempt."""
        self.finished = False
        self.first_s = math.inf
        self.end_s = -math.inf
        self._num_seen = 0
        self._num_targets = 0
        self._held: tuple[float, Any] | None = None
        self._chosen_s = math.nan
        self._kept: list[tuple[float, float, bytes]] = []

    @property
    def has_frames(self) -> bool:
        """Whether a frame was kept."""
        return bool(self._kept)

    @property
    def is_single(self) -> bool:
        """Whether there was one frame, and none after it."""
        return self._num_seen == 1 and not self.finished

    def add(self, frame: Any, time_s: float) -> None:
        """Takes the next frame, first shown `time_s` after the clip's start."""
        self.first_s = min(self.first_s, time_s)
        if time_s >= self._limit_s - _TIE_S:
            self.finished = True
        if self.finished or (self._held is not None and time_s <= self._held[0]):
            return
        self._num_seen += 1
        if self._held is not None and self._held[0] < -_TIE_S <= time_s:
            # It belongs to what is before the clip.
            self._held = None
        while (target_s := self._target_s()) <= time_s:
            if self._held is not None and target_s - self._held[0] <= time_s - target_s + _TIE_S:
                self._choose(*self._held)
            else:
                self._choose(time_s, frame)
        self._held = (time_s, frame)

    def close(self, interval_s: float, still: bool) -> None:
        """Says that no frame follows.

        Args:
          interval_s: How long the last frame is shown, seconds.
          still: Whether a frame without others is a picture that is shown for ever.
        """
        if self._held is None:
            return
        self.end_s = self._limit_s if self.finished else self._held[0] + interval_s
        if still and self.is_single:
            self.end_s = math.inf
        if self._target_s() < min(self.end_s, self._limit_s) or (
            self.end_s > 0 and not self._num_targets
        ):
            self._choose(*self._held)
        self._held = None

    def until(self, duration_s: float) -> list[tuple[float, bytes]]:
        """Returns time and content of the frames of the clip's first seconds, at least one."""
        kept = [(time_s, data) for target_s, time_s, data in self._kept if target_s < duration_s]
        return kept or [(time_s, data) for _, time_s, data in self._kept[:1]]

    def _target_s(self) -> float:
        return (self._num_targets + 0.5) / self._rate

    def _choose(self, time_s: float, frame: Any) -> None:
        if time_s != self._chosen_s:
            self._chosen_s = time_s
            data = self._encode(frame)
            if data is not None:
                self._kept.append((self._target_s(), time_s, data))
        self._num_targets += 1


class JpegEncoder:
    """Scales frames down and encodes them; the first one decides the size of all.

    Args:
      short_side: The shorter side gets at most this many pixels; sides become even.
      quality: 1 to 100, on libjpeg's scale.
      pixel_format: "yuvj420p", or "yuvj444p" where colours are as important as brightness.
    """

    def __init__(self, short_side: int, quality: int, pixel_format: str = "yuvj420p"):
        self.height = 0
        self.width = 0
        self._pixel_format = pixel_format
        self._short_side = short_side
        self._quantiser = quantiser(quality)
        self._codec: av.VideoCodecContext | None = None
        self._num_frames = 0

    def encode(self, frame: av.VideoFrame) -> bytes:
        """Returns a JPEG file (full range) of the frame as a player shows it.

        Raises:
          MediaError: where the frame is too long for JPEG.
        """
        quarter_turns = round(frame.rotation / 90) % 4
        if quarter_turns:
            # Telephones film lying down and note how to turn the picture.
            height, width = scaled_size(frame.height, frame.width, self._short_side)
            array = frame.reformat(
                width, height, "rgb24", interpolation=SWSCALE, threads=1
            ).to_ndarray()
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.rot90(array, quarter_turns)), format="rgb24"
            )
        if self._codec is None:
            self._open(*scaled_size(frame.height, frame.width, self._short_side))
        picture = frame.reformat(
            self.width,
            self.height,
            self._pixel_format,
            dst_colorspace="ITU601",
            dst_color_range="JPEG",
            interpolation=SWSCALE,
            threads=1,
        )
        picture.pict_type = PictureType.NONE
        picture.time_base = self._codec.time_base
        picture.pts = self._num_frames
        self._num_frames += 1
        return b"".join(bytes(packet) for packet in self._codec.encode(picture))

    def _open(self, height: int, width: int) -> None:
        if max(height, width) > _MAX_SIDE:
            raise MediaError(f"pictures of {width}x{height}, longer than JPEG can be")
        self.height, self.width = height, width
        self._codec = av.CodecContext.create("mjpeg", "w")
        self._codec.height, self._codec.width = height, width
        self._codec.pix_fmt = self._pixel_format
        self._codec.time_base = fractions.Fraction(1, 1000)
        self._codec.thread_count = 1
        self._codec.qmin = self._codec.qmax = self._quantiser
        # Leaves the encoder's version out of the file.
        self._codec.flags |= int(Flags.bitexact)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Returns even height and width, scaled down to a shorter side of at most `short_side`."""
    scale = min(1.0, short_side / min(height, width))
    return tuple(max(2, round(side * scale) // 2 * 2) for side in (height, width))


def quantiser(quality: int) -> int:
    """Returns FFmpeg's JPEG quantiser (1 to 31) for libjpeg's quality (1 to 100).

    libjpeg multiplies its tables, 57 on average for brightness, by s / 100, where s is
    200 - 2 quality, or 5000 / quality below 50; FFmpeg its own, 27 on average, by q / 8. Equal
    means give q = 0.17 s, rounded to the finer side.
    """
    percent = 200 - 2 * quality if quality >= 50 else 5000 / quality
    return min(31, max(1, int(0.17 * percent)))
