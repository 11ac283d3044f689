"""Gradient blending: losses weighted by how well, and how little over, each head learns."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ogm_tf.modulation.interface import Modulation, State, is_integer
from ogm_tf.modulation.losses import share_of_loss


@keras.saving.register_keras_serializable(package="ogm_tf")
class GBlend(Modulation):
    """Blends the losses of the fused and of each modality's own logits:

        L = w_0 L(fused) + sum over the modalities u of w_u L(logits of u),   w of sum 1

    Wang et al., "What Makes Training Multi-modal Classification Networks Hard?" (CVPR 2020). The
    weights are estimated by `GBlendEstimator`, a callback of `fit`; until then they are equal.

    Args:
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.
    """

    acts_on_loss = True

    def __init__(self, start_epoch: int = 0, end_epoch: int | None = None):
        super().__init__(start_epoch, end_epoch)
        self._state = State()

    @property
    def state(self):
        return self._state.variables

    def weights(self, num_modalities: int) -> tf.Variable:
        """Returns the weights: of the fused loss, then of each modality's, float32 `[M + 1]`."""
        count = num_modalities + 1
        return self._state.get("weights", lambda: tf.fill([count], 1 / count))

    def loss(self, step):
        weights = tf.unstack(self.weights(len(step.unimodal)).read_value())
        fused = (weights[0] - 1) * step.loss(step.logits)
        own = [
            weight * step.loss(logits)
            for weight, logits in zip(weights[1:], step.unimodal.values(), strict=True)
        ]
        return tf.add_n([fused, *own])


