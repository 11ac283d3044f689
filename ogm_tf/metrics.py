"""What a balanced training run tracks, and the paper's second metric."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.modulation.scores import correct_predictions, true_class_probabilities


class ModalityTrackers:
    """Means over an epoch of each modality's accuracy, score, ratio and coefficient.

    A plain object, so that a model holding it counts no tracker among its weights.

    Args:
      names: The modalities.
      accumulates: Whether several batches make one update, of which an epoch may leave some over.
    """

    def __init__(self, names: Sequence[str], accumulates: bool = False):
        self.names = tuple(names)
        self.accuracy = {n: keras.metrics.Mean(name=f"{n}_accuracy") for n in names}
        self.score = {n: keras.metrics.Mean(name=f"{n}_score") for n in names}
        # Ratios reach float32's maximum, of which a sum must not overflow.
        self.ratio = {n: keras.metrics.Mean(name=f"{n}_ratio", dtype="float64") for n in names}
        self.coefficient = {n: keras.metrics.Mean(name=f"{n}_coefficient") for n in names}
        self.counted_loss = keras.metrics.Mean(name="counted_loss")
        self.skipped = SkippedCount()
        # What a step that is being traced would take back: a condition, variables and values.
        self.undo: tuple[tf.Tensor, list[tuple[tf.Variable, tf.Tensor]]] | None = None
        self.leftover = Latest(name="leftover_steps") if accumulates else None

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers a model reports, but for the loss of an evaluation with padding."""
        groups = (self.accuracy, self.score, self.ratio, self.coefficient)
        return [*(metric for group in groups for metric in group.values()), *self.counts]

    @property
    def counts(self) -> list[keras.metrics.Metric]:
        """The trackers that count steps, whatever the step's numbers are."""
        return [self.skipped] if self.leftover is None else [self.skipped, self.leftover]

    @property
    def training_only(self) -> frozenset[str]:
        """Names of the trackers that only a training step updates."""
        groups = (self.score, self.ratio, self.coefficient)
        names = {metric.name for group in groups for metric in group.values()}
        return frozenset(names | {metric.name for metric in self.counts})

    def update_accuracy(
        self,
        logits: Mapping[str, tf.Tensor],
        labels: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> None:
        """Counts correct predictions of each modality's logits, `[..., C]`."""
        for name in self.names:
            self.accuracy[name].update_state(
                correct_predictions(logits[name], labels), sample_weight
            )

    def update_score(
        self,
        logits: Mapping[str, tf.Tensor],
        labels: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> None:
        """Averages the probability of the true class over samples."""
        for name in self.names:
            self.score[name].update_state(
                true_class_probabilities(logits[name], labels), sample_weight
            )

    def update_balance(
        self,
        ratios: Mapping[str, tf.Tensor],
        coefficients: Mapping[str, tf.Tensor],
        counts: tf.Tensor,
    ) -> None:
        """Averages the scalars of one step over the steps that count."""
        for name in self.names:
            for tracker, value in ((self.ratio, ratios), (self.coefficient, coefficients)):
                # A weight of 0 alone leaves NaN what is NaN.
                value = tf.where(counts, value[name], 0.0)
                tracker[name].update_state(value, tf.cast(counts, tf.float32))


class SkippedCount(keras.metrics.Metric):
    """Counts the steps of an epoch that were skipped because something was not finite.

    Every replica knows the same; beside the count it keeps, over epochs, how many of the last steps
    were skipped in a row, and what came first in the list of the last of them.

    Args:
      name: Of the metric.
    """

    def __init__(self, name: str = "skipped_steps"):
        super().__init__(name, dtype=tf.int64)
        self.count, self.in_a_row, self.first_bad = (
            _same_on_replicas(self, name, initial)
            for name, initial in (("count", 0), ("in_a_row", 0), ("first_bad", -1))
        )

    def update_state(self, finite: tf.Tensor) -> None:
        """Counts a step.

        Args:
          finite: Whether each of the things looked at was finite, bool `[K]`.
        """
        skipped = tf.logical_not(tf.reduce_all(finite))
        self.count.assign_add(tf.cast(skipped, tf.int64))
        self.in_a_row.assign(tf.where(skipped, self.in_a_row + 1, 0))
        first_bad = tf.argmin(tf.cast(finite, tf.int32))
        self.first_bad.assign(tf.where(skipped, first_bad, self.first_bad))

    def result(self):
        return tf.identity(self.count)

    def reset_state(self):
        self.count.assign(0)


class Latest(keras.metrics.Metric):
    """A whole number of the last step, the same on every replica.

    Args:
      name: Of the metric.
    """

    def __init__(self, name: str):
        super().__init__(name, dtype=tf.int64)
        self.value = _same_on_replicas(self, "value", 0)

    def update_state(self, value: tf.Tensor) -> None:
        """Takes the number of a step, int64 `[]`."""
        self.value.assign(value)

    def result(self):
        return tf.identity(self.value)

    def reset_state(self):
        self.value.assign(0)


def _same_on_replicas(metric: keras.metrics.Metric, name: str, initial: int) -> tf.Variable:
    return metric.add_weight(
        name,
        initializer=keras.initializers.Constant(initial),
        dtype=tf.int64,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def counted_rows(sample_weight: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns 1 for every row of the logits, `[..., C]`, whose weight is not 0, else 0."""
    counted = tf.cast(tf.convert_to_tensor(sample_weight) != 0, tf.float32)
    rank = logits.shape.rank - 1
    if counted.shape.rank == rank + 1 and counted.shape[-1] == 1:
        counted = tf.squeeze(counted, axis=-1)
    while counted.shape.rank < rank:
        counted = tf.expand_dims(counted, axis=-1)
    return tf.broadcast_to(counted, tf.shape(logits)[:-1])


def mean_average_precision(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean over classes of the average precision, the paper's second metric.

    A class' average precision is sum_n (R_n - R_{n-1}) P_n over the distinct thresholds of its
    probability, without interpolation. Classes without a sample do not count.

    Args:
      probabilities: [N, C] scores, larger meaning more likely.
      labels: [N] class indices.

    Returns:
      A float in [0, 1]; NaN where there is no sample.

    Raises:
      ValueError: where the shapes do not fit.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "Probabilities must be [N, C] and labels [N]. Received: "
            f"{probabilities.shape} and {labels.shape}."
        )
    values = [
        _average_precision(probabilities[:, index], labels == index) for index in np.unique(labels)
    ]
    return float(np.mean(values)) if values else float("nan")


def _average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(positive[order])
    # Samples of equal score enter together: only the last of them is a threshold.
    thresholds = np.r_[np.flatnonzero(np.diff(scores[order])), scores.size - 1]
    true_positives = true_positives[thresholds]
    precision = true_positives / (thresholds + 1)
    recall = true_positives / positive.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
