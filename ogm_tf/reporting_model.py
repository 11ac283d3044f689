"""A Keras model that tells what each modality knows, and what became of a training's steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ogm_tf.batch_spec import batch_spec
from ogm_tf.metrics import ModalityTrackers, counted_rows
from ogm_tf.modulation.skipping import gradient_names, restore_unless

Logits = tuple[tf.Tensor, dict[str, tf.Tensor]]


class ReportingModel(keras.Model):
    """What `OGMModel` reports: metrics in training and evaluation; it does not say how it learns.

    A subclass has `branches`, each modality's variables, and answers with fused logits, or, called
    with `unimodal=True`, with those and each modality's.

    Args:
      **kwargs: Of `keras.Model`.
    """

    branches: Mapping[str, list[tf.Variable]]
    accumulate_steps = 1

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Everything a step returns is a metric, of which each replica has the whole.
        self.distribute_reduction_method = "first"
        # A plain object hides its variables from Keras, which would count them among the weights.
        self._trackers: ModalityTrackers | None = None
        self._observer: Callable[..., None] | None = None
        # Whether each layer is, where the model is compiled.
        self._were_trainable: tuple[bool, ...] = ()

    @property
    def skipped_in_a_row(self) -> int:
        """How many of the last steps were skipped, one after the other."""
        return 0 if self._trackers is None else int(self._trackers.skipped.in_a_row.numpy())

    @property
    def last_skipped(self) -> str | None:
        """What was not finite, first of all, in the last step that was skipped.

        The logits of a modality, or else the loss, what the method makes of the batch, or the
        gradient of a variable.
        """
        index = -1 if self._trackers is None else int(self._trackers.skipped.first_bad.numpy())
        if index < 0:
            return None
        gradients = gradient_names(self.trainable_variables, self.branches)
        return [*self._causes(), *gradients][index]

    def _causes(self) -> list[str]:
        """Names what a step looks at before the gradients, in the order of `Update.finite`."""
        logits = (f"the logits of the modality {name!r}" for name in self.branches)
        return [*logits, "the loss", "what the method makes of the batch"]

    def _make_trackers(self) -> ModalityTrackers:
        return ModalityTrackers(tuple(self.branches), self.accumulate_steps > 1)

    def _truth(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns the right answers that scores and metrics are of; `labels` are the loss's."""
        return labels

    def _make_variables(self, arguments: Mapping[str, Any]) -> None:
        """Makes what a step otherwise makes in its first trace, and would then be traced twice for.

        Those of the optimiser and of the compiled metrics; sums of accumulated gradients, and what
        a method remembers, are made in the trace.

        Args:
          arguments: Of `fit` or `train_on_batch`, by name.
        """
        if self.compiled_metrics is None or self.run_eagerly:
            return
        layers = self._all_layers()
        if not all(layer.built for layer in layers) or self._were_trainable != _trainable(layers):
            # What Keras will train is not what it looks like now.
            return
        with self.distribute_strategy.scope():
            if not isinstance(self.optimizer, keras.optimizers.legacy.Optimizer):
                self.optimizer.build(self.trainable_variables)
            if not self.compiled_metrics.built:
                self._make_metrics(arguments)

    def _make_metrics(self, arguments: Mapping[str, Any]) -> None:
        batch = batch_spec(*(arguments.get(name) for name in ("x", "y", "sample_weight")))
        if batch is None:
            return

        @tf.function
        def answer(inputs, labels):
            return self(inputs, training=False), self._truth(labels)

        try:
            inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
            found = answer.get_concrete_function(inputs, labels).structured_outputs
        except Exception:
            # A step may take what the network by itself does not, and tells its errors itself.
            return
        self._build_metrics(*found)

    def _remember_trainable(self) -> None:
        """Remembers what Keras trains from here on, whatever is frozen later."""
        self._were_trainable = _trainable(self._all_layers())

    def _all_layers(self) -> list[keras.layers.Layer]:
        return [self, *(own for own in self.submodules if isinstance(own, keras.layers.Layer))]

    def _build_metrics(self, logits: Any, labels: Any) -> None:
        """Makes the compiled metrics, of which Keras does not know before the first batch."""
        if not self.compiled_loss.built:
            self.compiled_loss.build(logits)
        if not self.compiled_metrics.built:
            self.compiled_metrics.build(logits, labels)

    def _metric_variables(self, logits, labels) -> list[tf.Variable]:
        """Returns the variables of the metrics of which a skipped step should leave no trace."""
        self._build_metrics(logits, labels)
        counts = {id(metric) for metric in self._trackers.counts}
        metrics = [metric for metric in self.metrics if id(metric) not in counts]
        return [variable for metric in metrics for variable in metric.variables]

    def get_metrics_result(self):
        # After the last update of a metric in the step, and before the first reading.
        if self._trackers and self._trackers.undo:
            restore_unless(*self._trackers.undo)
            self._trackers.undo = None
        return super().get_metrics_result()

    def test_step(self, data):
        """One step of evaluation over the rows of non-zero sample weight."""
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        answer = self(inputs, training=False, unimodal=True)
        return self._evaluate(answer, inputs, labels, sample_weight)

    def _evaluate(self, answer: Logits, inputs, labels, sample_weight) -> dict[str, tf.Tensor]:
        """Returns what evaluation reports, this batch counted; `answer` is of `forward`."""
        logits, unimodal = answer
        # A step whose tracing failed may have left it.
        self._trackers.undo = None
        counted = None
        if sample_weight is not None:
            counted = counted_rows(sample_weight, logits)
            # Keras' losses and unweighted metrics average over what a mask leaves in.
            logits._keras_mask = counted
        loss = self.compute_loss(inputs, labels, logits, sample_weight)
        truth = self._truth(labels)
        self._trackers.update_accuracy(unimodal, truth, counted)
        if self._observer is not None:
            self._observer(logits, unimodal, truth)
        results = self.compute_metrics(inputs, truth, logits, sample_weight)
        if counted is not None:
            # Keras' own mean over batches weighs a batch by all its rows.
            loss *= self.distribute_strategy.num_replicas_in_sync
            num_counted = tf.reduce_sum(counted)
            # A replica may get nothing but padding, of which Keras' mean is no number.
            loss = tf.where(num_counted > 0, loss, tf.zeros_like(loss))
            self._trackers.counted_loss.update_state(loss, num_counted)
            results["loss"] = self._trackers.counted_loss.result()
        hidden = self._trackers.training_only
        return {name: value for name, value in results.items() if name not in hidden}

    def observe_evaluation(self, observer: Callable[..., None] | None) -> None:
        """Has every step of evaluation tell, on each replica, what the network says of its rows.

        Args:
          observer: Called with the fused logits, each modality's, and the labels; None: nobody.
        """
        self._observer = observer
        # Steps that have been traced tell those they told.
        self.test_function = None

    def reset_metrics(self):
        super().reset_metrics()
        if self._trackers:
            self._trackers.counted_loss.reset_state()

    @property
    def metrics(self):
        trackers = self._trackers.metrics if self._trackers else []
        return super().metrics + trackers


def _trainable(layers: Sequence[keras.layers.Layer]) -> tuple[bool, ...]:
    return tuple(layer.trainable for layer in layers)
