"""From record shards to batches: the training and the evaluation pipeline.

Whatever is random is drawn statelessly from (run seed, purpose, epoch or sample number), so the
batches are the same with any number of threads, and from any step on.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from input_pipelines import clips, files
from input_pipelines.clips import Example, Purpose
from input_pipelines.index import Index, SplitIndex, read_index, shard_paths

# Serialised clips that wait to be drawn; a split within both limits is shuffled as a whole.
SHUFFLE_BUFFER_CLIPS = 20_000
SHUFFLE_BUFFER_BYTES = 2 << 30
SHARDS_READ_AT_ONCE = 8


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


def steps_per_epoch(index: Index, batch_size: int, split: str = "train") -> int:
    """Returns the full batches in one epoch of a split.

    Raises:
      ValueError: where there is not one, or no such split.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1. Received: batch_size={batch_size}.")
    num_clips = _num_clips(index, split)
    if batch_size > num_clips:
        raise ValueError(
            f"`batch_size` must be at most the number of clips in the split {split!r}, "
            f"{num_clips}. Received: batch_size={batch_size}."
        )
    return num_clips // batch_size


def train_dataset(
    records_dir: files.Path,
    batch_size: int,
    seed: int,
    *,
    split: str = "train",
    start_step: int = 0,
    audio_noise_snr_db: float | None = None,
    removed: str | None = None,
) -> TrainData:
    """Endless batches for training; every epoch is a new permutation, its remainder left out.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      batch_size: Clips a batch, 1 to the size of the split.
      seed: Of order, windows, crops, flips and noise.
      split: Name of the split.
      start_step: Batches already consumed; the dataset continues after them.
      audio_noise_snr_db: Decibels of white noise mixed into the sound; None for none.
      removed: Modality whose input is all zeros; None for none.

    Returns:
      Elements `({"audio": [B, F, T, 1], "visual": [B, N, H, W, 3]}, label int32 [B])`, of the
      records' modalities and in the shapes of `ClipSettings.shapes`.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or too small, or a shard
        has been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    index, shards = _open(records_dir, split, batch_size, audio_noise_snr_db, removed)
    if start_step < 0:
        raise ValueError(f"`start_step` must be >= 0. Received: start_step={start_step}.")
    num_clips = index.splits[split].num_clips
    steps = steps_per_epoch(index, batch_size, split)
    clips_per_epoch = steps * batch_size
    buffer_clips = _shuffle_buffer(index.splits[split])

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # Dataset.shuffle mixes in the global seed, on which a resumed run must not depend.
        tf.compat.v1.set_random_seed(1)
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(shards), clips.draw_seed(seed, Purpose.SHARD_ORDER, epoch), alg="philox"
        )
        clip_order = tf.random.stateless_uniform(
            [],
            clips.draw_seed(seed, Purpose.CLIP_ORDER, epoch),
            minval=None,
            maxval=None,
            dtype=tf.int64,
            alg="philox",
        )
        serialized = _read(order, num_clips)
        serialized = serialized.shuffle(buffer_clips, clip_order, reshuffle_each_iteration=False)
        return serialized.take(clips_per_epoch)

    load = clips.Loader(index.input_settings, seed, True, audio_noise_snr_db, removed)
    # Epochs that are over are never read again; within one, clips are skipped undecoded.
    epoch, step = divmod(start_step, steps)
    dataset = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(read_epoch)
    dataset = dataset.enumerate(start=epoch * clips_per_epoch).skip(step * batch_size)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return TrainData(_finish(dataset), steps, index)


def eval_dataset(
    records_dir: files.Path,
    split: str,
    batch_size: int,
    *,
    seed: int = 0,
    audio_noise_snr_db: float | None = None,
    removed: str | None = None,
) -> EvalData:
    """Batches of one size in which every clip of a split is once, in the order of the shards.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      split: Name of the split.
      batch_size: Rows a batch, >= 1; the last batch is filled with rows of zeros and weight 0.
      seed: Of the noise, which depends on the clip's position only.
      audio_noise_snr_db: Decibels of white noise mixed into the sound; None for none.
      removed: Modality whose input is all zeros; None for none.

    Returns:
      Elements `(inputs as in training, label int32 [B], weight float32 [B])`.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or empty, or a shard has
        been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    index, shards = _open(records_dir, split, batch_size, audio_noise_snr_db, removed)
    num_clips = index.splits[split].num_clips
    load = clips.Loader(index.input_settings, seed, False, audio_noise_snr_db, removed)

    def load_weighted(position: tf.Tensor, serialized: tf.Tensor):
        return *load(position, serialized), tf.constant(1.0)

    padding = (
        {name: tf.zeros(shape) for name, shape in index.settings.shapes.items()},
        tf.constant(0, tf.int32),
        tf.constant(0.0),
    )
    dataset = tf.data.TFRecordDataset(shards)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_clips)).enumerate()
    dataset = dataset.map(load_weighted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if missing := -num_clips % batch_size:
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(padding).repeat(missing))
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return EvalData(_finish(dataset), num_clips, index)


