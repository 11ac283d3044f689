"""How clips become tensors: the settings a set of records is made with and read with.

`prepare` stores them in the records' index; training, evaluation and serving take them from there,
so a model cannot see data made with one setting through the front end of another.
"""

import dataclasses
import math
from typing import Any

PADDINGS = ("reflect", "constant")


def _require(holds: bool, settings: Any, name: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={getattr(settings, name)!r}.")


@dataclasses.dataclass(frozen=True)
class AudioSettings:
    """Sound: a mono waveform in [-1, 1] and its log-magnitude spectrogram.

    Args:
      sample_rate_hz: Samples per second, > 0.
      fft_length: Samples in one Hann window and its Fourier transform, even, >= 2.
      hop_length: Samples between the centres of neighbouring windows, >= 1.
      padding: How the waveform is extended by `fft_length / 2` at both ends: "reflect"
        (librosa up to 0.8) or "constant" (zeros, librosa from 0.9).

    Raises:
      ValueError: where a value is out of its range.
    """

    sample_rate_hz: int = 16_000
    fft_length: int = 512
    hop_length: int = 160
    padding: str = "reflect"

    def __post_init__(self):
        _require(self.sample_rate_hz > 0, self, "sample_rate_hz", "> 0")
        _require(
            self.fft_length >= 2 and self.fft_length % 2 == 0, self, "fft_length", "even and >= 2"
        )
        _require(self.hop_length >= 1, self, "hop_length", ">= 1")
        _require(self.padding in PADDINGS, self, "padding", f"one of {', '.join(PADDINGS)}")


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """Pictures: how many frames are stored of a clip, and what the model gets of them.

    Args:
      frames_per_second: Frames stored per second of a clip, > 0.
      stored_short_side: Stored frames are scaled down until their shorter side has at most this
        many pixels; never up.
      jpeg_quality: Of the stored frames, 1 to 100.
      num_frames: Frames the model gets, spread evenly over the clip's window, >= 1.
      height: Of the frames the model gets, pixels.
      width: Of the frames the model gets, pixels.
      crop_min_area: A training crop keeps between this share of the frame's area and all of it,
        in (0, 1]; 1 turns random crops off. Evaluation resizes the whole frame.
      flip: Whether training mirrors clips left to right half of the time.

    Raises:
      ValueError: where a value is out of its range.
    """

    frames_per_second: float = 4.0
    stored_short_side: int = 256
    jpeg_quality: int = 95
    num_frames: int = 3
    height: int = 224
    width: int = 224
    crop_min_area: float = 0.08
    flip: bool = True

    def __post_init__(self):
        _require(
            math.isfinite(self.frames_per_second) and self.frames_per_second > 0,
            self, "frames_per_second", "finite and > 0",
        )  # fmt: skip
        _require(self.stored_short_side >= 8, self, "stored_short_side", ">= 8")
        _require(1 <= self.jpeg_quality <= 100, self, "jpeg_quality", "from 1 to 100")
        _require(self.num_frames >= 1, self, "num_frames", ">= 1")
        _require(self.height >= 8, self, "height", ">= 8")
        _require(self.width >= 8, self, "width", ">= 8")
        _require(0 < self.crop_min_area <= 1, self, "crop_min_area", "in (0, 1]")


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """All that decides how one clip becomes the model's inputs.

    Args:
      window_s: Seconds of a clip the model gets, > 0; both modalities are cut from the same
        window. Longer clips give a random window in training and the middle in evaluation;
        of shorter ones the sound is tiled and the frames are spread over their length.
      audio: Settings of the sound.
      video: Settings of the pictures.

    Raises:
      ValueError: where the window holds less sound than one Fourier transform needs.
    """

    window_s: float = 3.0
    audio: AudioSettings = AudioSettings()
    video: VideoSettings = VideoSettings()

    def __post_init__(self):
        _require(
            math.isfinite(self.window_s) and self.window_s > 0, self, "window_s", "finite and > 0"
        )
        if self.window_samples <= self.audio.fft_length // 2:
            raise ValueError(
                "The window must hold more than fft_length / 2 samples of sound. Received: "
                f"window_s={self.window_s}, sample_rate_hz={self.audio.sample_rate_hz}, "
                f"fft_length={self.audio.fft_length}."
            )

    @property
    def window_samples(self) -> int:
        """Samples of sound in one window."""
        return round(self.window_s * self.audio.sample_rate_hz)

    @property
    def audio_shape(self) -> tuple[int, int, int]:
        """Shape of one spectrogram: frequency bins, time steps, 1."""
        time_steps = 1 + self.window_samples // self.audio.hop_length
        return (self.audio.fft_length // 2 + 1, time_steps, 1)

    @property
    def visual_shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip's frames: frames, height, width, 3."""
        return (self.video.num_frames, self.video.height, self.video.width, 3)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ClipSettings":
        """Returns the settings `to_dict` wrote.

        Raises:
          ValueError: where a key is unknown.
        """
        values = dict(values)
        try:
            audio = AudioSettings(**values.pop("audio"))
            video = VideoSettings(**values.pop("video"))
            return cls(audio=audio, video=video, **values)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"These clip settings come from another version. Received: {error}."
            ) from error