class GBlendEstimator(keras.callbacks.Callback):
    """Estimates the weights of `GBlend` before the first epoch and after every super-epoch.

    A training that goes on has them in its `ogm_tf.checkpoints.Checkpoint`, and estimates none
    before its first epoch: one whose optimiser has made no update yet is new. With others of a
    `Combination` the heads are trained as they act, too.

    From the weights that the network has, each head is trained alone for some epochs, and all is
    put back. Of what a head's loss came down by on held-out data, its generalisation G, and of how
    much its gap between training and held-out loss grew, its overfitting O, follow

        G = L_held(before) - L_held(after)
        O = (L_held - L_train)(after) - (L_held - L_train)(before)
        w proportional to G / O^2                                         (eq. 5 of the paper)

    On several devices, what each keeps for itself, such as the averages of a batch normalisation
    that is not synchronised, is the first one's afterwards.

    Heads that get no better, G <= 0, weigh nothing; where none does, the weights stay. An O whose
    size is below a thousandth of G is taken for that.

    Args:
      training: Batches of `fit`'s form, on which the heads are trained and measured: finite.
      held_out: Batches of training data that `fit` does not see, for the other measure: finite.
      super_epoch: Epochs between estimates, >= 1.
      epochs: Passes over `training` of each head, >= 1.

    Raises:
      ValueError: where a number is out of its range.
    """

    def __init__(
        self,
        training: tf.data.Dataset,
        held_out: tf.data.Dataset,
        super_epoch: int = 10,
        epochs: int = 1,
    ):
        super().__init__()
        for name, value in (("super_epoch", super_epoch), ("epochs", epochs)):
            if not is_integer(value) or value < 1:
                raise ValueError(f"`{name}` must be an integer >= 1. Received: {name}={value!r}.")
        self.training, self.held_out = training, held_out
        self.super_epoch, self.epochs = super_epoch, epochs
        self._train_function: Callable[[Iterator], object] | None = None

    def on_epoch_begin(self, epoch, logs=None):
        # What a checkpoint remembers of the method is put back in the first step, after this.
        if int(self.model.optimizer.iterations.numpy()) == 0:
            self._weigh(epoch)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.super_epoch == 0 and epoch + 1 < self.params["epochs"]:
            self._weigh(epoch + 1)

    def _weigh(self, epoch: int) -> None:
        method = self._method()
        # Before the window the weights are estimated for its first epoch, and after it not at all.
        epoch = max(epoch, method.start_epoch)
        if method.end_epoch is not None and epoch > method.end_epoch:
            return
        current = self.model.epoch.numpy()
        self.model.epoch.assign(epoch)
        found = self.estimate()
        self.model.epoch.assign(current)
        logging.info("Epoch %d: G-Blend weighs the losses %s.", epoch, np.round(found, 3))

    def estimate(self) -> np.ndarray:
        """Estimates and sets the weights for the model's epoch; returns them, `[M + 1]`."""
        method = self._method()
        strategy = self.model.distribute_strategy
        with strategy.scope():
            weights = method.weights(len(self.model.branches))
        current = self._read(weights)
        self._trace()
        saved = self._snapshot()
        before = self._losses()
        after = []
        for head in range(len(current)):
            weights.assign(np.eye(len(current), dtype=np.float32)[head])
            self._train()
            after.append(self._losses()[head])
            self._restore(saved)
        found = blend(np.array(before), np.array(after))
        found = current if found is None else found
        weights.assign(found.astype(np.float32))
        self.model.reset_metrics()
        return found

    def _method(self) -> GBlend:
        method = self.model.modulation
        found = [own for own in getattr(method, "methods", [method]) if isinstance(own, GBlend)]
        if not found:
            raise ValueError(
                "GBlendEstimator is for a model whose modulation is or has a GBlend. "
                f"Received: modulation={method!r}."
            )
        return found[0]

    def _train(self) -> None:
        strategy = self.model.distribute_strategy
        steps = int(self.training.cardinality())
        for _ in range(self.epochs):
            # An epoch may have left batches over.
            self.model._accumulator.clear()
            iterator = iter(strategy.experimental_distribute_dataset(self.training))
            for _ in range(steps // self._steps_at_once()):
                self._train_function(iterator)
        self.model._accumulator.clear()

    def _trace(self) -> None:
        """Makes what a step makes when it is traced, such as what other methods remember."""
        of_fit = self._train_function = self.model.train_function
        if self.model.run_eagerly:
            return
        if not isinstance(of_fit, tf.types.experimental.PolymorphicFunction):
            # That of `fit` puts a checkpoint back in its first step.
            self._train_function = self.model.make_train_function(force=True)
            self.model.train_function = of_fit
        strategy = self.model.distribute_strategy
        batches = iter(strategy.experimental_distribute_dataset(self.training))
        self._train_function.get_concrete_function(batches)

    def _steps_at_once(self) -> int:
        return int(self.model._steps_per_execution.numpy().item())

    def _losses(self) -> list[np.ndarray]:
        """Returns of each head its mean training and held-out loss."""
        strategy = self.model.distribute_strategy

        @tf.function
        def of_batch(batch):
            def on_replica(batch):
                inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
                logits, parts = self.model(inputs, training=False, unimodal=True)
                return [
                    share_of_loss(self.model.compiled_loss, labels, own, weights)
                    for own in (logits, *parts.values())
                ]

            shares = strategy.run(on_replica, args=(batch,))
            return [strategy.reduce("SUM", share, axis=None) for share in shares]

        found = []
        for data in (self.training, self.held_out):
            batches = strategy.experimental_distribute_dataset(data)
            found.append(np.mean([[float(x) for x in of_batch(batch)] for batch in batches], 0))
        return list(zip(*found, strict=True))

    def _variables(self) -> list[tf.Variable]:
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        with self.model.distribute_strategy.scope():
            if not isinstance(inner, keras.optimizers.legacy.Optimizer):
                inner.build(self.model.trainable_variables)
        variables = optimizer.variables
        variables = variables() if callable(variables) else variables
        return [
            *self.model.weights,
            *variables,
            *self.model.method_variables,
            *self.model._trackers.skipped.variables,
        ]

    def _snapshot(self) -> list[tuple[tf.Variable, np.ndarray]]:
        return [(variable, self._read(variable)) for variable in self._variables()]

    def _restore(self, saved: list[tuple[tf.Variable, np.ndarray]]) -> None:
        for variable, value in saved:
            variable.assign(value)

    def _read(self, variable: tf.Variable) -> np.ndarray:
        strategy = self.model.distribute_strategy
        return strategy.experimental_local_results(variable)[0].numpy()


def blend(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Returns the weights of heads, of sum 1; see `GBlendEstimator`. None where none gets better.

    Args:
      before: Training and held-out loss of each head, `[heads, 2]`.
      after: The same after each was trained alone.
    """
    gained = np.maximum(before[:, 1] - after[:, 1], 0.0)
    gap = (after[:, 1] - after[:, 0]) - (before[:, 1] - before[:, 0])
    if not gained.any():
        return None
    gap = np.maximum(np.abs(gap), 1e-3 * np.maximum(gained, 1e-12))
    weights = gained / gap**2
    return weights / weights.sum()
