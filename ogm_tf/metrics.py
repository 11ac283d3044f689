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
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self.accuracy = {n: keras.metrics.Mean(name=f"{n}_accuracy") for n in names}
        self.score = {n: keras.metrics.Mean(name=f"{n}_score") for n in names}
        # Ratios reach float32's maximum, of which a sum must not overflow.
        self.ratio = {n: keras.metrics.Mean(name=f"{n}_ratio", dtype="float64") for n in names}
        self.coefficient = {n: keras.metrics.Mean(name=f"{n}_coefficient") for n in names}
        self.counted_loss = keras.metrics.Mean(name="counted_loss")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers a model reports, but for the loss of an evaluation with padding."""
        groups = (self.accuracy, self.score, self.ratio, self.coefficient)
        return [metric for group in groups for metric in group.values()]

    @property
    def training_only(self) -> frozenset[str]:
        """Names of the trackers that only a training step updates."""
        groups = (self.score, self.ratio, self.coefficient)
        return frozenset(metric.name for group in groups for metric in group.values())

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
        self, ratios: Mapping[str, tf.Tensor], coefficients: Mapping[str, tf.Tensor]
    ) -> None:
        """Averages the scalars of one step over steps."""
        for name in self.names:
            self.ratio[name].update_state(ratios[name])
            self.coefficient[name].update_state(coefficients[name])


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
