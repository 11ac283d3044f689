"""Videos as sequences of features, one a segment, with a label for every segment.

The features may be far larger than memory: they are read row by row, when a batch needs them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from input_pipelines.order import Rows, epoch_order, own_positions

# Batches that wait for the model: with a full-size map a batch of 64 videos takes 64 MB.
_BATCHES_AHEAD = 2


class Array(Protocol):
    """What can be read row by row: a NumPy array, a dataset of an HDF5 file, `Joined`."""

    shape: tuple[int, ...]

    def __getitem__(self, row: int) -> np.ndarray: ...


class Joined:
    """Several arrays as one, row after row; none of them is copied.

    Args:
      arrays: At least one, of `[n, ...]`, all of one shape but for n.

    Raises:
      ValueError: where there is none, or their shapes differ.
    """

    def __init__(self, arrays: Sequence[Array]):
        if len({tuple(array.shape[1:]) for array in arrays}) != 1:
            raise ValueError(
                "Arrays to join must have rows of one shape. Received: shapes "
                f"{[tuple(array.shape) for array in arrays]}."
            )
        self._arrays = tuple(arrays)
        self._ends = np.cumsum([array.shape[0] for array in arrays])
        self.shape = (int(self._ends[-1]), *arrays[0].shape[1:])

    def __getitem__(self, row: int) -> np.ndarray:
        place = int(np.searchsorted(self._ends, row, side="right"))
        return self._arrays[place][row - (self._ends[place - 1] if place else 0)]


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSequences:
    """N videos of T segments each.

    Args:
      arrays: `{"audio": [N, T, ...], "visual": [N, T, ...]}`; any float type.
      labels: Class of every segment, int32 `[N, T]` in [0, C]; C, the last, is background.
      splits: Rows of each split, in its order; a row is in one split at most.
      class_names: The C events, without background.
      video_ids: A name for each of the N videos.

    Raises:
      ValueError: where counts, shapes, labels or splits do not fit each other.
    """

    arrays: Mapping[str, Array]
    labels: np.ndarray
    splits: Mapping[str, np.ndarray]
    class_names: tuple[str, ...]
    video_ids: tuple[str, ...]

    def __post_init__(self):
        shapes = {name: tuple(array.shape) for name, array in self.arrays.items()}
        shape = self.labels.shape
        fits = all(len(found) >= 3 and found[:2] == shape for found in shapes.values())
        if not shapes or self.labels.ndim != 2 or not fits:
            raise ValueError(
                "Features must be [N, T, ...] of the N videos and T segments that have labels. "
                f"Received: labels of shape {shape}, features of shapes {shapes}."
            )
        if len(self.video_ids) != len(self.labels):
            raise ValueError(
                f"There must be a name for each of {len(self.labels)} videos. "
                f"Received: {len(self.video_ids)} video_ids."
            )
        out_of_range = (self.labels < 0) | (self.labels > self.background)
        if np.any(out_of_range):
            raise ValueError(
                f"Labels must be in [0, {self.background}]. "
                f"Received: {self.labels[out_of_range][0]}."
            )
        _check_splits(self.splits, len(self.labels))

    @property
    def background(self) -> int:
        """The class that stands for no event."""
        return len(self.class_names)

    @property
    def num_classes(self) -> int:
        """Classes of a segment, background included."""
        return len(self.class_names) + 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each modality's input, without the batch axis."""
        return {name: tuple(array.shape[1:]) for name, array in self.arrays.items()}

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """Returns some videos' features, float32 `[B, T, ...]`, in the order of `arrays`.

        Raises:
          ValueError: where a number is not finite, or too large for float32; its video is named.
        """
        batch = [np.empty((len(rows), *shape), np.float32) for shape in self.shapes.values()]
        for features, (name, array) in zip(batch, self.arrays.items(), strict=True):
            for place, row in enumerate(rows):
                with np.errstate(over="ignore", invalid="ignore"):
                    features[place] = array[row]
                    # Much faster than to ask every number, and finite only if they are.
                    total = features[place].sum()
                if not np.isfinite(total) and not np.all(np.isfinite(features[place])):
                    raise ValueError(
                        "Features must be finite, also as float32. "
                        f"Received: {name} of video_id={self.video_ids[row]!r}, row {row}."
                    )
        return batch


class TrainFeatures(NamedTuple):
    """An endless dataset of (inputs, labels), and the steps of one epoch."""

    dataset: tf.data.Dataset
    steps_per_epoch: int


class EvalFeatures(NamedTuple):
    """A finite dataset of (inputs, labels, weight), and its number of videos."""

    dataset: tf.data.Dataset
    num_videos: int


