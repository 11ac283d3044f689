"""How sure a network is of single samples, epoch by epoch of its training."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.modulation.scores import true_class_probabilities

FUSED = "fused"


class ConfidenceRecorder(keras.callbacks.Callback):
    """Remembers how sure an `OGMModel` is of validation samples after every epoch.

    The confidence of a sample is the probability of its true class, softmax(logits)[label], of the
    fused network and of every modality (Peng et al., CVPR 2022, supplement, Figure 2). It is taken
    from the logits that validation computes anyway, which costs next to nothing, on one device, on
    several, and with several workers:

    ```python
    recorder = ogm_tf.confidence.ConfidenceRecorder(num_samples=len(labels))
    model.fit(training, validation_data=(inputs, labels), epochs=20, callbacks=[recorder])
    recorder.confidence[:, 3]  # of sample 3: [20, 3], the names of whose columns are
    recorder.names  # ("fused", "audio", "visual")
    ```

    Every validation must give the same samples in the same order, and several replicas batches of
    one size. Rows after the last sample, such as padding, do not count. `fit` begins anew, unless a
    `Checkpoint` that has this callback in its `extra`, and comes after it, restores it.

    Args:
      num_samples: Of the validation data, >= 1.
      kept: Numbers of the samples to remember, from 0, in the order wanted; None: all.

    Raises:
      ValueError: where a number is out of range, and at the end of an epoch whose validation did
        not give every sample once.
    """

    def __init__(self, num_samples: int, kept: Sequence[int] | None = None):
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be >= 1. Received: num_samples={num_samples!r}.")
        kept = np.arange(num_samples) if kept is None else np.array(kept, np.int64).reshape(-1)
        if np.any((kept < 0) | (kept >= num_samples)):
            raise ValueError(
                f"`kept` must be numbers of samples, in [0, {num_samples}). "
                f"Received: kept={kept.tolist()}."
            )
        self.num_samples = int(num_samples)
        self.kept = kept
        self.epochs: list[int] = []
        self.names: tuple[str, ...] = ()
        self._values: list[np.ndarray] = []
        self._is_validated = False

    @property
    def confidence(self) -> np.ndarray:
        """Probabilities of the true class, float32 `[epochs, kept, names]`."""
        return np.array(self._values, np.float32).reshape(
            len(self.epochs), len(self.kept), len(self.names)
        )

    def get_state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        data = self.confidence.astype("<f4").tobytes()
        return {"epochs": self.epochs, "confidence": base64.b64encode(data).decode()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what a checkpoint kept."""
        self.epochs = list(state["epochs"])
        values = np.frombuffer(base64.b64decode(state["confidence"]), "<f4")
        self._values = list(values.reshape(len(self.epochs), len(self.kept), len(self.names)))

    def on_train_begin(self, logs=None):
        self.epochs, self._values = [], []
        self.names = (FUSED, *self.model.branches)
        strategy = self.model.distribute_strategy
        with strategy.scope():
            # How often each sample was seen, and its confidence; of other replicas' samples, 0.
            self._seen = _of_each_replica([self.num_samples, 1 + len(self.names)], tf.float32)
            self._num_rows = _of_each_replica([], tf.int64)

        @tf.function
        def total():
            own = strategy.run(self._seen.read_value)
            return strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None)

        self._total = total
        self.model.observe_evaluation(self._observe)

    def on_train_end(self, logs=None):
        self.model.observe_evaluation(None)

    def on_epoch_begin(self, epoch, logs=None):
        self._is_validated = False

    def on_test_begin(self, logs=None):
        for variable in (self._seen, self._num_rows):
            variable.assign(tf.zeros_like(variable))
        self._is_validated = True

    def on_epoch_end(self, epoch, logs=None):
        if not self._is_validated:
            return
        times_seen, values = np.split(self._total().numpy(), [1], axis=1)
        if not np.all(times_seen == 1):
            raise ValueError(
                f"Validation must give each of `num_samples`={self.num_samples} samples once, and "
                "several replicas batches of one size. Received: "
                f"{np.count_nonzero(times_seen == 1)} samples that were seen once."
            )
        self.epochs.append(epoch)
        self._values.append(values[self.kept])

    def _observe(
        self, fused: tf.Tensor, unimodal: Mapping[str, tf.Tensor], labels: tf.Tensor
    ) -> None:
        """Adds a replica's rows of a batch to what was seen."""
        logits = [fused, *(unimodal[name] for name in self.names[1:])]
        columns = [true_class_probabilities(part, labels) for part in logits]
        if columns[0].shape.rank != 1:
            raise ValueError(
                "Confidence is of samples with one label each, logits [B, C]. "
                f"Received: logits of shape {fused.shape}."
            )
        rows = tf.stack([tf.ones_like(columns[0]), *columns], axis=1)
        num_rows = tf.shape(rows, tf.int64)[0]
        replicas = tf.distribute.get_replica_context()
        first = self._num_rows + tf.cast(replicas.replica_id_in_sync_group, tf.int64) * num_rows
        place = tf.range(self.num_samples, dtype=tf.int64) - first
        is_here = (place >= 0) & (place < num_rows)
        # The row after the last is zeros. A scatter has no deterministic kernel on some devices.
        place = tf.where(is_here, place, num_rows)
        self._seen.assign_add(tf.gather(tf.pad(rows, [[0, 1], [0, 0]]), place))
        self._num_rows.assign_add(num_rows * replicas.num_replicas_in_sync)


def _of_each_replica(shape: list[int], dtype: tf.DType) -> tf.Variable:
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
