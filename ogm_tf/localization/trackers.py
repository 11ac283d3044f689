"""What networks of events report beside what every balanced network does."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from ogm_tf.localization.metrics import SegmentAccuracy
from ogm_tf.metrics import ModalityTrackers


class EventTrackers(ModalityTrackers):
    """Means over an epoch: the pair-similarity loss, and accuracies of segments.

    Args:
      names: The modalities.
      accumulates: As of `ModalityTrackers`.
      has_pairs: Whether the loss holds a pair-similarity loss, reported as `pair_loss`.
    """

    def __init__(self, names: Sequence[str], accumulates: bool, has_pairs: bool):
        super().__init__(names, accumulates)
        self.pair_loss = keras.metrics.Mean(name="pair_loss") if has_pairs else None
        self.segments = {
            prefix: SegmentAccuracy(name=f"{prefix}segment_accuracy")
            for prefix in ("", *(f"{name}_" for name in names))
        }

    @property
    def metrics(self):
        return [*super().metrics, *([] if self.pair_loss is None else [self.pair_loss])]

    def update_segments(
        self,
        logits: tf.Tensor,
        parts: Mapping[str, tf.Tensor],
        labels: tf.Tensor,
        counted: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        """Counts right segments of a weakly supervised network, which no training step does.

        Args:
          logits: Of segments, `[B, T, C]`.
          parts: Each modality's.
          labels: Class indices of segments, `[B, T]`.
          counted: Which segments are no padding, `[B, T]`; None for all.

        Returns:
          The accuracies so far, by the names that a fully supervised network gives them.
        """
        found = {"": logits, **{f"{name}_": part for name, part in parts.items()}}
        for prefix, own in found.items():
            self.segments[prefix].update_state(labels, own, counted)
        return {f"{prefix}accuracy": mean.result() for prefix, mean in self.segments.items()}

    def reset_segments(self) -> None:
        """Begins another evaluation."""
        for mean in self.segments.values():
            mean.reset_state()
