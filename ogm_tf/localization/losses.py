"""Losses of segments and of videos, the pair-similarity loss, and the targets of weak supervision.

Labels of segments are class indices of which the last, `background`, stands for "no event".
"""

import keras
import tensorflow as tf

TARGETS = ("proportions", "tag")


@keras.saving.register_keras_serializable(package="ogm_tf")
class SoftMargin(keras.losses.Loss):
    """The multi-label soft margin of the softmax's output, by which AVE's networks were trained.

    As the authors of Tian et al., "Audio-Visual Event Localization in Unconstrained Videos" (ECCV
    2018) apply it: with p = softmax(logits), the mean over the classes of
    -y log(sigmoid(p)) - (1 - y) log(1 - sigmoid(p)). Squashed twice, its gradients are weak: over
    29 classes it is 0.7093 for a uniform prediction and not less than 0.6800, for a perfect one.

    Args:
      reduction: Of Keras. Default "auto": the mean over all segments, or videos.
      name: Of the loss.

    Call arguments:
      y_true: Class indices `[...]`, or rows `[..., C]` in [0, 1].
      y_pred: Logits `[..., C]`.

    Raises:
      ValueError: where the shapes of labels and logits do not fit.
    """

    def __init__(self, reduction="auto", name="soft_margin"):
        super().__init__(reduction, name)

    def call(self, y_true, y_pred):
        targets, logits = _targets_and_logits(y_true, y_pred)
        values = tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.nn.softmax(logits))
        return tf.reduce_mean(values, axis=-1)


@keras.saving.register_keras_serializable(package="ogm_tf")
class CrossEntropy(keras.losses.Loss):
    """The cross-entropy of the softmax, by which PSP is trained with labels of every segment.

    Args:
      reduction: Of Keras. Default "auto": the mean over all segments, or videos.
      name: Of the loss.

    Call arguments:
      y_true: Class indices `[...]`, or rows `[..., C]` that each sum to 1.
      y_pred: Logits `[..., C]`.

    Raises:
      ValueError: where the shapes of labels and logits do not fit.
    """

    def __init__(self, reduction="auto", name="cross_entropy"):
        super().__init__(reduction, name)

    def call(self, y_true, y_pred):
        targets, logits = _targets_and_logits(y_true, y_pred)
        return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


@keras.saving.register_keras_serializable(package="ogm_tf")
class BinaryCrossEntropy(keras.losses.Loss):
    """The binary cross-entropies of the softmax's output, by which PSP is trained weakly.

    With p = softmax(logits), the mean over the classes of -y log(p) - (1 - y) log(1 - p).

    Args:
      reduction: Of Keras. Default "auto": the mean over all videos.
      name: Of the loss.

    Call arguments:
      y_true: Class indices `[...]`, or rows `[..., C]` in [0, 1].
      y_pred: Logits `[..., C]`.

    Raises:
      ValueError: where the shapes of labels and logits do not fit.
    """

    def __init__(self, reduction="auto", name="binary_cross_entropy"):
        super().__init__(reduction, name)

    def call(self, y_true, y_pred):
        targets, logits = _targets_and_logits(y_true, y_pred)
        # 1 - p is what the other classes have: of logits far apart, it rounds to 0 otherwise.
        itself = tf.eye(logits.shape[-1], dtype=tf.bool)
        others = tf.where(itself, logits.dtype.min, logits[..., tf.newaxis, :])
        log_total = tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
        log_others = tf.reduce_logsumexp(others, axis=-1) - log_total
        values = -targets * (logits - log_total) - (1 - targets) * log_others
        return tf.reduce_mean(values, axis=-1)


LOSSES = {
    "soft_margin": SoftMargin,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
}


def get(name: str) -> keras.losses.Loss:
    """Returns a loss by its name.

    Raises:
      ValueError: where there is no such loss.
    """
    if name not in LOSSES:
        raise ValueError(f"`loss` must be one of {', '.join(LOSSES)}. Received: loss={name!r}.")
    return LOSSES[name]()


def weak_targets(labels: tf.Tensor, num_classes: int, target: str = "proportions") -> tf.Tensor:
    """Returns what is told of each video where segments have no labels: one row a video.

    Args:
      labels: Class indices of segments `[..., T]`, background as the last class.
      num_classes: C, with background, >= 2.
      target: "proportions": the share of the segments that each class has, as PSP is trained by,
        which says more than a video's tag. "tag": 1 at the event's class, or at background in a
        video without an event; of several events, the longest, then the first in the classes.

    Returns:
      float32 `[..., C]`; each row sums to 1.

    Raises:
      ValueError: where `target` or `num_classes` is out of its range.
    """
    if target not in TARGETS:
        raise ValueError(f"`target` must be one of {', '.join(TARGETS)}. Received: {target=}.")
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be >= 2. Received: num_classes={num_classes}.")
    shares = tf.reduce_mean(tf.one_hot(labels, num_classes), axis=-2)
    return shares if target == "proportions" else event_targets(shares)


