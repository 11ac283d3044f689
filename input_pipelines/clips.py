"""One stored clip as tensors: its window, its sound, its frames, and the inputs made of them.

Whatever is random is drawn statelessly from (run seed, purpose, number of the clip).
"""

import dataclasses
import enum
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import audio, records, video
from input_pipelines.settings import ClipSettings


class Purpose(enum.IntEnum):
    """What a random number is for; two purposes never share one."""

    ORDER = 1
    WINDOW = 2
    CROP = 3
    FLIP = 4
    NOISE = 5
    EVALUATION_NOISE = 6
    SPACING = 7
    COLOR = 8
    ERASE = 9
    MASK = 10
    GAIN = 11
    OTHER_WINDOW = 12
    OTHER_CLIP = 13
    MATCH = 14
    SHIFT = 15


class Frames(NamedTuple):
    """Encoded frames `[stored]`, and when each is shown, microseconds after the clip's start."""

    encoded: tf.Tensor
    timestamps_us: tf.Tensor


class StoredClip(NamedTuple):
    """Tensors of one parsed record: scalars, and frames; None where there is no such modality."""

    clip_id: tf.Tensor
    label: tf.Tensor
    duration_us: tf.Tensor
    pcm16: tf.Tensor | None
    visual: Frames | None
    flow: Frames | None


