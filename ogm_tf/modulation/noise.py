"""Generalisation enhancement (GE): the Gaussian noise that modulation took away, put back."""

import math

import tensorflow as tf

_EPSILON = 1e-8


def gradient_noise(gradient: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns zero-mean Gaussian noise of a gradient's own spread.

    The h of Eq. 17 of the paper. There its covariance is the mini-batch gradient's over samples;
    here, as in the authors' released code, it is one variance a tensor, taken over the elements of
    the gradient before it is scaled.

    Args:
      gradient: Float tensor of any shape, not yet modulated.
      seed: int32 `[2]`; the same seed gives the same noise on every device and under XLA.

    Returns:
      A tensor of the gradient's shape and dtype.
    """
    noise = _stateless_normal(tf.size(gradient), seed) * gradient_noise_stddev(gradient)
    noise = tf.reshape(noise, tf.shape(gradient))
    noise.set_shape(gradient.shape)
    return tf.cast(noise, gradient.dtype)


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


def _stateless_normal(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `count` standard normal numbers, float32, by Box and Muller's method.

    `tf.random.stateless_normal` turns the same random bits into other numbers under XLA, and is
    slower on a CPU.
    """
    half = (count + 1) // 2
    bits = tf.random.stateless_uniform(
        [2, half], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    uniform = (tf.cast(bits, tf.float32) + 1.0) * 2.0**-32
    radius = tf.sqrt(-2.0 * tf.math.log(uniform[0]))
    angle = (2.0 * math.pi) * uniform[1]
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)[:count]


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