def train_dataset(
    features: FeatureSequences,
    batch_size: int,
    seed: int,
    *,
    split: str = "train",
    start_step: int = 0,
    rows: Rows | None = None,
) -> TrainFeatures:
    """Endless batches for training; every epoch is a new permutation, its remainder left out.

    Global batch t of epoch e holds the videos at the places t B to (t + 1) B of `epoch_order`.

    Args:
      features: The videos.
      batch_size: Videos B of a global batch, 1 to the size of the split.
      seed: Of the order.
      split: Name of the split.
      start_step: Global batches already consumed; the dataset continues after them, at no cost.
      rows: Of every global batch, those to read; None: all, in whole batches.

    Returns:
      Elements `({"audio": [B, T, ...], "visual": [B, T, ...]}, labels int32 [B, T])`, float32
      inputs; `rows.batch_size` instead of B where `rows` are given.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or too small, or the rows
        do not divide the batch.
    """
    numbers = _numbers(features, split, batch_size)
    if batch_size > len(numbers):
        raise ValueError(
            f"`batch_size` must be at most the number of videos in the split {split!r}, "
            f"{len(numbers)}. Received: batch_size={batch_size}."
        )
    if start_step < 0:
        raise ValueError(f"`start_step` must be >= 0. Received: start_step={start_step}.")
    steps = len(numbers) // batch_size
    positions, batch_rows = own_positions(steps, batch_size, rows)
    first_epoch, first_step = divmod(start_step, steps)
    num_skipped = first_step * (len(positions) // steps)
    positions, numbers = tf.constant(positions), tf.constant(numbers)

    def epoch_numbers(epoch: tf.Tensor) -> tf.data.Dataset:
        own = positions[tf.where(epoch == first_epoch, num_skipped, 0) :]
        order = epoch_order(seed, epoch, len(numbers))
        return tf.data.Dataset.from_tensor_slices(tf.gather(numbers, tf.gather(order, own)))

    dataset = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_numbers)
    dataset = dataset.batch(batch_rows, drop_remainder=True)
    return TrainFeatures(_loaded(dataset, _Loader(features), rows), steps)


def eval_dataset(
    features: FeatureSequences, split: str, batch_size: int, *, rows: Rows | None = None
) -> EvalFeatures:
    """Batches of one size in which every video of a split is once, in the split's order.

    The last global batch is filled with rows of zeros and weight 0.

    Args:
      features: The videos.
      split: Name of the split.
      batch_size: Rows of a global batch, >= 1.
      rows: Of every global batch, those to read; None: all, in whole batches.

    Returns:
      Elements `(inputs and labels as in training, weight float32 [B])`; every worker gets as many.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or empty, or the rows do
        not divide the batch.
    """
    numbers = _numbers(features, split, batch_size)
    num_batches = -(-len(numbers) // batch_size)
    positions, batch_rows = own_positions(num_batches, batch_size, rows)
    padded = np.full(num_batches * batch_size, _PADDING)
    padded[: len(numbers)] = numbers
    dataset = tf.data.Dataset.from_tensor_slices(padded[positions])
    dataset = dataset.batch(batch_rows, drop_remainder=True)
    load = _Loader(features, is_weighted=True)
    return EvalFeatures(_loaded(dataset, load, rows), len(numbers))


# In place of a row's number: no video.
_PADDING = -1


@dataclasses.dataclass(frozen=True, eq=False)
class _Loader:
    """Makes an element of the numbers of its videos, int64 `[B]`."""

    features: FeatureSequences
    is_weighted: bool = False

    @tf.autograph.experimental.do_not_convert
    def __call__(self, numbers: tf.Tensor):
        shapes = self.features.shapes
        types = [tf.float32] * len(shapes) + [tf.int32]
        *inputs, labels = tf.numpy_function(self._read, [numbers], types, stateful=False)
        for tensor, shape in zip(inputs, shapes.values(), strict=True):
            tensor.set_shape([numbers.shape[0], *shape])
        labels.set_shape([numbers.shape[0], self.features.labels.shape[1]])
        element = (dict(zip(shapes, inputs, strict=True)), labels)
        if self.is_weighted:
            element += (tf.cast(numbers != _PADDING, tf.float32),)
        return element

    def _read(self, numbers: np.ndarray) -> list[np.ndarray]:
        # Padding is at the end of an evaluation, and so of its batch.
        videos = numbers[numbers != _PADDING]
        parts = [*self.features.read(videos), self.features.labels[videos].astype(np.int32)]
        missing = len(numbers) - len(videos)
        if missing:
            parts = [np.pad(part, [(0, missing), *[(0, 0)] * (part.ndim - 1)]) for part in parts]
        return parts


def _loaded(dataset: tf.data.Dataset, load: _Loader, rows: Rows | None) -> tf.data.Dataset:
    """Returns the elements of batches of numbers, a bounded number of them read ahead."""
    options = tf.data.Options()
    options.deterministic = True
    # As in `dataset.finish`: the order must not depend on the number of workers.
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF if rows else policy.DATA
    return dataset.map(load).prefetch(_BATCHES_AHEAD).with_options(options)


def _numbers(features: FeatureSequences, split: str, batch_size: int) -> np.ndarray:
    """Returns the rows of a split, int64, having checked what both pipelines are given."""
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1. Received: batch_size={batch_size}.")
    if split not in features.splits:
        raise ValueError(
            f"`split` must be one of {', '.join(sorted(features.splits))}. "
            f"Received: split={split!r}."
        )
    if len(features.splits[split]) == 0:
        raise ValueError(f"The split has no videos. Received: split={split!r}.")
    return np.asarray(features.splits[split], np.int64)


def _check_splits(splits: Mapping[str, np.ndarray], num_videos: int) -> None:
    owners: dict[int, str] = {}
    for split, rows in splits.items():
        for row in map(int, rows):
            if not 0 <= row < num_videos:
                raise ValueError(
                    f"A split's rows must be in [0, {num_videos}), those of the videos. "
                    f"Received: row {row} in {split!r}."
                )
            if row in owners:
                raise ValueError(
                    "A row must be in one split, once. "
                    f"Received: row {row} in {owners[row]!r} and {split!r}."
                )
            owners[row] = split