def read_clips(
    records_dir: files.Path, split: str, count: int, *, training: bool = False, seed: int = 0
) -> list[Example]:
    """Reads some clips as the model sees them, evenly spread over a split.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      split: Name of the split.
      count: Clips wanted, >= 1; a smaller split gives all it has.
      training: Whether they are augmented as in training.
      seed: Of the augmentation.

    Returns:
      The clips, in the order of the shards.

    Raises:
      ValueError: where `count` is below 1, the split is unknown or empty, or a shard has been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    if count < 1:
        raise ValueError(f"`count` must be >= 1. Received: count={count}.")
    index, shards = _open(records_dir, split, 1, None, None)
    load = clips.Loader(index.input_settings, seed, training)
    num_clips = index.splits[split].num_clips
    count = min(count, num_clips)
    wanted = [position * num_clips // count for position in range(count)]
    examples, first = [], 0
    for path, shard in zip(shards, index.splits[split].shards, strict=True):
        for position in wanted:
            if first <= position < first + shard.num_clips:
                serialized = next(iter(tf.data.TFRecordDataset(path).skip(position - first)))
                examples.append(clips.example(serialized, load, position))
        first += shard.num_clips
    return examples


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
) -> tuple[Index, list[str]]:
    """Checks the arguments both pipelines share; returns the index and the split's shards."""
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1. Received: batch_size={batch_size}.")
    if audio_noise_snr_db is not None and not math.isfinite(audio_noise_snr_db):
        raise ValueError(
            "`audio_noise_snr_db` must be finite, or None for no noise. Received: "
            f"audio_noise_snr_db={audio_noise_snr_db}."
        )
    index = read_index(records_dir)
    modalities = index.settings.modalities
    if removed is not None and removed not in modalities:
        raise ValueError(
            f"`removed` must be None or one of {', '.join(modalities)}. Received: "
            f"removed={removed!r}."
        )
    _num_clips(index, split)
    shards = shard_paths(records_dir, index.splits[split])
    return index, shards


def _shuffle_buffer(split: SplitIndex) -> int:
    num_bytes = sum(shard.num_bytes for shard in split.shards)
    within_bytes = split.num_clips * SHUFFLE_BUFFER_BYTES // max(num_bytes, 1)
    return max(1, min(split.num_clips, SHUFFLE_BUFFER_CLIPS, within_bytes))


def _read(shards: tf.Tensor, num_clips: int) -> tf.data.Dataset:
    shards_at_once = min(SHARDS_READ_AT_ONCE, shards.shape[0])
    serialized = tf.data.Dataset.from_tensor_slices(shards).interleave(
        tf.data.TFRecordDataset,
        cycle_length=shards_at_once,
        num_parallel_calls=shards_at_once,
        deterministic=True,
    )
    # A shard that lost clips is an error, not a shorter epoch.
    return serialized.apply(tf.data.experimental.assert_cardinality(num_clips))


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Clips are written into their batch at once, not copied into it.
    options.experimental_optimization.map_and_batch_fusion = True
    # Several workers share batches, not files: the order must not depend on their number.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
