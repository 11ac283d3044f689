"""A Keras model whose training step balances the gradients of its modalities."""

import functools
import inspect
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.accumulation import Accumulator
from ogm_tf.callbacks import EpochCounter
from ogm_tf.model_checks import (
    by_modality,
    require_accumulate_steps,
    require_adding_up,
    require_encoders,
    require_logits,
    require_one_replica,
    require_reduction,
)
from ogm_tf.modulation.gradients import (
    Contribution,
    compute_gradients,
    run_if,
    sum_over_replicas,
)
from ogm_tf.modulation.interface import Modulation, Moment, Step
from ogm_tf.modulation.losses import Losses, share_of_loss
from ogm_tf.modulation.scores import true_class_scores
from ogm_tf.modulation.skipping import running_averages, with_values
from ogm_tf.modulation.updates import update
from ogm_tf.reporting_model import Logits, ReportingModel

# Before the names of what a method remembers, in a file of weights.
_METHOD = "modulation."


@keras.saving.register_keras_serializable(package="ogm_tf")
class OGMModel(ReportingModel):
    """One encoder a modality, a fusion head, and gradients balanced between the encoders.

    Trains by Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation"
    (CVPR 2022): every step compares how well the modalities do (Eq. 8-9) and damps the encoder of
    the one that is ahead (Eq. 10-11), with noise against the loss of generalisation (Eq. 17). It
    works with everything a `keras.Model` does; with `modulation=None` it trains as one, to the bit.

    A network of your own joins by subclassing: leave out `encoders` and `fusion`, and override
    `forward` (the fused and each modality's logits) and `branches` (each modality's variables);
    for `.keras` files, add its own arguments to `get_config`.

    Example:

    ```python
    model = ogm_tf.OGMModel(
        encoders={"audio": audio_encoder, "visual": visual_encoder},
        fusion=ogm_tf.fusion.Concat(num_classes=6),
        modulation=ogm_tf.OGMGE(alpha=0.8, end_epoch=50),
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    model.fit(dataset, epochs=100)  # of ({"audio": [B, ...], "visual": [B, ...]}, labels [B])
    ```

    `fit` reports, for every modality m, `m_accuracy`, `m_score` (mean probability of the true
    class), `m_ratio` and `m_coefficient` (means over steps); `evaluate` reports `m_accuracy`, and
    counts only rows of non-zero sample weight in the loss and the accuracies. A step whose loss or
    gradients are not finite, or what the method makes of it, changes nothing but `skipped_steps`;
    see `last_skipped`.

    Args:
      encoders: Ordered `{modality: keras.Model}`, at least two, each `[B, ...] -> [B, D]`.
      fusion: A layer that takes the list of features, in the order of `encoders`, and returns the
        fused logits `[B, C]` and the list of each modality's: one of `ogm_tf.fusion`, or your own.
      modulation: `ogm_tf.OGM`, `ogm_tf.OGMGE`, another of `ogm_tf.modulation`, several of them as
        in `OGMGE(0.8) + Unimodal()`, or None for plain training.
      accumulate_steps: Batches of the dataset, of equal size, in one update, >= 1. Scores, ratios,
        noise and the optimiser's step belong to all of them together, as to one batch of their
        total size; batch normalisation sees each by itself. What an epoch leaves over is dropped,
        and counted by `leftover_steps`. One batch that is not finite spoils its update; the
        metrics of the others stay.
      **kwargs: Of `keras.Model`: `name`, `dtype`, `trainable`.

    Call arguments:
      inputs: `{modality: [B, ...]}`, or a list or tuple in the order of `encoders`.
      training: Whether layers such as dropout behave as in training. Default False.
      unimodal: Whether to return each modality's logits as well. Default False.

    Raises:
      ValueError: where encoders or fusion are missing or of a wrong kind, the method is not one for
        this network, or `accumulate_steps` is out of its range.
      TypeError: where `modulation` is no method.
    """

    def __init__(
        self,
        encoders: Mapping[str, keras.Model] | None = None,
        fusion: keras.layers.Layer | None = None,
        modulation: Modulation | None = None,
        accumulate_steps: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if type(self).forward is OGMModel.forward:
            require_encoders(encoders, fusion)
        self._require_modulation(modulation)
        require_accumulate_steps(accumulate_steps)
        self.encoders = dict(encoders or {})
        self.fusion = fusion
        if modulation is not None and modulation.drops_features:
            require_adding_up(fusion)
        self.modulation = modulation
        self.accumulate_steps = int(accumulate_steps)
        # One value a thread, for every replica has a thread and features of its own rows.
        self._step_features = threading.local()
        self._accumulator = Accumulator(self.accumulate_steps)
        self._epoch_counter = EpochCounter(
            tf.Variable(0, dtype=tf.int64, trainable=False), self._accumulator
        )

    def forward(self, inputs: Any, training: bool = False) -> Logits:
        """Returns the network's logits; the first of the two hooks of a subclass.

        Args:
          inputs: As of the model.
          training: As of the model.

        Returns:
          The fused logits `[..., C]`, and each modality's `{modality: [..., C]}`.

        Raises:
          ValueError: where a modality is missing, or an encoder's output is not [B, D].
        """
        inputs = by_modality(inputs, list(self.encoders))
        features = []
        for name, encoder in self.encoders.items():
            feature = encoder(inputs[name], training=training)
            if feature.shape.rank != 2:
                raise ValueError(
                    f"The encoder of {name!r} must return [B, D]. Received: shape {feature.shape}."
                )
            features.append(feature)
        fused, unimodal = self.fusion(features)
        method = self.modulation
        if training and method is not None:
            self._step_features.features = dict(zip(self.encoders, features, strict=True))
        if training and method is not None and method.acts_on_features:
            changed = method.change_features(self._step_features.features, self._moment())
            # Modalities are compared by what they are, not by what is left of them.
            fused, _ = self.fusion(list(changed.values()))
        return fused, dict(zip(self.encoders, unimodal, strict=True))

    @property
    def branches(self) -> dict[str, list[tf.Variable]]:
        """Each modality's trainable variables; the second of the two hooks of a subclass.

        The variables of the encoders: heads are never modulated. They are disjoint, and empty for
        a modality whose encoder is frozen or not built yet.
        """
        return {
            name: list(encoder.trainable_variables) if encoder.built else []
            for name, encoder in self.encoders.items()
        }

    def call(self, inputs, training=False, unimodal=False):
        logits, parts = self.forward(inputs, training=training)
        return (logits, parts) if unimodal else logits

    def unimodal_logits(self, inputs: Any, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns what each modality says by itself: `{modality: [B, C]}` logits.

        Args:
          inputs: As of the model.
          training: As of the model.
        """
        return self(inputs, training=training, unimodal=True)[1]

    @property
    def epoch(self) -> tf.Variable:
        """The epoch that the modulation's window looks at, from 0; `fit` sets it.

        A training loop of your own, such as one of `train_on_batch`, assigns it.
        """
        return self._epoch_counter.epoch

    @property
    def step_variables(self) -> list[tf.Variable]:
        """What a step keeps for the next beside weights and metrics: sums of gradients."""
        return self._accumulator.variables

    @property
    def method_state(self) -> dict[str, tf.Variable]:
        """What the modulation keeps from step to step, by name."""
        return {} if self.modulation is None else self.modulation.state

    def compile(self, *args, **kwargs):
        """Configures training as `keras.Model.compile` does.

        Raises:
          ValueError: where the loss takes probabilities instead of logits, is not reduced to one
            number, or is a sum while `accumulate_steps` > 1; where a method that remembers is
            another model's; or where `jit_compile` meets more than one replica, which TensorFlow
            2.15 cannot do.
        """
        arguments = inspect.signature(super().compile).bind(*args, **kwargs).arguments
        if arguments.get("jit_compile"):
            require_one_replica(self.distribute_strategy)
        for loss in tf.nest.flatten(arguments.get("loss")):
            require_logits(loss)
            require_reduction(loss, self.accumulate_steps)
        if self.modulation is not None:
            self.modulation.claim(self)
        super().compile(*args, **kwargs)
        self._remember_trainable()
        with self.distribute_strategy.scope():
            self._trackers = self._make_trackers()
        # Of other variables, where some were frozen since.
        self._accumulator.forget()

    def _require_modulation(self, modulation: Any) -> None:
        """Refuses what is no way to balance this network."""
        if modulation is None:
            return
        if not isinstance(modulation, Modulation):
            raise TypeError(
                "`modulation` must be None or a method of ogm_tf.modulation such as "
                f"ogm_tf.OGM(alpha=0.5). Received: modulation={modulation!r}."
            )
        needs_features = modulation.acts_on_features or modulation.needs_features
        if needs_features and type(self).forward is not OGMModel.forward:
            raise ValueError(
                f"{modulation.name} acts between encoders and fusion, and needs a network of both. "
                f"Received: {type(self).__name__}, which has a `forward` of its own."
            )

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built and not isinstance(self.optimizer, keras.optimizers.legacy.Optimizer):
            self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        arguments = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        arguments.update(arguments.pop("kwargs", {}))
        callbacks = arguments.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(self._epoch_counter)
        else:
            arguments["callbacks"] = [self._epoch_counter, *tf.nest.flatten(callbacks or [])]
        self._make_variables(arguments)
        return super().fit(**arguments)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args, **kwargs):
        self._make_variables(
            inspect.signature(super().train_on_batch).bind(*args, **kwargs).arguments
        )
        return super().train_on_batch(*args, **kwargs)

    def train_step(self, data):
        """One step: gradients, scores and coefficients over all replicas, modulation, update."""
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._trackers.undo = None
        if not self.built:
            # What batch normalisation keeps must be read before the pass that updates it.
            self(inputs, training=False)
        before = with_values(running_averages(self.non_trainable_variables))
        with tf.GradientTape(persistent=True) as tape:
            logits, unimodal = self(inputs, training=True, unimodal=True)
            truth = self._truth(labels)
            before += with_values(self._metric_variables(logits, truth))
            self._losses_were_read = False
            loss = self.compute_loss(inputs, labels, logits, sample_weight)
            self._validate_target_and_loss(labels, loss)
            step = self._step(inputs, labels, truth, sample_weight, logits, unimodal)
            losses = self._all_losses(loss, step)
        is_finite = self._learn(tape, losses, step)
        del tape

        self._trackers.update_accuracy(unimodal, truth)
        self._trackers.update_score(unimodal, truth, sample_weight)
        self._trackers.undo = (is_finite, before)
        return self.compute_metrics(inputs, truth, logits, sample_weight)

    def _moment(self) -> Moment:
        optimizer = getattr(self, "optimizer", None)
        updates = tf.zeros([], tf.int64) if optimizer is None else optimizer.iterations
        return Moment(self.epoch, updates, self._accumulator.count, self.accumulate_steps)

    def _step(self, inputs, labels, truth, sample_weight, logits, unimodal) -> Step:
        """Returns what a method sees of a batch."""

        def loss(outputs):
            return share_of_loss(self.compiled_loss, labels, outputs, sample_weight)

        features = getattr(self._step_features, "features", {})
        self._step_features.features = {}
        return Step(
            inputs, features, logits, unimodal, truth, sample_weight, loss, self._moment(), self
        )

    def _all_losses(self, loss: tf.Tensor, step: Step) -> Losses:
        method, added = self.modulation, None
        if method is not None and method.acts_on_loss:
            added = method.added_loss(step)
            if not method.separates_losses:
                loss, added = loss + tf.cast(added, loss.dtype), None
        return Losses(loss, self._regularization_loss() if self._losses_were_read else None, added)

    def _learn(self, tape: tf.GradientTape, losses: Losses, step: Step) -> tf.Tensor:
        """Updates the weights by the losses on a tape; returns whether the step was finite."""
        scores = tf.stack(
            [
                true_class_scores(step.unimodal[name], step.labels, step.sample_weight)
                for name in self._trackers.names
            ]
        )
        batch = self._contribution(tape, losses, scores)
        if self.modulation is not None:
            batch = batch._replace(statistics=self.modulation.statistics(step))
        if self.accumulate_steps == 1:
            return self._update(batch)
        done = self._accumulator.add(batch)
        run_if(done == 0, lambda: self._update(self._accumulator.mean(like=batch)))
        self._trackers.leftover.update_state(done)
        # Of all replicas: what they keep a mean of must be put back on each, or on none.
        return tf.math.is_finite(sum_over_replicas([batch.loss])[0])

    def _contribution(self, tape, losses: Losses, scores: tf.Tensor) -> Contribution:
        variables = self.trainable_variables

        def gradients(loss):
            return compute_gradients(self.optimizer, loss, variables, tape)

        penalties = [None] * len(variables)
        if losses.regularization is not None:
            penalties = gradients(losses.regularization)
        total, added = losses.total, ()
        if losses.added is not None:
            total, added = total + tf.cast(losses.added, total.dtype), gradients(losses.added)
        none = tf.zeros([0])
        return Contribution(scores, total, gradients(losses.total), penalties, none, added)

    def _update(self, batch: Contribution) -> tf.Tensor:
        """Updates the weights, and the trackers of updates; returns whether all was finite."""
        result = update(
            batch,
            self.branches,
            self.trainable_variables,
            self.optimizer,
            self.modulation,
            self.epoch,
        )
        is_finite = tf.reduce_all(result.finite)
        self._trackers.update_balance(result.ratios, result.coefficients, is_finite)
        self._trackers.skipped.update_state(result.finite)
        return is_finite

    def get_config(self):
        config = {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "modulation": keras.saving.serialize_keras_object(self.modulation),
            "accumulate_steps": self.accumulate_steps,
        }
        # A subclass without them makes its network of arguments of its own, which it adds.
        if self.encoders:
            config["encoders"] = {
                name: keras.saving.serialize_keras_object(encoder)
                for name, encoder in self.encoders.items()
            }
            config["fusion"] = keras.saving.serialize_keras_object(self.fusion)
        return config

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.modulation is None:
            return
        values = {name: variable.numpy() for name, variable in self.method_state.items()}
        for name, value in {**self.modulation.pending, **values}.items():
            # A slash in the name of a modality would be a group of the file.
            store[_METHOD + urllib.parse.quote(name, safe="")] = value

    def load_own_variables(self, store):
        names = [name for name in store.keys() if name.startswith(_METHOD)]
        super().load_own_variables({name: store[name] for name in store.keys() - set(names)})
        if self.modulation is not None:
            of_method = {name.removeprefix(_METHOD): np.array(store[name]) for name in names}
            self.modulation.restore(
                {urllib.parse.unquote(name): value for name, value in of_method.items()}
            )

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for key in {"encoders", "fusion", "modulation"} & config.keys():
            config[key] = _deserialize(config[key], custom_objects)
        return cls(**config)

    @property
    def losses(self):
        # Tells a `compute_loss` of a subclass without regularisation from one that has it.
        self._losses_were_read = True
        return super().losses

    def _regularization_loss(self) -> tf.Tensor | None:
        """Returns this replica's share of `self.losses`, as it stands in the total loss."""
        if self.modulation is None or not self.modulation.acts_on_gradients or not self.losses:
            return None
        losses = [tf.cast(loss, tf.float32) for loss in self.losses]
        return tf.nn.scale_regularization_loss(tf.add_n(losses))


def _deserialize(value: Any, custom_objects: Any) -> Any:
    if isinstance(value, dict) and "class_name" not in value:
        return {name: _deserialize(item, custom_objects) for name, item in value.items()}
    return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
