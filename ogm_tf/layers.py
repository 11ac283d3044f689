"""Random layers whose draws a checkpoint can continue, alike on any number of replicas.

Keras' random layers keep their generator where no checkpoint reaches it, and every replica draws
its own numbers. Here the draws are a function of a weight, `random_stream`: the seed, and the
number of training calls so far. It is saved and restored as any other weight.
"""

import numbers
import random
from collections.abc import Sequence

import keras
import tensorflow as tf

# TensorFlow's number for Philox, the generator that draws the same bits on every device and under
# XLA. Each step of its counter gives four 32-bit numbers.
_PHILOX = 1
_NUMBERS_PER_STEP = 4


class _RandomLayer(keras.layers.Layer):
    """A layer that draws from (seed, number of training calls)."""

    def __init__(self, seed: int | None, **kwargs):
        super().__init__(**kwargs)
        if seed is None:
            # Of the generator that `keras.utils.set_random_seed` sets.
            seed = random.randrange(2**31)
        if not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**31:
            raise ValueError(f"`seed` must be an integer in [0, 2**31). Received: seed={seed!r}.")
        self.seed = int(seed)

    def build(self, input_shape):
        self.random_stream = self.add_weight(
            name="random_stream",
            shape=[2],
            dtype=tf.int64,
            initializer=lambda shape, dtype: tf.constant([self.seed, 0], dtype, shape),
            trainable=False,
            # Every replica counts for itself, and so comes to the same count without waiting.
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def next_draw(self) -> tf.Tensor:
        """Returns this call's seed, int64 `[2]`, and counts the call."""
        seed = tf.identity(self.random_stream)
        self.random_stream.assign_add([0, 1])
        return seed

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="ogm_tf")
class Dropout(_RandomLayer):
    """Dropout that goes on after a restart as if there had been none.

    In training each number is zero with probability `rate`, or else divided by `1 - rate`; in
    evaluation nothing happens. The mask of a global batch is one stream of which each replica takes
    its rows: one device and N replicas with equal shares of the batch drop the same numbers.

    ```python
    model = keras.Sequential([keras.layers.Dense(64), ogm_tf.layers.Dropout(0.5, seed=1)])
    ```

    Args:
      rate: Share of the numbers to drop, in [0, 1).
      seed: int in [0, 2**31). Layers of one seed drop alike: give each its own. None draws one,
        which `keras.utils.set_random_seed` makes repeatable.
      shared_axes: Axes, >= 1, along which one draw holds for all: `(1, 2)` drops whole channels of
        pictures `[B, H, W, C]`.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      inputs: Float tensor `[B, ...]`.
      training: Whether to drop.

    Returns:
      A tensor of the inputs' shape.

    Raises:
      ValueError: where `rate`, `seed` or `shared_axes` is out of its range.
    """

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        shared_axes: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        if not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate!r}.")
        if any(not isinstance(axis, numbers.Integral) or axis < 1 for axis in shared_axes):
            raise ValueError(
                f"`shared_axes` must be integers >= 1. Received: shared_axes={shared_axes!r}."
            )
        self.rate = float(rate)
        self.shared_axes = tuple(int(axis) for axis in shared_axes)
        self.supports_masking = True

    def build(self, input_shape):
        rank = tf.TensorShape(input_shape).rank
        if any(axis >= rank for axis in self.shared_axes):
            raise ValueError(
                f"`shared_axes` must be axes of the inputs, which have {rank}. "
                f"Received: shared_axes={self.shared_axes}."
            )
        super().build(input_shape)

    def call(self, inputs, training=None):
        if not training or self.rate == 0:
            return inputs
        keep = self._draw_mask(inputs)
        # Not a division: graph mode makes it a product of other rounding.
        kept = tf.where(keep, inputs * (1 / (1 - self.rate)), tf.zeros([], inputs.dtype))
        return tf.ensure_shape(kept, inputs.shape)

    def _draw_mask(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns which numbers to keep, bool, of length 1 on the shared axes."""
        shape = tf.unstack(tf.shape(inputs, out_type=tf.int64), num=inputs.shape.rank)
        one = tf.constant(1, tf.int64)
        shape = [one if axis in self.shared_axes else size for axis, size in enumerate(shape)]
        row_size = tf.reduce_prod(tf.stack([one, *shape[1:]]))
        # A replica can enter the stream at its rows only where a step of the counter begins.
        steps_per_row = (row_size + _NUMBERS_PER_STEP - 1) // _NUMBERS_PER_STEP
        bits = _random_bits(
            [shape[0], steps_per_row * _NUMBERS_PER_STEP],
            self.next_draw(),
            first_step=_replica_index() * shape[0] * steps_per_row,
        )
        # Compared as integers: the same bits become other floats under XLA.
        keep = bits >= tf.constant(round(self.rate * 2**32), tf.uint32)
        return tf.reshape(keep[:, :row_size], tf.stack(shape))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "shared_axes": list(self.shared_axes)}


@keras.saving.register_keras_serializable(package="ogm_tf")
class FractionalMaxPooling1D(_RandomLayer):
    """Max-pooling in time to any shorter length, over regions drawn at random.

    Graham, "Fractional Max-Pooling" (arXiv 1412.6071). T steps fall into n regions without gap or
    overlap, each of K or K + 1 steps, K = floor(T / n); one drawing holds for the whole batch and
    all replicas. In evaluation the regions are fixed.

    The paper's pseudo-random regions end at `ceil(alpha * (i + u)) - 1`, alpha = T / n, with one u
    drawn from all that leave the first and the last region a proper size. Its random ones are the
    same sizes in random order. Evaluation takes the pseudo-random ones with u in the middle.

    ```python
    pool = ogm_tf.layers.FractionalMaxPooling1D(32)  # [B, 86, 256] -> [B, 32, 256]: ratio 2.69
    ```

    Args:
      output_length: Number of regions n, >= 1.
      pseudo_random: Which regions, as in `tf.nn.fractional_max_pool`.
      seed: int in [0, 2**31). Layers of one seed draw alike: give each its own. None draws one,
        which `keras.utils.set_random_seed` makes repeatable.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      inputs: Float tensor `[B, T, C]`, T >= n.
      training: Whether the regions are random.

    Returns:
      A tensor `[B, n, C]`.

    Raises:
      ValueError: where `output_length` or `seed` is out of its range, or T < n;
        `tf.errors.InvalidArgumentError` where T is known only at run time.
    """

    def __init__(
        self,
        output_length: int,
        pseudo_random: bool = True,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        if not isinstance(output_length, numbers.Integral) or output_length < 1:
            raise ValueError(
                "`output_length` must be an integer >= 1. "
                f"Received: output_length={output_length!r}."
            )
        self.output_length = int(output_length)
        self.pseudo_random = bool(pseudo_random)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def call(self, inputs, training=None):
        # A number where it is known, for XLA needs the regions' largest size while it compiles.
        length = inputs.shape[1]
        if length is None:
            length = tf.shape(inputs, out_type=tf.int64)[1]
            tf.debugging.assert_greater_equal(length, tf.constant(self.output_length, tf.int64))
        elif length < self.output_length:
            raise ValueError(
                f"The inputs must have at least `output_length` = {self.output_length} time steps. "
                f"Received: inputs of shape {tuple(inputs.shape)}."
            )
        starts = self._region_starts(length, training)
        ends = tf.concat([starts[1:], [length]], axis=0)
        largest = -(-length // self.output_length)
        # A smaller region repeats its last step: the maximum stays, and so does its gradient.
        steps = starts[:, tf.newaxis] + tf.range(largest, dtype=tf.int64)
        steps = tf.minimum(steps, ends[:, tf.newaxis] - 1)
        return tf.reduce_max(tf.gather(inputs, steps, axis=1), axis=2)

    def _region_starts(self, length: int | tf.Tensor, training: bool | None) -> tf.Tensor:
        """Returns where each region starts, int64 `[n]`."""
        regions = self.output_length
        # alpha * (i + u) is (T * i + shift) / n; only the whole part of the shift counts, so that
        # integers draw exactly what real numbers would.
        larger = length % regions
        num_shifts = tf.cast(tf.minimum(regions + larger, 2 * regions - larger), tf.int64)
        if training and not self.pseudo_random:
            is_larger = tf.range(regions, dtype=tf.int64) < larger
            sizes = length // regions + tf.cast(is_larger, tf.int64)
            # As float32, which every device sorts.
            keys = tf.cast(_random_bits([regions], self.next_draw()), tf.float32)
            return tf.cumsum(tf.gather(sizes, tf.argsort(keys, stable=True)), exclusive=True)
        if training:
            shift = tf.cast(_random_bits([1], self.next_draw())[0], tf.int64) % num_shifts
        else:
            shift = num_shifts // 2
        inner = (tf.range(1, regions, dtype=tf.int64) * length + shift) // regions
        return tf.concat([tf.zeros([1], tf.int64), inner], axis=0)

    def get_config(self):
        return {
            **super().get_config(),
            "output_length": self.output_length,
            "pseudo_random": self.pseudo_random,
        }


def _random_bits(
    shape: Sequence[int | tf.Tensor], seed: tf.Tensor, first_step: int | tf.Tensor = 0
) -> tf.Tensor:
    """Returns uniform uint32 numbers: of the seed's stream, those from a step of the counter on.

    Args:
      shape: Of the result.
      seed: int64 `[2]`.
      first_step: Where in the stream to begin, in steps of four numbers.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    # The low half of the counter comes as zero: adding to it never carries.
    offset = tf.stack([tf.cast(first_step, tf.uint64), tf.constant(0, tf.uint64)])
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.stack([tf.cast(size, tf.int64) for size in shape]),
        key=key,
        counter=counter + offset,
        alg=_PHILOX,
        dtype=tf.uint32,
    )


def _replica_index() -> tf.Tensor:
    """Returns this replica's place among all, int64; 0 outside of replicas."""
    context = tf.distribute.get_replica_context()
    index = context.replica_id_in_sync_group if context else 0
    return tf.cast(index, tf.int64)
