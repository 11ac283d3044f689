"""Clips as videos of equal segments: what each holds of the event, and what encoders get of it.

An encoder gets its own window, as long as those it was trained on, centred on the segment. Before
the clip's beginning and after its end, time runs backwards: sound and pictures are mirrored there.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import audio, clips, files, records, video
from input_pipelines.clips import StoredClip
from input_pipelines.index import Index, shard_paths
from input_pipelines.record_reader import RecordReader
from input_pipelines.settings import ClipSettings

_MICROSECONDS = 1_000_000


class Segments(NamedTuple):
    """One segment, or a batch of them.

    Args:
      clip_id: string, the clip's name.
      label: int32, the clip's class.
      duration_us: int64, the clip's length.
      event_us: int64 `[..., 2]`: start and end of the event after the clip's start;
        `records.NO_EVENT` twice where there is none.
      frame: string, the JPEG file of the frame nearest to the segment's middle.
      inputs: By modality, float32, what the encoders take.
    """

    clip_id: tf.Tensor
    label: tf.Tensor
    duration_us: tf.Tensor
    event_us: tf.Tensor
    frame: tf.Tensor
    inputs: dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SegmentLoader:
    """Turns one record into its segments.

    Args:
      front_ends: Of each modality, "audio" or "visual", what its encoder takes: window and front
        end. They may come of other records than those that are read, of the same sample rate.
      num_segments: Of each clip, T >= 1.
      segment_s: Length of a segment, seconds > 0.
    """

    front_ends: Mapping[str, ClipSettings]
    num_segments: int
    segment_s: float

    @tf.autograph.experimental.do_not_convert
    def __call__(self, serialized: tf.Tensor, settings: ClipSettings) -> Segments:
        """Loads one clip.

        Args:
          serialized: The record, a string scalar.
          settings: Of the records.

        Returns:
          Its T segments.
        """
        clip = clips.parse(serialized, settings)
        middles_us = tf.cast(
            tf.round((np.arange(self.num_segments) + 0.5) * self.segment_s * _MICROSECONDS),
            tf.int64,
        )
        frame = tf.gather(clip.visual.encoded, video.nearest(clip.visual.timestamps_us, middles_us))
        own = (clip.clip_id, clip.label, clip.duration_us, clips.parse_event(serialized))
        inputs = {name: self._input(name, clip) for name in self.front_ends}
        return Segments(*(self._repeated(value) for value in own), frame, inputs)

    def starts(self, front_end: ClipSettings) -> np.ndarray:
        """Returns where the windows start, samples of sound, int64 `[T]`; some are negative."""
        middles = (np.arange(self.num_segments) + 0.5) * self.segment_s
        samples = middles * front_end.audio.sample_rate_hz - front_end.window_samples / 2
        # Not to even numbers: all windows of one kind are rounded alike.
        return np.floor(samples + 0.5).astype(np.int64)

    def _input(self, modality: str, clip: StoredClip) -> tf.Tensor:
        front_end = self.front_ends[modality]
        starts = self.starts(front_end)
        if modality == "audio":
            return audio.features(self._waveforms(clip, starts, front_end), front_end.audio)
        times_us = self._frame_times_us(clip, starts, front_end)
        chosen = video.nearest(clip.visual.timestamps_us, tf.reshape(times_us, [-1]))
        # Neighbouring windows share frames; each is decoded once.
        frames, places = tf.unique(chosen)
        height, width = front_end.video.height, front_end.video.width
        decoded = tf.map_fn(
            lambda frame: video.load_frames(frame[tf.newaxis], front_end.video)[0],
            tf.gather(clip.visual.encoded, frames),
            fn_output_signature=tf.TensorSpec([height, width, 3], tf.float32),
        )
        shape = [self.num_segments, front_end.video.num_frames, height, width, 3]
        return tf.reshape(tf.gather(decoded, places), shape)

    def _waveforms(
        self, clip: StoredClip, starts: np.ndarray, front_end: ClipSettings
    ) -> tf.Tensor:
        """Returns float32 `[T, window_samples]` in [-1, 1]."""
        num_samples = clips.clip_samples(clip, front_end)
        samples = audio.decode_pcm16(clip.pcm16, tf.constant(0), num_samples)
        places = starts[:, np.newaxis] + np.arange(front_end.window_samples)
        return tf.gather(samples, mirrored(places, tf.cast(num_samples, tf.int64) - 1))

    def _frame_times_us(
        self, clip: StoredClip, starts: np.ndarray, front_end: ClipSettings
    ) -> tf.Tensor:
        """Returns int64 `[T, num_frames]`: one time in each Nth of each window, as `Loader`."""
        num_frames = front_end.video.num_frames
        length = front_end.window_samples * _MICROSECONDS
        times = length * (2 * np.arange(num_frames) + 1) // (2 * num_frames)
        times = starts[:, np.newaxis] * _MICROSECONDS + times
        return mirrored(times // front_end.audio.sample_rate_hz, clip.duration_us)

    def _repeated(self, value: tf.Tensor) -> tf.Tensor:
        return tf.repeat(value[tf.newaxis], self.num_segments, axis=0)


def mirrored(places: np.ndarray, last: tf.Tensor) -> tf.Tensor:
    """Returns places that run to and fro between 0 and `last`, int64 of the same shape.

    Args:
      places: int64, any; those in [0, last] come back as they are.
      last: int64 scalar, >= 0.
    """
    period = tf.maximum(2 * last, 1)
    return last - tf.abs(tf.math.floormod(tf.constant(places), period) - last)


def read_segments(
    records_dir: files.Path, index: Index, split: str, load: SegmentLoader
) -> tf.data.Dataset:
    """Returns the segments of a split's clips, `Segments` one by one, in the order of the shards.

    Only a few clips are in memory at a time.

    Args:
      records_dir: Folder of the records.
      index: Of the records.
      split: Its name.
      load: Makes segments of a clip.

    Raises:
      FileNotFoundError: where a shard is missing.
      ValueError: where a shard has been cut.
    """
    found = index.splits[split]
    reader = RecordReader(shard_paths(records_dir, found), found.shards)
    settings = dataclasses.replace(index.settings, modalities=("audio", "visual"))

    def load_clip(number: tf.Tensor, record: tf.Tensor) -> Segments:
        return load(reader.checked(number, record), settings)

    dataset = reader.read(tf.range(found.num_clips, dtype=tf.int64))
    dataset = dataset.map(load_clip, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    return dataset.unbatch().with_options(options)


def event_labels(
    event_us: np.ndarray, label: int, background: int, num_segments: int, segment_s: float
) -> np.ndarray:
    """Returns the class of every segment of a clip with one event.

    A segment holds the event where at least half of it lies in the event. Where none does, it is
    the one of which most lies in the event.

    Args:
      event_us: Start and end after the clip's start, microseconds; `records.NO_EVENT` twice, or
        times outside of the segments: background throughout.
      label: The event's class.
      background: The class that stands for no event.
      num_segments: T.
      segment_s: Length of a segment, seconds.

    Returns:
      int32 `[T]`.
    """
    labels = np.full(num_segments, background, np.int32)
    start, end = map(int, event_us)
    if end == records.NO_EVENT:
        return labels
    borders = np.round(np.arange(num_segments + 1) * segment_s * _MICROSECONDS).astype(np.int64)
    overlaps = np.minimum(borders[1:], end) - np.maximum(borders[:-1], start)
    # Borders are rounded to microseconds.
    is_held = 2 * overlaps >= np.diff(borders) - 1
    if not is_held.any() and overlaps.max() > 0:
        is_held[np.argmax(overlaps)] = True
    labels[is_held] = label
    return labels
