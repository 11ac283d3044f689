"""How clips become tensors: the settings a set of records is made with and read with.

`prepare` stores them in the records' index; training, evaluation and serving take them from there,
so a model cannot see data made with one setting through the front end of another.
"""

import dataclasses
import math
from typing import Any

MODALITIES = ("audio", "visual", "flow")
FEATURES = ("spectrogram", "psd", "kaldi_fbank", "log_mel", "waveform")
SHORT_CLIPS = ("tile", "fill")
PADDINGS = ("reflect", "constant")
AUDIO_NORMALIZATIONS = ("fixed", "clip", "dataset")
VIDEO_NORMALIZATIONS = ("fixed", "dataset")
SPACINGS = ("even", "random")
WINDOWS = ("random", "start")


def _require(holds: bool, settings: Any, name: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={getattr(settings, name)!r}.")


@dataclasses.dataclass(frozen=True)
class AudioSettings:
    """Sound: a mono waveform in [-1, 1] and the features the model gets of it.

    Args:
      sample_rate_hz: Samples per second, > 0.
      features: What the model gets, N samples of sound given:
        "spectrogram": ln(magnitude + 1e-7) of the centred Hann transform, librosa's, `[F, T, 1]`;
        "psd": ln(power density + 1e-7) of scipy.signal.spectrogram's defaults, `[F, T, 1]`;
        "kaldi_fbank": Kaldi's log mel filter banks, 25 ms Hann windows, `[T, mel_bins, 1]`;
        "log_mel": decibels of a mel-scaled "spectrogram", `[mel_bins, T, 1]`;
        "waveform": the samples themselves, in [-1, 1] unless they are normalised, `[N, 1]`.
      fft_length: Samples in one window and its Fourier transform, even, >= 2. Kaldi's features
        round their window up to a power of two instead.
      hop_length: Samples between neighbouring windows, >= 1.
      padding: How "spectrogram" and "log_mel" extend the waveform by `fft_length / 2` at both
        ends: "reflect" (librosa up to 0.8) or "constant" (zeros, librosa from 0.9).
      mel_bins: Filters of "kaldi_fbank" and "log_mel", >= 1.
      short_clips: What is done to clips shorter than the window: "tile": their sound is repeated;
        "fill": their features are followed by the zeros of `time_steps`, which must be given.
      time_steps: The time axis is cut, or filled with zeros before it is normalised, to this
        length; None keeps what the window gives.
      normalization: "fixed": (x - mean) / deviation; "clip": the same with the clip's own mean
        and standard deviation; "dataset": with those that `launchers.measure` found.
      mean: Of "fixed".
      deviation: Of "fixed", > 0.
      num_masks: Masks that training draws along each axis (SpecAugment), >= 0.
      max_mask_bins: Widest mask of frequencies, bins >= 0; 0 turns them off.
      max_mask_steps: Widest mask of times, steps >= 0; 0 turns them off.
      gain_jitter: Training scales the waveform by 1 - this to 1 + this, but never out of [-1, 1];
        in [0, 1).

    Raises:
      ValueError: where a value is out of its range, or a waveform would be masked.
    """

    sample_rate_hz: int = 16_000
    features: str = "spectrogram"
    fft_length: int = 512
    hop_length: int = 160
    padding: str = "reflect"
    mel_bins: int = 128
    short_clips: str = "tile"
    time_steps: int | None = None
    normalization: str = "fixed"
    mean: float = 0.0
    deviation: float = 1.0
    num_masks: int = 1
    max_mask_bins: int = 0
    max_mask_steps: int = 0
    gain_jitter: float = 0.0

    def __post_init__(self):
        _require(self.sample_rate_hz > 0, self, "sample_rate_hz", "> 0")
        _require(self.features in FEATURES, self, "features", f"one of {', '.join(FEATURES)}")
        _require(
            self.fft_length >= 2 and self.fft_length % 2 == 0, self, "fft_length", "even and >= 2"
        )
        _require(self.hop_length >= 1, self, "hop_length", ">= 1")
        _require(self.padding in PADDINGS, self, "padding", f"one of {', '.join(PADDINGS)}")
        _require(self.mel_bins >= 1, self, "mel_bins", ">= 1")
        _require(self.time_steps is None or self.time_steps >= 1, self, "time_steps", ">= 1")
        _require(
            self.short_clips in SHORT_CLIPS, self, "short_clips", f"one of {', '.join(SHORT_CLIPS)}"
        )
        if self.short_clips == "fill" and self.time_steps is None:
            raise ValueError(
                "Short clips can be filled only to given `time_steps`. Received: "
                "short_clips='fill', time_steps=None."
            )
        _require(
            self.normalization in AUDIO_NORMALIZATIONS,
            self, "normalization", f"one of {', '.join(AUDIO_NORMALIZATIONS)}",
        )  # fmt: skip
        _require(math.isfinite(self.mean), self, "mean", "finite")
        _require(0 < self.deviation < math.inf, self, "deviation", "finite and > 0")
        for name in ("num_masks", "max_mask_bins", "max_mask_steps"):
            _require(getattr(self, name) >= 0, self, name, ">= 0")
        if self.features == "waveform":
            for name in ("max_mask_bins", "max_mask_steps"):
                _require(getattr(self, name) == 0, self, name, "0 where the input is a waveform")
        _require(0 <= self.gain_jitter < 1, self, "gain_jitter", "in [0, 1)")

    @property
    def window_length(self) -> int:
        """Samples in one analysis window."""
        if self.features == "waveform":
            return 1
        if self.features == "kaldi_fbank":
            return self.sample_rate_hz * 25 // 1000
        return self.fft_length

    @property
    def is_centred(self) -> bool:
        """Whether windows are centred on the samples 0, hop, 2 hop, ..., over padded sound."""
        return self.features in ("spectrogram", "log_mel")

    @property
    def least_samples(self) -> int:
        """Samples that one time step needs."""
        return self.fft_length // 2 + 1 if self.is_centred else self.window_length

    def num_steps(self, num_samples: int) -> int:
        """Returns the time steps of a waveform, before `time_steps` cuts or fills them."""
        if self.features == "waveform":
            return num_samples
        if self.is_centred:
            return 1 + num_samples // self.hop_length
        return 1 + (num_samples - self.window_length) // self.hop_length

    def shape(self, num_samples: int) -> tuple[int, ...]:
        """Returns the features' shape for a waveform of so many samples."""
        num_steps = self.time_steps or self.num_steps(num_samples)
        if self.features == "waveform":
            return (num_steps, 1)
        if self.features == "kaldi_fbank":
            return (num_steps, self.mel_bins, 1)
        if self.features == "log_mel":
            return (self.mel_bins, num_steps, 1)
        return (self.fft_length // 2 + 1, num_steps, 1)


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """Pictures and optical flow: what is stored of a clip, and what the model gets of it.

    Args:
      frames_per_second: Frames stored per second of a clip, > 0.
      stored_short_side: Stored frames are scaled down until their shorter side has at most this
        many pixels; never up.
      jpeg_quality: Of the stored frames, 1 to 100.
      folder_frames_per_second: How fast a folder of frames that has no sound is shown, > 0.
      num_frames: Frames the model gets, one of each of `num_frames` equal parts of the window,
        >= 1.
      spacing: "even": the middle of each part; "random": in training, anywhere in each part.
      height: Of the frames the model gets, pixels.
      width: Of the frames the model gets, pixels.
      crop_min_area: A training crop keeps between this share of the frame's area and all of it,
        in (0, 1]; 1 turns random crops off. Evaluation resizes the whole frame.
      flip: Whether training mirrors clips left to right half of the time.
      augment_each_frame: Whether training draws crop, mirroring, colours and erased square for
        every frame of a clip, as the authors do, or once a clip.
      hue_jitter: Training turns the hue by up to so many radians, from 0 to pi.
      saturation_jitter: Training scales the saturation by 1 - this to 1 + this, in [0, 1).
      value_jitter: Training scales the brightness by 1 - this to 1 + this, in [0, 1).
      brightness_jitter: Training then adds -this to +this of the whole range of brightness to every
        colour, in [0, 1).
      erase_area: Training erases a square of this share of the frame's area, in [0, 1).
      normalization: Of pictures in [0, 1]: "fixed": (x - mean) / deviation; "dataset": with the
        values that `launchers.measure` found. Flow stays in [0, 1].
      mean: Of "fixed", red, green, blue; by default ImageNet's.
      deviation: Of "fixed", each > 0; by default ImageNet's.

    Raises:
      ValueError: where a value is out of its range.
    """

    frames_per_second: float = 4.0
    stored_short_side: int = 256
    jpeg_quality: int = 95
    folder_frames_per_second: float = 25.0
    num_frames: int = 3
    spacing: str = "even"
    height: int = 224
    width: int = 224
    crop_min_area: float = 0.08
    flip: bool = True
    augment_each_frame: bool = False
    hue_jitter: float = 0.0
    saturation_jitter: float = 0.0
    value_jitter: float = 0.0
    brightness_jitter: float = 0.0
    erase_area: float = 0.0
    normalization: str = "fixed"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        # JSON has no tuples.
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "deviation", tuple(self.deviation))
        for name in ("frames_per_second", "folder_frames_per_second"):
            _require(0 < getattr(self, name) < math.inf, self, name, "finite and > 0")
        _require(self.stored_short_side >= 8, self, "stored_short_side", ">= 8")
        _require(1 <= self.jpeg_quality <= 100, self, "jpeg_quality", "from 1 to 100")
        _require(self.num_frames >= 1, self, "num_frames", ">= 1")
        _require(self.spacing in SPACINGS, self, "spacing", f"one of {', '.join(SPACINGS)}")
        _require(self.height >= 8, self, "height", ">= 8")
        _require(self.width >= 8, self, "width", ">= 8")
        _require(0 < self.crop_min_area <= 1, self, "crop_min_area", "in (0, 1]")
        _require(0 <= self.hue_jitter <= math.pi, self, "hue_jitter", "from 0 to pi")
        for name in ("saturation_jitter", "value_jitter", "brightness_jitter", "erase_area"):
            _require(0 <= getattr(self, name) < 1, self, name, "in [0, 1)")
        _require(
            self.normalization in VIDEO_NORMALIZATIONS,
            self, "normalization", f"one of {', '.join(VIDEO_NORMALIZATIONS)}",
        )  # fmt: skip
        finite = all(math.isfinite(value) for value in self.mean)
        _require(len(self.mean) == 3 and finite, self, "mean", "three finite numbers")
        positive = all(0 < value < math.inf for value in self.deviation)
        _require(len(self.deviation) == 3 and positive, self, "deviation", "three numbers > 0")


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """All that decides how one clip becomes the model's inputs.

    Args:
      window_s: Seconds of a clip the model gets, > 0; all modalities are cut from the same
        window. Of shorter clips the frames are spread over their length; for the sound see
        `AudioSettings.short_clips`.
      window: Which part of a longer clip: "random": anywhere in training, the middle in
        evaluation; "start": always the first.
      modalities: What is stored and given to the model, of `MODALITIES`, each once.
      audio: Settings of the sound.
      video: Settings of the pictures and of the flow.

    Raises:
      ValueError: where a value is out of its range, or the window holds less sound than one
        Fourier transform needs.
    """

    window_s: float = 3.0
    window: str = "random"
    modalities: tuple[str, ...] = ("audio", "visual")
    audio: AudioSettings = AudioSettings()
    video: VideoSettings = VideoSettings()

    def __post_init__(self):
        object.__setattr__(self, "modalities", tuple(self.modalities))
        _require(0 < self.window_s < math.inf, self, "window_s", "finite and > 0")
        _require(self.window in WINDOWS, self, "window", f"one of {', '.join(WINDOWS)}")
        known = set(self.modalities) <= set(MODALITIES)
        _require(
            bool(self.modalities) and known and len(set(self.modalities)) == len(self.modalities),
            self, "modalities", f"different ones of {', '.join(MODALITIES)}",
        )  # fmt: skip
        least = self.audio.least_samples
        if "audio" in self.modalities and self.window_samples < least:
            raise ValueError(
                f"The window must hold at least {least} samples of sound. Received: "
                f"window_s={self.window_s}, sample_rate_hz={self.audio.sample_rate_hz}, "
                f"features={self.audio.features!r}, fft_length={self.audio.fft_length}."
            )

    @property
    def window_samples(self) -> int:
        """Samples of sound in one window; also the clock of clips without sound."""
        return round(self.window_s * self.audio.sample_rate_hz)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each modality's input without a batch axis.

        "audio" as `AudioSettings.features` says, "visual" `[N, H, W, 3]`, "flow" `[N, H, W, 2]`.
        """
        frames = (self.video.num_frames, self.video.height, self.video.width)
        every = {
            "audio": self.audio.shape(self.window_samples),
            "visual": (*frames, 3),
            "flow": (*frames, 2),
        }
        return {name: every[name] for name in self.modalities}

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


@dataclasses.dataclass(frozen=True)
class MediaLimits:
    """What no media file may cost, however broken or hostile it is.

    Args:
      max_duration_s: Longer clips are cut to this, seconds > 0.
      max_pixels: Files whose pictures have more are not decoded, > 0. Default: 8K video.
      max_decode_s: A file that takes longer to decode is given up, seconds > 0.

    Raises:
      ValueError: where a value is out of its range.
    """

    max_duration_s: float = 60.0
    max_pixels: int = 7680 * 4320
    max_decode_s: float = 600.0

    def __post_init__(self):
        for name in ("max_duration_s", "max_pixels", "max_decode_s"):
            _require(0 < getattr(self, name) < math.inf, self, name, "finite and > 0")
