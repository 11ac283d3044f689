"""How many segments are right."""

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.modulation.scores import correct_predictions


@keras.saving.register_keras_serializable(package="ogm_tf")
class SegmentAccuracy(keras.metrics.Mean):
    """Share of all segments whose largest logit is their class; background is one of the classes.

    Segments count alike whatever their class and video, as in Tian et al., "Audio-Visual Event
    Localization in Unconstrained Videos" (ECCV 2018).

    Args:
      name: Of the metric.
      dtype: Of the result.
    """

    def __init__(self, name="segment_accuracy", dtype=None):
        super().__init__(name, dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the segments of a batch.

        Args:
          y_true: Class indices `[B, T]`, or one-hot rows `[B, T, C]`.
          y_pred: Logits or probabilities `[B, T, C]`.
          sample_weight: Of every video `[B]`, or segment `[B, T]`; None for 1.

        Raises:
          ValueError: where the predictions are no segments, or the shapes do not fit.
        """
        y_pred = tf.convert_to_tensor(y_pred)
        if y_pred.shape.rank != 3:
            raise ValueError(
                "Segment accuracy needs a prediction for every segment, [B, T, C]. "
                f"Received: predictions of shape {y_pred.shape}."
            )
        return super().update_state(correct_predictions(y_pred, y_true), sample_weight)


def all_event_accuracy(labels: np.ndarray, background: int) -> float:
    """Returns the segment accuracy of naming each video's event everywhere.

    It knows which event a video has and not when: what a localisation must beat.

    Args:
      labels: Class indices of segments, `[N, T]`, one event a video.
      background: The class that is no event.

    Raises:
      ValueError: where there is no segment.
    """
    labels = np.asarray(labels)
    if labels.size == 0:
        raise ValueError(f"`labels` must not be empty. Received: shape {labels.shape}.")
    return float(np.mean(labels != background))
