"""Generalisation enhancement (GE): the Gaussian noise that modulation took away, put back."""

import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_EPSILON = 1e-8
_TABLE_BITS = 16


def gradient_noise(gradient: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns zero-mean Gaussian noise of a gradient's own spread.

    The h of Eq. 17 of the paper. There its covariance is the mini-batch gradient's over samples;
    here, as in the authors' released code, it is one variance a tensor, taken over the elements of
    the gradient before it is scaled.

    The numbers are the standard normal distribution's means over 65,536 intervals of equal
    probability, looked up by random integers: up to 4.4 deviations, of variance 1.

    Args:
      gradient: Float tensor of any shape, not yet modulated.
      seed: int32 `[2]`; the same seed gives the same noise on every device and under XLA.

    Returns:
      A tensor of the gradient's shape and dtype.
    """
    seed = tf.convert_to_tensor(seed, tf.int32)
    deviation = gradient_noise_stddev(gradient)
    return _scaled_with_noise(gradient, tf.zeros([]), deviation, seed, tf.constant(_normals()))


def scale_and_add_noise(
    gradients: Sequence[tf.Tensor], coefficients: Sequence[tf.Tensor], seeds: tf.Tensor
) -> list[tf.Tensor]:
    """Returns `coefficient * gradient + gradient_noise(gradient, seed)` of every gradient.

    Args:
      gradients: Float tensors of any shapes.
      coefficients: One a gradient, `[]`.
      seeds: int32 `[len(gradients), 2]`.
    """
    table = tf.constant(_normals())
    return [
        _scaled_with_noise(gradient, coefficient, gradient_noise_stddev(gradient), seed, table)
        for gradient, coefficient, seed in zip(
            gradients, coefficients, tf.unstack(seeds, num=len(gradients)), strict=True
        )
    ]


def gradient_noise_stddev(gradient: tf.Tensor) -> tf.Tensor:
    """Returns the standard deviation of a gradient's noise.

    Args:
      gradient: Float tensor of any shape.

    Returns:
      A float32 scalar: the unbiased (n - 1) standard deviation over the elements, plus 1e-8; a
      tensor of one element has no spread and gives 1e-8.
    """
    gradient = tf.cast(gradient, tf.float32)
    count = tf.cast(tf.size(gradient), tf.float32)
    squares = tf.reduce_sum(tf.math.squared_difference(gradient, tf.reduce_mean(gradient)))
    return tf.sqrt(squares / tf.maximum(count - 1.0, 1.0)) + _EPSILON


def noise_seeds(run_seed: int, step: tf.Tensor, count: int) -> tf.Tensor:
    """Returns independent seeds for the variables of one step.

    Args:
      run_seed: int in [0, 2**31).
      step: Integer scalar, the optimiser's iterations.
      count: Number of variables.

    Returns:
      An int32 tensor `[count, 2]`; row i belongs to variable i.
    """
    seed = tf.stack([tf.constant(run_seed, tf.int32), tf.cast(step, tf.int32)])
    return tf.random.experimental.stateless_split(seed, count, alg="philox")


# As one loop over the gradient, which only XLA makes of it, the noise costs a fifth of what
# drawing, scaling and adding one after the other do.
@tf.function(jit_compile=True, reduce_retracing=True)
def _scaled_with_noise(
    gradient: tf.Tensor,
    coefficient: tf.Tensor,
    deviation: tf.Tensor,
    seed: tf.Tensor,
    table: tf.Tensor,
) -> tf.Tensor:
    indices = tf.bitwise.right_shift(
        _random_integers(tf.size(gradient), seed), tf.constant(32 - _TABLE_BITS, tf.uint32)
    )
    noise = deviation * tf.gather(table, tf.cast(indices, tf.int32))
    noise = tf.reshape(noise, tf.shape(gradient))
    scaled = tf.cast(coefficient, tf.float32) * tf.cast(gradient, tf.float32)
    return tf.cast(scaled + noise, gradient.dtype)


def _random_integers(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `count` random uint32: a function of the position, hashed under two keys.

    `tf.random.stateless_uniform` fills memory before anything can use it, which costs more than all
    the rest of the noise.
    """
    keys = tf.bitcast(seed, tf.uint32)
    positions = tf.bitcast(tf.range(count, dtype=tf.int32), tf.uint32)
    return _hash(tf.bitwise.bitwise_xor(_hash(positions + keys[0]), keys[1]))


def _hash(values: tf.Tensor) -> tf.Tensor:
    """Mixes the bits of uint32 numbers, one to one: Wellons' lowbias32."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
        shifted = tf.bitwise.right_shift(values, tf.constant(shift, tf.uint32))
        values = tf.bitwise.bitwise_xor(values, shifted)
        if factor is not None:
            values *= tf.constant(factor, tf.uint32)
    return values


@functools.cache
def _normals() -> np.ndarray:
    """Returns the means of 65,536 equally probable parts of the normal distribution, float32."""
    size = 2**_TABLE_BITS
    normal = statistics.NormalDist()
    edges = [normal.inv_cdf(index / size) for index in range(1, size // 2)] + [0.0]
    densities = np.diff([0.0, *(math.exp(-edge * edge / 2) for edge in edges)])
    lower = -densities * size / math.sqrt(2 * math.pi)
    values = np.concatenate([lower, -lower[::-1]])
    # The means of the parts vary a little less than what they are the means of.
    return (values / np.sqrt(np.mean(values**2))).astype(np.float32)