class Window(NamedTuple):
    """The part of a clip all modalities come from, in samples of sound, int32 scalars."""

    start: tf.Tensor
    length: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Example:
    """One clip as the model sees it, for a person to look at.

    Args:
      clip_id: From the listing.
      label: Index of its class.
      waveform: float32 `[window_samples]`, or less of a short clip, in [-1, 1]; None without sound.
      frames: uint8 RGB `[N, H, W, 3]`; None without pictures.
      inputs: What the model gets, without a batch axis.
      start_s: Where all of these begin in the clip, seconds.
      end_s: And where they end.
    """

    clip_id: str
    label: int
    waveform: np.ndarray | None
    frames: np.ndarray | None
    inputs: dict[str, np.ndarray]
    start_s: float = 0.0
    end_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Loader:
    """Turns one record into the model's inputs: augmented in training, as it is otherwise.

    Args:
      settings: `Index.input_settings` of the records.
      seed: Of windows, augmentation and noise.
      training: Whether windows, frames and sound are varied at random.
      noise_snr_db: Decibels of white noise mixed into the sound; None for none.
      removed: Modality whose input is all zeros, or several with commas; None for none.
    """

    settings: ClipSettings
    seed: int
    training: bool
    noise_snr_db: float | None = None
    removed: str | None = None

    # There is nothing to convert, and AutoGraph takes seconds to find that out.
    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, number: tf.Tensor, serialized: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Loads one clip.

        Args:
          number: int64 scalar that tells the draws of two clips apart.
          serialized: The record, a string scalar.

        Returns:
          float32 inputs of the shapes `settings.shapes`, and the label, an int32 scalar.
        """
        clip = parse(serialized, self.settings)
        return self.inputs(clip, self.window(clip, number), number), clip.label

    def inputs(self, clip: StoredClip, window: Window, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what the model gets of one window of a clip."""
        return {name: self.input(name, clip, window, number) for name in self.settings.shapes}

    def input(
        self, modality: str, clip: StoredClip, window: Window, number: tf.Tensor
    ) -> tf.Tensor:
        """Returns what the model gets of one modality, float32 of its shape."""
        if self.removed and modality in self.removed.split(","):
            return tf.zeros(self.settings.shapes[modality])
        if modality == "audio":
            return self._audio(waveform(clip, window, self.settings), number)
        encoded = self._chosen(getattr(clip, modality), window, number)
        load = video.load_frames if modality == "visual" else video.load_flow
        return load(encoded, self.settings.video, self._frame_seeds(number))

    def window(
        self, clip: StoredClip, number: tf.Tensor, purpose: Purpose = Purpose.WINDOW
    ) -> Window:
        """Chooses the window: see `ClipSettings.window`."""
        num_samples = clip_samples(clip, self.settings)
        free = tf.maximum(num_samples - self.settings.window_samples, 0)
        start = free // 2
        if self.settings.window == "start":
            start = tf.zeros([], tf.int32)
        elif self.training:
            start = tf.random.stateless_uniform(
                [],
                self._draw(purpose, number),
                minval=0,
                maxval=free + 1,
                dtype=tf.int32,
                alg="philox",
            )
        return Window(start, tf.minimum(num_samples, self.settings.window_samples))

    def _audio(self, sound: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        settings = self.settings.audio
        if self.training and settings.gain_jitter:
            sound = audio.jitter_gain(sound, settings, self._draw(Purpose.GAIN, number))
        if self.noise_snr_db is not None:
            purpose = Purpose.NOISE if self.training else Purpose.EVALUATION_NOISE
            sound = audio.add_noise(sound, self.noise_snr_db, self._draw(purpose, number))
        features = audio.features(sound, settings)
        if self.training and settings.num_masks:
            features = audio.mask(features, settings, self._draw(Purpose.MASK, number))
        return features

    def _chosen(self, frames: Frames, window: Window, number: tf.Tensor) -> tf.Tensor:
        """Returns the encoded frames `[N]` nearest to one time in each Nth of the window."""
        microseconds = 1_000_000
        start = tf.cast(window.start, tf.int64) * microseconds
        length = tf.cast(window.length, tf.int64) * microseconds
        num_frames = self.settings.video.num_frames
        times = length * (2 * tf.range(num_frames, dtype=tf.int64) + 1) // (2 * num_frames)
        if self.training and self.settings.video.spacing == "random":
            draws = tf.random.stateless_uniform(
                [num_frames], self._draw(Purpose.SPACING, number), -0.5, 0.5, alg="philox"
            )
            times += tf.cast(draws * tf.cast(length, tf.float32) / num_frames, tf.int64)
        times_us = (start + times) // self.settings.audio.sample_rate_hz
        return tf.gather(frames.encoded, video.nearest(frames.timestamps_us, times_us))

    def _frame_seeds(self, number: tf.Tensor) -> video.Seeds | None:
        if not self.training:
            return None
        purposes = (Purpose.CROP, Purpose.FLIP, Purpose.COLOR, Purpose.ERASE)
        return video.Seeds(*(self._draw(purpose, number) for purpose in purposes))

    def _draw(self, purpose: Purpose, number: tf.Tensor) -> tf.Tensor:
        return draw_seed(self.seed, purpose, number)


def draw_seed(seed: int, purpose: Purpose, number: tf.Tensor | int) -> tf.Tensor:
    """Returns the seed, int64 `[2]`, of one stateless draw.

    Args:
      seed: Of the run.
      purpose: What is drawn.
      number: int64 scalar: of the clip, or of the epoch where an order is drawn.
    """
    # Of numbers of other types, fold_in would make other seeds.
    number = tf.cast(number, tf.int64)
    return tf.random.fold_in(tf.constant([seed, purpose], tf.int64), number, alg="philox")


def parse(serialized: tf.Tensor, settings: ClipSettings) -> StoredClip:
    """Returns what a record, a string scalar, holds; sound and frames still encoded."""
    context, sequence = tf.io.parse_single_sequence_example(
        serialized, *records.parsed_features(settings.modalities)
    )
    start_us = context[records.START_TIMESTAMP]
    frames = {
        modality: Frames(sequence[f"{prefix}encoded"], sequence[f"{prefix}timestamp"] - start_us)
        for modality, prefix in records.IMAGE_PREFIXES.items()
        if modality in settings.modalities
    }
    return StoredClip(
        clip_id=context[records.MEDIA_ID],
        label=tf.cast(context[records.LABEL_INDEX], tf.int32),
        duration_us=context[records.END_TIMESTAMP] - start_us,
        pcm16=context.get(records.WAVEFORM_PCM16),
        visual=frames.get("visual"),
        flow=frames.get("flow"),
    )


def parse_name(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `clip_id` and label, int32, of a record, a string scalar."""
    context, _ = tf.io.parse_single_sequence_example(
        serialized,
        {
            records.MEDIA_ID: tf.io.FixedLenFeature([], tf.string),
            records.LABEL_INDEX: tf.io.FixedLenFeature([], tf.int64),
        },
    )
    return context[records.MEDIA_ID], tf.cast(context[records.LABEL_INDEX], tf.int32)


def parse_event(serialized: tf.Tensor) -> tf.Tensor:
    """Returns when the event of a record, a string scalar, is.

    Returns:
      int64 `[2]`: microseconds from the clip's start to the event's start and to its end;
      `records.NO_EVENT` twice where there is none.
    """
    start = {records.START_TIMESTAMP: tf.io.FixedLenFeature([], tf.int64)}
    context, _ = tf.io.parse_single_sequence_example(
        serialized, start | records.parsed_event_features()
    )
    times = tf.stack([context[records.EVENT_START], context[records.EVENT_END]])
    # An event may begin before its clip does.
    is_known = context[records.EVENT_END] != records.NO_EVENT
    return tf.where(is_known, times - context[records.START_TIMESTAMP], records.NO_EVENT)


def clip_samples(clip: StoredClip, settings: ClipSettings) -> tf.Tensor:
    """Returns the length of a clip in samples of sound, int32; those it would have without."""
    if clip.pcm16 is not None:
        return tf.strings.length(clip.pcm16, unit="BYTE") // 2
    num_samples = clip.duration_us * settings.audio.sample_rate_hz // 1_000_000
    return tf.cast(num_samples, tf.int32)


def waveform(clip: StoredClip, window: Window, settings: ClipSettings) -> tf.Tensor:
    """Returns the window's sound, float32 `[window_samples]` in [-1, 1]: tiled where it is short.

    With `short_clips="fill"`, `[at most window_samples]`.
    """
    samples = audio.decode_pcm16(clip.pcm16, window.start, window.length)
    return audio.fit_window(samples, settings)


def example(serialized: tf.Tensor, load: Loader, number: int = 0) -> Example:
    """Returns a record, an eager string scalar, as `load` gives it to the model."""
    clip = parse(serialized, load.settings)
    number = tf.constant(number, tf.int64)
    window = load.window(clip, number)
    inputs = load.inputs(clip, window, number)
    has_sound, has_pictures = clip.pcm16 is not None, clip.visual is not None
    frames = video.denormalise(inputs["visual"], load.settings.video) if has_pictures else None
    rate_hz = load.settings.audio.sample_rate_hz
    return Example(
        clip_id=clip.clip_id.numpy().decode(),
        label=int(clip.label),
        waveform=waveform(clip, window, load.settings).numpy() if has_sound else None,
        frames=None if frames is None else frames.numpy(),
        inputs={name: value.numpy() for name, value in inputs.items()},
        start_s=int(window.start) / rate_hz,
        end_s=int(window.start + window.length) / rate_hz,
    )
