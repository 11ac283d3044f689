"""From record shards to batches: the training and the evaluation pipeline.

Which clips a batch holds follows from (run seed, epoch, step) alone, and what is random in a clip
from (run seed, purpose, sample number). So the batches are the same with any number of threads and
of workers, and from any step on.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import clips, files
from input_pipelines.clips import Example
from input_pipelines.index import Index, read_index, shard_paths
from input_pipelines.order import Rows, epoch_order, own_positions
from input_pipelines.record_reader import RecordReader

_NAMES_AT_ONCE = 256
# Tells the draw of what is held out from others of the same seed.
_HELD_OUT = 0x6B1E4D


class TrainData(NamedTuple):
    """An endless dataset of (inputs, label), the steps of one epoch, the records' index."""

    dataset: tf.data.Dataset
    steps_per_epoch: int
    index: Index


class EvalData(NamedTuple):
    """A finite dataset of (inputs, label, weight), its number of clips, the records' index."""

    dataset: tf.data.Dataset
    num_clips: int
    index: Index


def steps_per_epoch(
    index: Index, batch_size: int, split: str = "train", num_clips: int | None = None
) -> int:
    """Returns the full batches in one epoch of a split, or of `num_clips` of its clips.

    Raises:
      ValueError: where there is not one, or no such split.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1. Received: batch_size={batch_size}.")
    in_split = _num_clips(index, split)
    num_clips = in_split if num_clips is None else num_clips
    if batch_size > num_clips:
        raise ValueError(
            f"`batch_size` must be at most the number of clips in the split {split!r}, "
            f"{num_clips}. Received: batch_size={batch_size}."
        )
    return num_clips // batch_size


def hold_out(
    index: Index, batch_size: int, seed: int, share: float, split: str = "train"
) -> tuple[np.ndarray, np.ndarray]:
    """Divides a split's clips at random into those to train on, and whole batches of others.

    Args:
      index: Of the records.
      batch_size: Clips a global batch.
      seed: Of the choice.
      share: Of the clips to hold out, in (0, 1); rounded to batches, at least one.
      split: Name of the split.

    Returns:
      The numbers of both, int64, ascending.

    Raises:
      ValueError: where either would have no whole batch.
    """
    num_clips = _num_clips(index, split)
    num_held_out = max(1, round(share * num_clips / batch_size)) * batch_size
    if num_clips - num_held_out < batch_size:
        raise ValueError(
            "What is held out, and what is left, must each be a whole batch of clips. Received: "
            f"{num_clips} clips, batch_size={batch_size}, share={share}."
        )
    # Before a run has chosen its devices, which TensorFlow must not have touched.
    order = np.random.default_rng([seed, _HELD_OUT]).permutation(num_clips)
    return np.sort(order[num_held_out:]), np.sort(order[:num_held_out])


def train_dataset(
    records_dir: files.Path,
    batch_size: int,
    seed: int,
    *,
    split: str = "train",
    start_step: int = 0,
    rows: Rows | None = None,
    audio_noise_snr_db: float | None = None,
    removed: str | None = None,
    numbers: np.ndarray | None = None,
) -> TrainData:
    """Endless batches for training; every epoch is a new permutation, its remainder left out.

    Global batch t of epoch e holds the clips at the places t B to (t + 1) B of `epoch_order`.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      batch_size: Clips B of a global batch, 1 to the size of the split.
      seed: Of order, windows, crops, flips and noise.
      split: Name of the split.
      start_step: Global batches already consumed; the dataset continues after them, at no cost.
      rows: Of every global batch, those to read; None: all, in whole batches.
      audio_noise_snr_db: Decibels of white noise mixed into the sound; None for none.
      removed: Modality whose input is all zeros, or several with commas; None for none.

    Returns:
      Elements `({"audio": [B, F, T, 1], "visual": [B, N, H, W, 3]}, label int32 [B])`, of the
      records' modalities and in the shapes of `ClipSettings.shapes`; `rows.batch_size` instead of
      B where `rows` are given.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or too small, the rows
        do not divide the batch, or a shard has been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    index, reader = _open(records_dir, split, batch_size, audio_noise_snr_db, removed)
    if start_step < 0:
        raise ValueError(f"`start_step` must be >= 0. Received: start_step={start_step}.")
    num_clips = index.splits[split].num_clips if numbers is None else len(numbers)
    steps = steps_per_epoch(index, batch_size, split, num_clips)
    positions, batch_rows = own_positions(steps, batch_size, rows)
    positions = tf.constant(positions)
    first_epoch, first_step = divmod(start_step, steps)
    num_skipped = first_step * (len(positions) // steps)
    load = clips.Loader(index.input_settings, seed, True, audio_noise_snr_db, removed)

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        own = positions[tf.where(epoch == first_epoch, num_skipped, 0) :]
        clip_numbers = tf.gather(epoch_order(seed, epoch, num_clips), own)
        if numbers is not None:
            clip_numbers = tf.gather(tf.constant(numbers, tf.int64), clip_numbers)
        samples = tf.data.Dataset.from_tensor_slices(epoch * steps * batch_size + own)
        return tf.data.Dataset.zip((samples, reader.read(clip_numbers)))

    def load_clip(sample: tf.Tensor, read: tuple[tf.Tensor, tf.Tensor]):
        return load(sample, reader.checked(*read))

    dataset = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(read_epoch)
    dataset = dataset.map(load_clip, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(batch_rows, drop_remainder=True)
    return TrainData(finish(dataset, rows), steps, index)


def eval_dataset(
    records_dir: files.Path,
    split: str,
    batch_size: int,
    *,
    seed: int = 0,
    rows: Rows | None = None,
    audio_noise_snr_db: float | None = None,
    removed: str | None = None,
    limit_clips: int = 0,
    numbers: np.ndarray | None = None,
) -> EvalData:
    """Batches of one size in which every clip of a split is once, in the order of the shards.

    The last global batch is filled with rows of zeros and weight 0.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      split: Name of the split.
      batch_size: Rows of a global batch, >= 1.
      seed: Of the noise, which depends on the clip's position only, and of the choice of clips.
      rows: Of every global batch, those to read; None: all, in whole batches.
      audio_noise_snr_db: Decibels of white noise mixed into the sound; None for none.
      removed: Modality whose input is all zeros, or several with commas; None for none.
      limit_clips: Clips to read, chosen at random from the split, >= 0; 0: all.
      numbers: In place of that, the clips to read, in the order of the shards.

    Returns:
      Elements `(inputs as in training, label int32 [B], weight float32 [B])`; every worker gets as
      many. `num_clips` counts the clips of all workers.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or empty, the rows do not
        divide the batch, or a shard has been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    index, reader = _open(records_dir, split, batch_size, audio_noise_snr_db, removed)
    if limit_clips < 0:
        raise ValueError(f"`limit_clips` must be >= 0. Received: limit_clips={limit_clips}.")
    in_split = index.splits[split].num_clips
    chosen = None
    if numbers is not None:
        chosen = tf.constant(numbers, tf.int64)
    elif 0 < limit_clips < in_split:
        # Not every so many: the classes of a list may alternate.
        chosen = tf.sort(epoch_order(seed, 0, in_split)[:limit_clips])
    num_clips = in_split if chosen is None else len(chosen)
    positions, batch_rows = own_positions(-(-num_clips // batch_size), batch_size, rows)
    own = tf.constant(positions[positions < num_clips])
    if chosen is not None:
        own = tf.gather(chosen, own)
    load = clips.Loader(index.input_settings, seed, False, audio_noise_snr_db, removed)

    def load_weighted(position: tf.Tensor, record: tf.Tensor):
        return *load(position, reader.checked(position, record)), tf.constant(1.0)

    padding = (
        {name: tf.zeros(shape) for name, shape in index.settings.shapes.items()},
        tf.constant(0, tf.int32),
        tf.constant(0.0),
    )
    dataset = reader.read(own)
    dataset = dataset.map(load_weighted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if missing := len(positions) - len(own):
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(padding).repeat(missing))
    dataset = dataset.batch(batch_rows, drop_remainder=True)
    return EvalData(finish(dataset, rows), num_clips, index)


def read_clips(
    records_dir: files.Path,
    split: str,
    wanted: int | Sequence[int],
    *,
    training: bool = False,
    seed: int = 0,
) -> list[Example]:
    """Reads some clips as the model sees them.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      split: Name of the split.
      wanted: How many clips, >= 1, evenly spread over the split; a smaller split gives all it has.
        Or the numbers of those wanted, from 0 in the order of the shards.
      training: Whether they are augmented as in training.
      seed: Of the augmentation.

    Returns:
      The clips, in the order of the shards or of the numbers.

    Raises:
      ValueError: where `wanted` is out of range, the split is unknown or empty, or a shard has
        been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    index, reader = _open(records_dir, split, 1, None, None)
    num_clips = index.splits[split].num_clips
    if isinstance(wanted, int):
        if wanted < 1:
            raise ValueError(f"`wanted` must be >= 1 clips. Received: wanted={wanted}.")
        count = min(wanted, num_clips)
        wanted = [number * num_clips // count for number in range(count)]
    elif not all(0 <= number < num_clips for number in wanted):
        raise ValueError(
            f"`wanted` must be numbers in [0, {num_clips}), of the split {split!r}. "
            f"Received: wanted={list(wanted)}."
        )
    load = clips.Loader(index.input_settings, seed, training)
    return [
        clips.example(reader.checked(number, record), load, int(number))
        for number, record in reader.read(tf.constant(wanted, tf.int64))
    ]


def list_clips(records_dir: files.Path, split: str) -> tuple[list[str], np.ndarray]:
    """Returns name and label of every clip of a split, in the order of the shards.

    All of its records are read for it, and nothing of them is decoded.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      split: Name of the split.

    Returns:
      Every `clip_id`, and the labels, int32 `[num_clips]`.

    Raises:
      ValueError: as of `read_clips`.
      FileNotFoundError: as of `read_clips`.
    """
    index, reader = _open(records_dir, split, 1, None, None)
    names = reader.read(tf.range(index.splits[split].num_clips, dtype=tf.int64)).map(
        lambda number, record: clips.parse_name(reader.checked(number, record)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    found = list(names.batch(_NAMES_AT_ONCE).as_numpy_iterator())
    clip_ids = [clip_id.decode() for batch, _ in found for clip_id in batch]
    return clip_ids, np.concatenate([labels for _, labels in found])


def _num_clips(index: Index, split: str) -> int:
    if split not in index.splits:
        raise ValueError(
            f"`split` must be one of those in the records: {', '.join(sorted(index.splits))}. "
            f"Received: split={split!r}."
        )
    if index.splits[split].num_clips == 0:
        raise ValueError(f"The split has no clips. Received: split={split!r}.")
    return index.splits[split].num_clips


def _open(
    records_dir: files.Path,
    split: str,
    batch_size: int,
    audio_noise_snr_db: float | None,
    removed: str | None,
) -> tuple[Index, RecordReader]:
    """Checks the arguments both pipelines share; opens the split."""
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1. Received: batch_size={batch_size}.")
    if audio_noise_snr_db is not None and not math.isfinite(audio_noise_snr_db):
        raise ValueError(
            "`audio_noise_snr_db` must be finite, or None for no noise. Received: "
            f"audio_noise_snr_db={audio_noise_snr_db}."
        )
    index = read_index(records_dir)
    modalities = index.settings.modalities
    if removed is not None and not set(removed.split(",")) <= set(modalities):
        raise ValueError(
            f"`removed` must be None or some of {', '.join(modalities)}. Received: "
            f"removed={removed!r}."
        )
    _num_clips(index, split)
    paths = shard_paths(records_dir, index.splits[split])
    return index, RecordReader(paths, index.splits[split].shards)


def finish(dataset: tf.data.Dataset, rows: Rows | None) -> tf.data.Dataset:
    """Returns a dataset of batches that is ready ahead, and the same with any number of threads."""
    options = tf.data.Options()
    options.deterministic = True
    # Clips are written into their batch at once, not copied into it.
    options.experimental_optimization.map_and_batch_fusion = True
    # Workers that were given no rows of their own each take a part of every batch, not of the
    # files: the order must not depend on their number.
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF if rows else policy.DATA
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
