"""Modulation of groups of samples, such as positive and negative pairs, in one backward pass."""

from collections.abc import Callable

import tensorflow as tf

from ogm_tf.modulation.scores import true_class_probabilities


def scale_rows(
    features: tf.Tensor, coefficients: tf.Tensor | Callable[[], tf.Tensor | None]
) -> tf.Tensor:
    """Returns the features; on the way back, scales row i of the gradient by coefficient i.

    Placed between an encoder and the fusion it turns the encoder's gradient into
    sum_g k_g * gradient of group g, and leaves the fusion's alone.

    Args:
      features: [B, ...] float tensor.
      coefficients: [B] float tensor, a constant for differentiation; or what returns it when the
        gradient is computed, for coefficients that come from what the features lead to; None then
        scales nothing.

    Returns:
      `features`, unchanged.
    """

    @tf.custom_gradient
    def scaled(features):
        def backward(upstream):
            rows = coefficients() if callable(coefficients) else coefficients
            if rows is None:
                return upstream
            shape = tf.concat([tf.shape(rows), tf.ones([tf.rank(upstream) - 1], tf.int32)], 0)
            return upstream * tf.cast(tf.reshape(rows, shape), upstream.dtype)

        return tf.identity(features), backward

    return scaled(features)


def group_scores(
    logits: tf.Tensor, labels: tf.Tensor, sample_weight: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns how well negative and positive pairs do, and how many there are, on one replica.

    Args:
      logits: [P, 2] float tensor: of no match and of a match.
      labels: [P] integers, 1 for a match.
      sample_weight: [P] weights, or None for 1.

    Returns:
      float32 `[2, 2]`: over the pairs of label 0 and 1 the sum of the probability of the right
      answer, and their number; the sum of all replicas' is that of the global batch.
    """
    probabilities = true_class_probabilities(logits, labels)
    groups = tf.one_hot(tf.reshape(labels, [-1]), 2)
    if sample_weight is not None:
        groups *= tf.cast(tf.reshape(sample_weight, [-1, 1]), tf.float32)
    return tf.stack([tf.linalg.matvec(groups, probabilities, transpose_a=True),
                     tf.reduce_sum(groups, axis=0)])  # fmt: skip
