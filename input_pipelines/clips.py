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

    SHARD_ORDER = 0
    CLIP_ORDER = 1
    WINDOW = 2
    CROP = 3
    FLIP = 4
    NOISE = 5
    EVALUATION_NOISE = 6


class StoredClip(NamedTuple):
    """Tensors of one parsed record: scalars, and frames `[stored]` with times in microseconds."""

    clip_id: tf.Tensor
    label: tf.Tensor
    pcm16: tf.Tensor
    encoded: tf.Tensor
    timestamps_us: tf.Tensor


class Window(NamedTuple):
    """The part of a clip both modalities come from, in samples of sound, int32 scalars."""

    start: tf.Tensor
    length: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Example:
    """One clip as evaluation sees it, for a person to look at.

    Args:
      clip_id: From the manifest.
      label: Index of its class.
      waveform: float32 `[window_samples]` in [-1, 1].
      frames: uint8 RGB `[N, H, W, 3]`.
      inputs: What the model gets, without a batch axis.
    """

    clip_id: str
    label: int
    waveform: np.ndarray
    frames: np.ndarray
    inputs: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Loader:
    """Turns one record into the model's inputs: augmented in training, as it is otherwise.

    Args:
      settings: Those of the records.
      seed: Of windows, crops, flips and noise.
      training: Whether the window is random and the frames are augmented.
      noise_snr_db: Decibels of white noise mixed into the sound; None for none.
      removed: Modality whose input is all zeros: None, "audio" or "visual".
    """

    settings: ClipSettings
    seed: int
    training: bool
    noise_snr_db: float | None = None
    removed: str | None = None

    def __call__(
        self, number: tf.Tensor, serialized: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Loads one clip.

        Args:
          number: int64 scalar that tells the draws of two clips apart.
          serialized: The record, a string scalar.

        Returns:
          `{"audio": [F, T, 1], "visual": [N, H, W, 3]}` float32, and the label, an int32 scalar.
        """
        clip = parse(serialized)
        window = self.window(clip, number)
        inputs = {
            "audio": tf.zeros(self.settings.audio_shape),
            "visual": tf.zeros(self.settings.visual_shape),
        }
        if self.removed != "audio":
            sound = waveform(clip, window, self.settings)
            if self.noise_snr_db is not None:
                purpose = Purpose.NOISE if self.training else Purpose.EVALUATION_NOISE
                noise_seed = draw_seed(self.seed, purpose, number)
                sound = audio.add_noise(sound, self.noise_snr_db, noise_seed)
            inputs["audio"] = audio.log_spectrogram(sound, self.settings.audio)
        if self.removed != "visual":
            inputs["visual"] = self._visual(chosen_frames(clip, window, self.settings), number)
        return inputs, clip.label

    def window(self, clip: StoredClip, number: tf.Tensor) -> Window:
        """Chooses the window: anywhere in the clip in training, else its middle."""
        num_samples = tf.strings.length(clip.pcm16, unit="BYTE") // 2
        free = tf.maximum(num_samples - self.settings.window_samples, 0)
        start = free // 2
        if self.training:
            draw = draw_seed(self.seed, Purpose.WINDOW, number)
            start = tf.random.stateless_uniform(
                [], draw, minval=0, maxval=free + 1, dtype=tf.int32, alg="philox"
            )
        return Window(start, tf.minimum(num_samples, self.settings.window_samples))

    def _visual(self, encoded: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        settings = self.settings.video
        crop, flip = None, False
        if self.training and settings.crop_min_area < 1:
            size = tf.io.extract_jpeg_shape(encoded[0])
            draw = draw_seed(self.seed, Purpose.CROP, number)
            crop = video.random_crop_box(size[0], size[1], settings.crop_min_area, draw)
        if self.training and settings.flip:
            draw = draw_seed(self.seed, Purpose.FLIP, number)
            flip = tf.random.stateless_uniform([], draw, alg="philox") < 0.5
        return video.decode_frames(encoded, settings, crop, flip)


def draw_seed(seed: int, purpose: Purpose, number: tf.Tensor | int) -> tf.Tensor:
    """Returns the seed, int64 `[2]`, of one stateless draw.

    Args:
      seed: Of the run.
      purpose: What is drawn.
      number: int64 scalar: of the clip, or of the epoch where an order is drawn.
    """
    return tf.random.fold_in(tf.constant([seed, purpose], tf.int64), number, alg="philox")


def parse(serialized: tf.Tensor) -> StoredClip:
    """Returns what a record, a string scalar, holds; sound and frames still encoded."""
    context, sequence = tf.io.parse_single_sequence_example(
        serialized, records.CONTEXT_FEATURES, records.SEQUENCE_FEATURES
    )
    return StoredClip(
        clip_id=context[records.MEDIA_ID],
        label=tf.cast(context[records.LABEL_INDEX], tf.int32),
        pcm16=context[records.WAVEFORM_PCM16],
        encoded=sequence[records.IMAGE_ENCODED],
        timestamps_us=sequence[records.IMAGE_TIMESTAMP],
    )


def waveform(clip: StoredClip, window: Window, settings: ClipSettings) -> tf.Tensor:
    """Returns the window's sound, float32 `[window_samples]` in [-1, 1]; short clips are tiled."""
    samples = audio.decode_pcm16(clip.pcm16, window.start, window.length)
    return audio.fit_length(samples, settings.window_samples)


def chosen_frames(clip: StoredClip, window: Window, settings: ClipSettings) -> tf.Tensor:
    """Returns the encoded frames `[N]` nearest to N times evenly spread over the window."""
    microseconds = 1_000_000
    start = tf.cast(window.start, tf.int64) * microseconds
    length = tf.cast(window.length, tf.int64) * microseconds
    num_frames = settings.video.num_frames
    middles = length * (2 * tf.range(num_frames, dtype=tf.int64) + 1) // (2 * num_frames)
    times_us = (start + middles) // settings.audio.sample_rate_hz
    return tf.gather(clip.encoded, video.nearest(clip.timestamps_us, times_us))


def evaluation_example(serialized: tf.Tensor, settings: ClipSettings) -> Example:
    """Returns a record, an eager string scalar, as evaluation sees it."""
    load = Loader(settings, seed=0, training=False)
    clip = parse(serialized)
    inputs, label = load(tf.constant(0, tf.int64), serialized)
    return Example(
        clip_id=clip.clip_id.numpy().decode(),
        label=int(label),
        waveform=waveform(clip, load.window(clip, 0), settings).numpy(),
        frames=video.denormalise(inputs["visual"]).numpy(),
        inputs={name: value.numpy() for name, value in inputs.items()},
    )
