"""How well each modality does on a batch: the probability it gives to the true class."""

import tensorflow as tf


def true_class_scores(
    logits: tf.Tensor, labels: tf.Tensor, sample_weight: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the score of one modality: the sum over the batch of its true-class probability.

    The numerator and denominator of Eq. 9 of Peng et al., "Balanced Multimodal Learning via
    On-the-fly Gradient Modulation" (CVPR 2022): sum_i softmax(logits_i)[label_i], Eq. 8 giving
    the logits. Being a sum, the scores of replicas add up to the score of the global batch.

    Args:
      logits: [..., C] float tensor of one modality's logits, C >= 2.
      labels: Class indices `[...]` or `[..., 1]`, or one-hot rows `[..., C]`.
      sample_weight: Weights that broadcast to `[...]`, or None for 1.

    Returns:
      A float32 scalar, without gradient.

    Raises:
      ValueError: where the shapes of logits and labels do not fit, or C < 2.
    """
    return tf.reduce_sum(weighted(true_class_probabilities(logits, labels), sample_weight))


def true_class_probabilities(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns softmax(logits)[label] for every sample.

    Args:
      logits: [..., C] float tensor, C >= 2.
      labels: Class indices `[...]` or `[..., 1]`, or one-hot rows `[..., C]`.

    Returns:
      A float32 tensor `[...]` in [0, 1], without gradient. Rows of soft labels give the expected
      probability.

    Raises:
      ValueError: where the shapes of logits and labels do not fit, or C < 2.
    """
    logits = tf.stop_gradient(tf.cast(logits, tf.float32))
    targets = one_hot(logits, labels)
    return tf.reduce_sum(tf.nn.softmax(logits) * targets, axis=-1)


def true_class_log_probabilities(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns log softmax(logits)[label] for every sample; see `true_class_probabilities`."""
    logits = tf.stop_gradient(tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.nn.log_softmax(logits) * one_hot(logits, labels), axis=-1)


def correct_predictions(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns 1 where the largest logit is the true class, else 0.

    Args:
      logits: [..., C] float tensor, C >= 2.
      labels: Class indices `[...]` or `[..., 1]`, or one-hot rows `[..., C]`.

    Returns:
      A float32 tensor `[...]`.

    Raises:
      ValueError: where the shapes of logits and labels do not fit, or C < 2.
    """
    logits = tf.convert_to_tensor(logits)
    targets = one_hot(logits, labels)
    return tf.cast(tf.argmax(logits, axis=-1) == tf.argmax(targets, axis=-1), tf.float32)


def one_hot(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns labels of any accepted form as float32 rows `[..., C]`.

    Args:
      logits: [..., C] float tensor, C >= 2.
      labels: Class indices `[...]` or `[..., 1]`, or one-hot rows `[..., C]`.

    Raises:
      ValueError: where the shapes of logits and labels do not fit, or C < 2.
    """
    labels = tf.convert_to_tensor(labels)
    num_classes = logits.shape[-1]
    if num_classes is None or num_classes < 2:
        raise ValueError(
            "Logits must have a last dimension of at least 2 classes. "
            f"Received: logits of shape {logits.shape}."
        )
    rank, label_rank = logits.shape.rank, labels.shape.rank
    if label_rank == rank and labels.shape[-1] == 1:
        labels = tf.squeeze(labels, axis=-1)
    elif label_rank == rank and labels.shape[-1] == num_classes:
        return tf.cast(labels, tf.float32)
    elif label_rank != rank - 1:
        raise ValueError(
            f"Labels must be class indices, of shape {logits.shape[:-1]} or that with a last 1, or "
            f"one-hot rows of shape {logits.shape}. Received: labels of shape {labels.shape}."
        )
    if not labels.shape.is_compatible_with(logits.shape[:-1]):
        raise ValueError(
            f"Labels must hold one class for each of the {logits.shape[:-1]} rows of the logits. "
            f"Received: labels of shape {labels.shape}."
        )
    return tf.one_hot(tf.cast(labels, tf.int32), num_classes, dtype=tf.float32)


def weighted(values: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Returns values `[...]` times weights that broadcast to them, or None for 1."""
    if sample_weight is None:
        return values
    weights = tf.cast(sample_weight, tf.float32)
    if weights.shape.rank == values.shape.rank + 1 and weights.shape[-1] == 1:
        weights = tf.squeeze(weights, axis=-1)
    while 0 < weights.shape.rank < values.shape.rank:
        weights = tf.expand_dims(weights, axis=-1)
    return values * weights