def event_targets(shares: tf.Tensor) -> tf.Tensor:
    """Returns each video's event, or background in a video without one, as one-hot rows.

    Args:
      shares: What each class has of a video, `[..., C]` >= 0, background as the last class.

    Returns:
      float32 `[..., C]`: 1 at the class of the largest share beside background's, of equal ones the
      first; at background where all others are 0.
    """
    shares = tf.convert_to_tensor(shares)
    num_classes, events = shares.shape[-1], shares[..., :-1]
    has_event = tf.reduce_any(events > 0, axis=-1)
    largest = tf.argmax(events, axis=-1, output_type=tf.int32)
    return tf.one_hot(tf.where(has_event, largest, num_classes - 1), num_classes)


def pair_similarity_targets(labels: tf.Tensor, background: int) -> tf.Tensor:
    """Returns how the similarity of sound and picture should spread over a video's segments.

    Args:
      labels: Class indices of segments, integers `[..., T]`.
      background: The class that is no event.

    Returns:
      float32 `[..., T]`: 1 / n at each of n segments with an event, else 0; each row sums to 1. A
      video without any event counts, as in the authors' code, as one event throughout: 1 / T.
    """
    is_event = tf.not_equal(labels, tf.cast(background, labels.dtype))
    without = tf.logical_not(tf.reduce_any(is_event, axis=-1, keepdims=True))
    counted = tf.cast(tf.logical_or(is_event, without), tf.float32)
    return counted / tf.reduce_sum(counted, axis=-1, keepdims=True)


def pair_similarity(labels: tf.Tensor, similarity: tf.Tensor, background: int) -> tf.Tensor:
    """Returns each video's pair-similarity loss, of Zhou et al. (CVPR 2021), PSP's.

    The mean over the segments of (ReLU(s) / sum ReLU(s) - g)^2, where g are
    `pair_similarity_targets`, made of the labels of the batch in hand. The authors weigh it by 100
    beside the cross-entropy.

    Args:
      labels: Class indices of segments, integers `[..., T]`.
      similarity: s, the cosine of sound and picture in each segment, `[..., T]` in [-1, 1].
      background: The class that is no event.

    Returns:
      float32 `[...]`.

    Raises:
      ValueError: where the labels are no integers in the shape of `similarity`.
    """
    labels = tf.convert_to_tensor(labels)
    similarity = tf.nn.relu(tf.cast(similarity, tf.float32))
    if not (labels.dtype.is_integer and labels.shape.is_compatible_with(similarity.shape)):
        raise ValueError(
            "Pair similarity needs class indices, one for each segment. Received: labels of shape "
            f"{labels.shape}, {labels.dtype.name}, and similarity of shape {similarity.shape}."
        )
    shares = similarity / (tf.reduce_sum(similarity, axis=-1, keepdims=True) + 1e-8)
    targets = pair_similarity_targets(labels, background)
    return tf.reduce_mean(tf.square(shares - targets), axis=-1)


def average_over_videos(
    values: tf.Tensor, sample_weight: tf.Tensor | None = None, counted: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns a replica's share of the mean over videos, to be added to Keras' own losses.

    Args:
      values: Of every video, `[B]`.
      sample_weight: Weight of every video, `[B]` or `[B, 1]`; None for 1. As in Keras, the weighted
        sum is divided by the number of videos.
      counted: Which videos are no padding, `[B]`; None for all.

    Returns:
      A float32 scalar; the shares of all replicas sum to the mean over the global batch.
    """
    values = tf.cast(values, tf.float32)
    if sample_weight is not None:
        values *= tf.cast(tf.reshape(sample_weight, tf.shape(values)), tf.float32)
    counted = tf.ones_like(values) if counted is None else tf.cast(counted, tf.float32)
    # Of padding, a value may be no number.
    values = tf.math.multiply_no_nan(values, counted)
    mean = tf.math.divide_no_nan(tf.reduce_sum(values), tf.reduce_sum(counted))
    return tf.nn.scale_regularization_loss(mean)


def _targets_and_logits(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns targets and logits as float32 rows `[..., C]`.

    Args:
      labels: Class indices `[...]` or `[..., 1]`, or rows `[..., C]`.
      logits: `[..., C]`.
    """
    labels, logits = tf.convert_to_tensor(labels), tf.cast(logits, tf.float32)
    if labels.shape.rank == logits.shape.rank and labels.shape[-1] == logits.shape[-1]:
        return tf.cast(labels, tf.float32), logits
    if labels.shape.rank == logits.shape.rank and labels.shape[-1] == 1:
        labels = tf.squeeze(labels, axis=-1)
    if not labels.shape.is_compatible_with(logits.shape[:-1]):
        raise ValueError(
            f"Labels must be class indices, of shape {logits.shape[:-1]}, or rows of shape "
            f"{logits.shape}. Received: labels of shape {labels.shape}."
        )
    return tf.one_hot(tf.cast(labels, tf.int32), logits.shape[-1]), logits
