"""The weights of gradient blending, estimated while a model is trained."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ogm_tf import optimizers
from ogm_tf.metrics import counted_rows
from ogm_tf.modulation.gblend import GBlend
from ogm_tf.modulation.interface import is_integer
from ogm_tf.modulation.losses import sum_of_loss
from ogm_tf.training_state import TrainingState

# As it is, or as `strategy.experimental_distribute_dataset` and its like return it.
Batches = tf.data.Dataset | tf.distribute.DistributedDataset


class GBlendEstimator(keras.callbacks.Callback):
    """Estimates the weights of `GBlend` before its first epoch and after every super-epoch.

    From what the network is, each head is trained alone for some epochs, and all is put back. Of
    what a head's loss came down by on held-out data, its generalisation G, and of how much its gap
    between training and held-out loss grew, its overfitting O, follow

        G = L_held(before) - L_held(after)
        O = (L_held - L_train)(after) - (L_held - L_train)(before)
        w proportional to G / O^2                                         (eq. 5 of the paper)

    of Wang et al., "What Makes Training Multi-modal Classification Networks Hard?" (CVPR 2020). The
    paper trains each head as long as a super-epoch lasts; by default it is one epoch here. The
    optimiser goes on as it is, but for its momentum, which is that of all heads and begins at 0
    where `ogm_tf.optimizers.momentums` knows it.
    Heads that get no better, G <= 0, weigh nothing; where none does, or a loss is not finite, the
    weights stay. An O whose size is below a hundredth of the largest G is taken for that: so little
    is no overfitting that held-out data could show.

    A training that goes on has its weights in its `ogm_tf.checkpoints.Checkpoint`, and estimates
    none before its first epoch: one whose optimiser has made no update yet is new. Super-epochs
    count from the first epoch of the window of `GBlend`; where that is not the first of a `fit`,
    the same `fit` must have run the epoch before, at whose end the weights are estimated. With
    others of a `Combination` the heads are trained as they act, too. Of several workers each is one
    of the estimators. Place it before a `Checkpoint`, which is to hold the weights of the epochs to
    come.

        estimator = GBlendEstimator(training, held_out, super_epoch=10)
        model.fit(training, epochs=40, callbacks=[estimator])

    Args:
      training: Batches of `fit`'s form, on which the heads are trained and measured. Heads are
        compared most fairly where the batches are the same each time they are read.
      held_out: Batches of training data that `fit` does not see, for the other measure: some, and
        an end of them.
      super_epoch: Epochs between estimates, >= 1.
      epochs: Passes over `training` of each head, >= 1.
      steps: Global batches of `training` in a pass, at least the model's `accumulate_steps`; None:
        all of a finite dataset.

    Raises:
      ValueError: where a number is out of its range, or a dataset says of itself that it has no
        batches or no end; in `fit` where the model has no `GBlend`, a pass would make no update, or
        there are no rows to measure.
    """

    def __init__(
        self,
        training: Batches,
        held_out: Batches,
        super_epoch: int = 10,
        epochs: int = 1,
        steps: int | None = None,
    ):
        super().__init__()
        for name, value in (("super_epoch", super_epoch), ("epochs", epochs), ("steps", steps)):
            is_open = name == "steps" and value is None
            if not is_open and (not is_integer(value) or value < 1):
                raise ValueError(f"`{name}` must be an integer >= 1. Received: {name}={value!r}.")
        self.training, self.held_out = training, held_out
        self.super_epoch, self.epochs = super_epoch, epochs
        is_dataset = isinstance(training, tf.data.Dataset)
        cardinality = int(training.cardinality()) if is_dataset else tf.data.UNKNOWN_CARDINALITY
        if steps is None and cardinality < 1:
            raise ValueError(
                "`training` must be a dataset of a known number of batches, or `steps` tell it. "
                f"Received: steps=None, and {training!r} of cardinality {cardinality}."
            )
        if isinstance(held_out, tf.data.Dataset):
            size = int(held_out.cardinality())
            if size in (0, tf.data.INFINITE_CARDINALITY):
                raise ValueError(
                    "`held_out` must be a dataset of some batches that ends. "
                    f"Received: {held_out!r} of cardinality {size}."
                )
        self.steps = cardinality if steps is None else int(steps)

    def set_model(self, model):
        super().set_model(model)
        self._method().has_estimator = True
        if self.steps < model.accumulate_steps:
            raise ValueError(
                "`steps` must be at least the model's accumulate_steps, or a pass makes no update. "
                f"Received: steps={self.steps}, accumulate_steps={model.accumulate_steps}."
            )

    def on_epoch_begin(self, epoch, logs=None):
        # What a checkpoint remembers of the method is put back in the first step, after this.
        is_new = int(self.model.optimizer.iterations.numpy()) == 0
        if is_new and self._method().start_epoch <= epoch:
            self._weigh(epoch)

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1 - self._method().start_epoch
        if done >= 0 and done % self.super_epoch == 0 and epoch + 1 < self.params["epochs"]:
            self._weigh(epoch + 1)

    def _weigh(self, epoch: int) -> None:
        end_epoch = self._method().end_epoch
        if end_epoch is not None and epoch > end_epoch:
            return
        current = self.model.epoch.numpy()
        self.model.epoch.assign(epoch)
        try:
            found = self.estimate()
        finally:
            self.model.epoch.assign(current)
        logging.info("Epoch %d: G-Blend weighs the losses %s.", epoch, np.round(found, 3))

    def estimate(self) -> np.ndarray:
        """Estimates and sets the weights for the model's epoch; returns them, `[M + 1]`.

        Where something fails or interrupts it, all is put back as well.
        """
        method = self._method()
        strategy = self.model.distribute_strategy
        with strategy.scope(), tempfile.TemporaryDirectory() as folder:
            weights = method.weights(len(self.model.branches))
            current = strategy.experimental_local_results(weights)[0].numpy()
            train, losses = self._train_function(), self._loss_function()
            state = TrainingState(self.model)
            local = state.local_values()
            state.write(folder, local)
            before, after = self._measure(losses), []
            for head in range(len(current)):
                try:
                    weights.assign(np.eye(len(current), dtype=np.float32)[head])
                    for momentum in optimizers.momentums(self.model.optimizer):
                        momentum.assign(tf.zeros_like(momentum))
                    self._train(train)
                    after.append(self._measure(losses)[head])
                finally:
                    state.read_shared(folder)
                    state.assign_local(local)
            found = blend(np.array(before), np.array(after))
            if found is None:
                logging.warning(
                    "No head gets better, or a loss is not finite: the weights stay. Training and "
                    "held-out losses of each head before and after: %s and %s.",
                    np.round(before, 3).tolist(), np.round(after, 3).tolist(),
                )  # fmt: skip
                found = current
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

    def _train(self, step: Callable[[Iterator], Any]) -> None:
        at_once = self.model._steps_per_execution
        whole = at_once.numpy()
        try:
            for _ in range(self.epochs):
                # An epoch may have left batches over.
                self.model._accumulator.clear()
                batches = self._read(self.training)
                for begin in range(0, self.steps, whole):
                    at_once.assign(min(whole, self.steps - begin))
                    step(batches)
        finally:
            at_once.assign(whole)

    def _train_function(self) -> Callable[[Iterator], Any]:
        """Returns the model's own, and makes what it makes when it is traced."""
        of_fit = function = self.model.train_function
        if not isinstance(of_fit, tf.types.experimental.PolymorphicFunction):
            # There may be none, or that of `fit` puts a checkpoint back in its first step.
            function = self.model.make_train_function(force=True)
            self.model.train_function = of_fit
        traced = tf.function(function) if self.model.run_eagerly else function
        traced.get_concrete_function(self._read(self.training))
        return function

    def _read(self, batches: Batches) -> Iterator:
        if isinstance(batches, tf.data.Dataset):
            strategy = self.model.distribute_strategy
            batches = strategy.experimental_distribute_dataset(batches)
        return iter(batches)

    def _loss_function(self) -> Callable[[Any], list[tf.Tensor]]:
        """Returns what gives of a batch each head's loss, summed over rows, and their number."""
        strategy = self.model.distribute_strategy

        def on_replica(batch):
            inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
            logits, parts = self.model(inputs, training=False, unimodal=True)
            sums = [
                sum_of_loss(self.model.compiled_loss, labels, own, weights)
                for own in (logits, *parts.values())
            ]
            counted = tf.ones(tf.shape(logits)[:-1])
            if weights is not None:
                counted = counted_rows(weights, logits)
            of_rows = tf.reduce_mean(counted, axis=list(range(1, counted.shape.rank)))
            return [*sums, tf.reduce_sum(of_rows)]

        @tf.function
        def of_batch(batch):
            sums = strategy.run(on_replica, args=(batch,))
            return [strategy.reduce("SUM", own, axis=None) for own in sums]

        return of_batch

    def _measure(self, losses: Callable[[Any], list[tf.Tensor]]) -> list[tuple[float, float]]:
        """Returns of each head its mean training and held-out loss."""
        found = []
        for data, steps in ((self.training, self.steps), (self.held_out, None)):
            batches = itertools.islice(self._read(data), steps)
            of_batches = [[float(x) for x in losses(batch)] for batch in batches]
            *sums, rows = np.sum(of_batches, axis=0) if of_batches else [0.0]
            if not rows:
                raise ValueError(
                    "GBlendEstimator must have rows of non-zero weight to measure losses on. "
                    f"Received: {len(of_batches)} batches without any, of {data!r}."
                )
            found.append(np.array(sums) / rows)
        return list(zip(*found, strict=True))


def blend(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Returns the weights of heads, of sum 1; see `GBlendEstimator`.

    None where no head gets better, or a loss is not finite.

    Args:
      before: Training and held-out loss of each head, `[heads, 2]`.
      after: The same after each was trained alone.
    """
    gained = np.maximum(before[:, 1] - after[:, 1], 0.0)
    gap = (after[:, 1] - after[:, 0]) - (before[:, 1] - before[:, 0])
    if not np.isfinite([gained, gap]).all() or not gained.any():
        return None
    weights = gained / np.maximum(np.abs(gap), 1e-2 * gained.max()) ** 2
    return weights / weights.sum()
