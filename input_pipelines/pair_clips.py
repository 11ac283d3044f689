"""Which clips of a split are long enough for pairs, and whether they are enough."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import message

from input_pipelines import clips, files, records
from input_pipelines.dataset import steps_per_epoch
from input_pipelines.index import RECORD_FRAME_BYTES, Index, shard_paths
from input_pipelines.pair_groups import MODALITIES, Task
from input_pipelines.record_reader import RecordReader
from input_pipelines.settings import ClipSettings

_NAMED_CLIPS = 20
# The index rounds lengths to two decimals.
_ROUNDING_S = 0.01
# Of a record's frame, what lies before its data: a length with its checksum.
_HEADER_BYTES = RECORD_FRAME_BYTES - 4


def check_split(
    records_dir: files.Path, index: Index, split: str, batch_size: int, task: Task
) -> None:
    """Refuses a split of which `pairs.pair_dataset` could make no pairs, before it is called.

    It computes nothing by TensorFlow, so that strategies can still be made. Records are read only
    where the index' lengths leave open whether they suffice, and no more than it takes.

    Args:
      records_dir: Folder that `preparation.prepare` wrote, with sound and pictures.
      index: Of the records.
      split: Name of the split.
      batch_size: Pairs of a global batch.
      task: Which pairs.

    Raises:
      ValueError: where the split is unknown or has too few clips that are long enough, they are
        not of sound and pictures, or `batch_size` is out of its range.
      FileNotFoundError: where a shard is missing.
    """
    task.check_batches(batch_size, 0, None)
    settings = pair_settings(index)
    num_clips = steps_per_epoch(index, 1, split)
    least_samples, needed = task.least_samples(settings), num_needed(task, batch_size)
    rate_hz = settings.audio.sample_rate_hz
    counts = {float(text): n for text, n in index.splits[split].duration_counts.items()}
    num_sure, num_possible = (
        sum(n for length_s, n in counts.items() if (length_s + margin_s) * rate_hz >= least_samples)
        for margin_s in (-_ROUNDING_S, _ROUNDING_S)
    )
    num_long = num_sure
    if num_sure < needed and num_sure < num_possible:
        num_long = 0
        for length in _lengths(records_dir, index, split):
            num_long += length >= least_samples
            if num_long == needed:
                break
    require_enough(task, settings, split, num_long, num_clips, batch_size)


def num_needed(task: Task, batch_size: int) -> int:
    """Returns the clips without which there are no pairs, or no batch of them in training."""
    least = 2 if task.kind == "correspondence" else 1
    if task.training:
        least = max(least, batch_size * task.clips_per_group // task.group_size)
    return least


def require_enough(
    task: Task,
    settings: ClipSettings,
    split: str,
    num_long: int,
    num_clips: int,
    batch_size: int,
) -> None:
    """Refuses a split with too few clips that are long enough.

    Raises:
      ValueError: where `num_long` of its `num_clips` are less than it takes.
    """
    needed = num_needed(task, batch_size)
    if num_long < needed:
        least_s = task.least_samples(settings) / settings.audio.sample_rate_hz
        raise ValueError(
            f"Pairs of {task.kind} in batches of {batch_size} need at least {needed} clips that "
            f"are long enough. Received: split={split!r} with {num_long} of {num_clips} clips of "
            f"{least_s:g} s or more."
        )


def pair_settings(index: Index) -> ClipSettings:
    """Returns the settings to read sound and pictures with, and nothing else.

    Raises:
      ValueError: where the records have not both.
    """
    if missing := set(MODALITIES) - set(index.settings.modalities):
        raise ValueError(
            f"Records of pairs must have {' and '.join(MODALITIES)}. Received: modalities="
            f"{index.settings.modalities}, without {' and '.join(sorted(missing))}."
        )
    return dataclasses.replace(index.input_settings, modalities=MODALITIES)


def long_enough(
    index: Index, split: str, reader: RecordReader, settings: ClipSettings, task: Task
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the numbers of the clips that are long enough, and the names of the others.

    The others are named in the log as well.
    """
    num_clips = index.splits[split].num_clips
    numbers = np.arange(num_clips)
    least = task.least_samples(settings)
    shortest_s = min(map(float, index.splits[split].duration_counts))
    # Only what is near the limit must be looked up.
    if (shortest_s - _ROUNDING_S) * settings.audio.sample_rate_hz >= least:
        return numbers, ()
    only_sound = dataclasses.replace(settings, modalities=("audio",))

    def length(number: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        clip = clips.parse(reader.checked(number, record), only_sound)
        return clip.clip_id, clips.clip_samples(clip, only_sound)

    lengths = reader.read(tf.constant(numbers)).map(length, tf.data.AUTOTUNE, deterministic=True)
    names, found = next(iter(lengths.batch(num_clips)))
    is_long = found.numpy() >= least
    left_out = tuple(name.decode() for name in names.numpy()[~is_long])
    if left_out:
        more = len(left_out) - _NAMED_CLIPS
        named = ", ".join(left_out[:_NAMED_CLIPS]) + (f" and {more} more" if more > 0 else "")
        rule = "Split %r: %d of %d clips are left out of %s, for they are shorter than %g s: %s."
        least_s = least / settings.audio.sample_rate_hz
        logging.warning(rule, split, len(left_out), num_clips, task.kind, least_s, named)
    return numbers[is_long], left_out


def _lengths(records_dir: files.Path, index: Index, split: str) -> Iterator[int]:
    """Yields the samples of sound of a split's clips, in the order of its records."""
    shards = index.splits[split].shards
    for path, shard in zip(shard_paths(records_dir, index.splits[split]), shards, strict=True):
        with files.open_to_read(path) as file:
            for offset, size in zip(*shard.places(), strict=True):
                file.seek(int(offset) + _HEADER_BYTES)
                try:
                    record = tf.train.SequenceExample.FromString(file.read(int(size)))
                    (pcm16,) = record.context.feature[records.WAVEFORM_PCM16].bytes_list.value
                except (message.DecodeError, ValueError) as error:
                    raise ValueError(
                        "Records must stay as they were written; try launchers.prepare --verify. "
                        f"Received: {path} without its record at byte {offset}."
                    ) from error
                yield len(pcm16) // 2
