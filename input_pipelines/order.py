"""Which clips the global batches of an epoch hold, and which of their rows a worker reads."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import clips
from input_pipelines.clips import Purpose


class Rows(NamedTuple):
    """Which rows of every global batch are read, and how many of them at a time.

    Of B rows, worker w of W reads those from w B / W up to (w + 1) B / W.

    Args:
      worker: This one, from 0.
      num_workers: That share each global batch equally.
      batch_size: Rows a batch of the dataset, such as one replica's; a divisor of the worker's.
    """

    worker: int
    num_workers: int
    batch_size: int


def epoch_order(seed: int, epoch: tf.Tensor | int, num_clips: int) -> tf.Tensor:
    """Returns the order of the clips in one epoch: a permutation, int64 `[num_clips]`.

    Args:
      seed: Of the run.
      epoch: int64 scalar, from 0.
      num_clips: Of the split, in the order of the shards.
    """
    keys = tf.random.stateless_uniform(
        [num_clips],
        clips.draw_seed(seed, Purpose.ORDER, epoch),
        minval=None,
        maxval=None,
        dtype=tf.int64,
        alg="philox",
    )
    # Sorted keys, for what stateless_shuffle does with its draws may change with TensorFlow.
    return tf.cast(tf.argsort(keys, stable=True), tf.int64)


def epoch_coins(seed: int, epoch: tf.Tensor | int, count: int) -> tf.Tensor:
    """Tosses a fair coin for each of `count` places of an epoch: bool `[count]`."""
    draws = tf.random.stateless_uniform(
        [count],
        clips.draw_seed(seed, Purpose.MATCH, epoch),
        minval=0,
        maxval=2,
        dtype=tf.int32,
        alg="philox",
    )
    return draws == 1


def epoch_others(seed: int, epoch: tf.Tensor | int, own: tf.Tensor, num_clips: int) -> tf.Tensor:
    """Draws for each of some clips of an epoch another one, all others equally likely.

    Args:
      seed: Of the run.
      epoch: int64 scalar, from 0.
      own: int64 `[count]`, each in [0, num_clips).
      num_clips: Of the split, >= 2.

    Returns:
      int64 `[count]`, each in [0, num_clips), and not the one in `own`.
    """
    draws = tf.random.stateless_uniform(
        tf.shape(own),
        clips.draw_seed(seed, Purpose.OTHER_CLIP, epoch),
        minval=0,
        maxval=num_clips - 1,
        dtype=tf.int64,
        alg="philox",
    )
    return draws + tf.cast(draws >= own, tf.int64)


def own_positions(num_batches: int, batch_size: int, rows: Rows | None) -> tuple[np.ndarray, int]:
    """Says which positions of an epoch a worker reads.

    Args:
      num_batches: Global batches of the epoch.
      batch_size: Rows of a global batch.
      rows: Of every global batch, those to read; None: all, in whole batches.

    Returns:
      The positions, int64, in ascending order, and how many of them are a batch of the dataset.

    Raises:
      ValueError: where the rows do not divide the batch.
    """
    positions = np.arange(num_batches * batch_size).reshape(num_batches, batch_size)
    if rows is None:
        return positions.ravel(), batch_size
    if not 0 <= rows.worker < rows.num_workers:
        raise ValueError(f"`rows.worker` must be in [0, num_workers). Received: {rows}.")
    if rows.batch_size < 1 or batch_size % (rows.num_workers * rows.batch_size):
        raise ValueError(
            "The global batch must be a multiple of num_workers * rows.batch_size. Received: "
            f"batch_size={batch_size}, {rows}."
        )
    num_rows = batch_size // rows.num_workers
    first = rows.worker * num_rows
    return positions[:, first : first + num_rows].ravel(), rows.batch_size
