"""What a network of events says of every segment of some videos, and how good that is."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from input_pipelines import feature_sequences
from input_pipelines.feature_sequences import FeatureSequences
from ogm_tf.localization import EventModel
from ogm_tf.localization.losses import weak_targets
from ogm_tf.localization.metrics import all_event_accuracy

BACKGROUND = "background"


@dataclasses.dataclass(frozen=True, eq=False)
class Timelines:
    """Answers for V videos of T segments, over C classes, background the last.

    Args:
      rows: Of the videos among the features, `[V]`.
      labels: Right answers, int32 `[V, T]`.
      probabilities: float32 `[V, T, C]`, of the network as "" and of each modality.
    """

    rows: np.ndarray
    labels: np.ndarray
    probabilities: Mapping[str, np.ndarray]

    def metrics(self) -> dict[str, float]:
        """Returns shares of segments that are right.

        `accuracy` and each modality's are of all segments; `event_accuracy` and
        `background_accuracy` of those with and without an event, where there are any;
        `all_event_accuracy` is that of naming each video's event in all of its segments.
        """
        found = {}
        for name, own in self.probabilities.items():
            prefix = f"{name}_" if name else ""
            found[f"{prefix}accuracy"] = _share(own.argmax(axis=-1) == self.labels)
        is_right = self.probabilities[""].argmax(axis=-1) == self.labels
        background = self.probabilities[""].shape[-1] - 1
        is_event = self.labels != background
        for name, counted in (("event", is_event), ("background", ~is_event)):
            if counted.any():
                found[f"{name}_accuracy"] = _share(is_right[counted])
        found["all_event_accuracy"] = all_event_accuracy(self.labels, background)
        return found

    def table(
        self, features: FeatureSequences, segment_s: float
    ) -> tuple[list[str], Iterator[list[object]]]:
        """Returns header and rows of a table with a row a segment."""
        names = [*features.class_names, BACKGROUND]
        header = ["video_id", "segment", "start_s", "label", "predicted", "confidence"]
        for name in self.probabilities:
            if name:
                header += [f"{name}_predicted", f"{name}_confidence"]

        def rows():
            for video, row in enumerate(self.rows):
                for segment, label in enumerate(self.labels[video]):
                    line = [features.video_ids[row], segment, round(segment * segment_s, 6)]
                    line.append(names[label])
                    for own in self.probabilities.values():
                        answer = own[video, segment]
                        line += [names[answer.argmax()], round(float(answer.max()), 4)]
                    yield line

        return header, rows()


def predict(
    model: EventModel, features: FeatureSequences, split: str, batch_size: int
) -> Timelines:
    """Returns what a network says of a split's videos, in their order.

    Raises:
      ValueError: where an answer is not finite, as those of a network that has diverged.
    """
    forward = tf.function(lambda inputs: model.segment_logits(inputs, unimodal=True))
    data = feature_sequences.eval_dataset(features, split, batch_size)
    found: dict[str, list[np.ndarray]] = {}
    for inputs, _, weights in data.dataset:
        fused, parts = forward(inputs)
        counted = weights.numpy() != 0
        for name, logits in {"": fused, **parts}.items():
            probabilities = tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()
            found.setdefault(name, []).append(probabilities[counted])
    rows = np.asarray(features.splits[split])
    probabilities = {name: np.concatenate(own) for name, own in found.items()}
    for name, own in probabilities.items():
        wrong = np.flatnonzero(~np.isfinite(own).all(axis=(1, 2)))
        if wrong.size:
            raise ValueError(
                f"A network's answers must be finite. Received: {wrong.size} of {len(rows)} "
                f"videos of the {split} split with others ({name or 'fused'}), such as "
                f"video_id={features.video_ids[rows[wrong[0]]]!r}."
            )
    return Timelines(rows, features.labels[rows], probabilities)


def with_video_targets(batches: tf.data.Dataset, num_classes: int, target: str) -> tf.data.Dataset:
    """Returns batches of (inputs, labels, weight) with labels as `EventModel` evaluates them.

    Args:
      batches: With labels of segments, `[B, T]`.
      num_classes: With background.
      target: What is told of a video; see `losses.weak_targets`.
    """

    def add_targets(inputs, labels, weights):
        video = weak_targets(labels, num_classes, target)
        return inputs, {"video": video, "segments": labels}, weights

    return batches.map(add_targets)


def _share(values: np.ndarray) -> float:
    return float(np.mean(values))
