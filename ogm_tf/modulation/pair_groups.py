"""Modulation of groups of samples, such as positive and negative pairs, in one backward pass."""

import tensorflow as tf


@tf.custom_gradient
def scale_rows(features: tf.Tensor, coefficients: tf.Tensor):
    """Returns the features; on the way back, scales row i of the gradient by coefficient i.

    Placed between an encoder and the fusion it turns the encoder's gradient into
    sum_g k_g * gradient of group g, and leaves the fusion's alone.

    Args:
      features: [B, ...] float tensor.
      coefficients: [B] float tensor, a constant for differentiation.

    Returns:
      `features`, unchanged.
    """

    def backward(upstream):
        shape = tf.concat([tf.shape(coefficients), tf.ones([tf.rank(upstream) - 1], tf.int32)], 0)
        return upstream * tf.cast(tf.reshape(coefficients, shape), upstream.dtype), None

    return tf.identity(features), backward
