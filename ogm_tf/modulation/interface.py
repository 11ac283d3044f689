"""What a way of balancing modalities may do in a training step: features, loss, gradients."""

import math
import numbers
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.modulation import discrepancy
from ogm_tf.modulation.state import State

Gradient = tf.Tensor | tf.IndexedSlices | None


class Moment(NamedTuple):
    """When in a training a batch is seen.

    Args:
      epoch: From 0, integer `[]`.
      step: The optimiser's count of updates, integer `[]`.
      batch: Which of the batches of one update it is, from 0, integer `[]`.
      num_batches: Batches in one update.
    """

    epoch: tf.Tensor
    step: tf.Tensor
    batch: tf.Tensor
    num_batches: int


class Step(NamedTuple):
    """What a method sees of a replica's batch in a training step.

    Args:
      inputs: Of the model.
      features: Of each modality, `[B, D]`, before any method changed them; empty for a network
        whose own `forward` does not go from encoders to a fusion.
      logits: Fused, `[..., C]`, of features as methods changed them.
      unimodal: Each modality's logits, `[..., C]`, of unchanged features.
      labels: That modalities are judged by: those given to `fit`, or classes made of them.
      sample_weight: As given to `fit`, or None.
      loss: Of logits: this replica's share of the loss that the model was compiled with, `[]`,
        without regularisation.
      moment: When it is seen.
      network: `network(inputs)` are the fused logits without training.
    """

    inputs: Any
    features: Mapping[str, tf.Tensor]
    logits: tf.Tensor
    unimodal: Mapping[str, tf.Tensor]
    labels: Any
    sample_weight: tf.Tensor | None
    loss: Callable[[tf.Tensor], tf.Tensor]
    moment: Moment
    network: Callable[[Any], tf.Tensor]


# The hooks of each place in a step.
_HOOKS = {
    "acts_on_features": ("change_features",),
    "acts_on_loss": ("loss", "added_loss"),
    "acts_on_gradients": ("coefficients", "modulate"),
}


class Modulation:
    """A way to balance modalities; the base of all, which balances nothing.

    A method acts in three places of a training step, by the hooks it overrides:

    1. features: `change_features`, between encoders and fusion;
    2. loss: `loss`, a term beside the model's own;
    3. gradients: `coefficients` or `modulate`, summed over replicas and before the optimiser.

    A step does without the places that no method of it acts in. What else a class has to say of
    itself are the attributes below, such as `remembers` where it has a `state`.

    What it compares the modalities by, `statistics`, are sums over the rows of a batch, so that
    those of all replicas, and of all batches of one update, add up to those of one batch of all
    their rows. After an update that was finite, `update_state` may keep something for the next.

    `first + second` does what both do, where that makes sense; see `Combination`.

    Args:
      start_epoch: First epoch that is balanced, from 0.
      end_epoch: Last epoch that is balanced, included; None for the whole run.

    Raises:
      ValueError: where the window is none.
    """

    # The places it acts in, as the hooks that a class overrides say.
    acts_on_features = False
    acts_on_loss = False
    acts_on_gradients = False
    # Whether it modulates gradients of the model's loss and of its own apart.
    separates_losses = False
    # Whether it adds the losses of each modality's own logits.
    adds_unimodal_losses = False
    # Whether `change_features` puts zeros in place of whole features.
    drops_features = False
    # Whether it reads `Step.features`, and so needs a network of encoders and a fusion.
    needs_features = False
    # Whether it has a `state`, and so belongs to one network.
    remembers = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)

        def overrides(hook):
            return getattr(cls, hook) is not getattr(Modulation, hook)

        for place, hooks in _HOOKS.items():
            if place not in cls.__dict__:
                setattr(cls, place, any(map(overrides, hooks)))
        if cls.separates_losses and not overrides("modulate"):
            raise TypeError(
                "A method with `separates_losses` must override `modulate`, which gets the "
                f"gradients of both losses. Received: {cls.__name__}, which does not."
            )

    def __init__(self, start_epoch: int = 0, end_epoch: int | None = None):
        if not is_integer(start_epoch) or start_epoch < 0:
            raise ValueError(
                f"`start_epoch` must be an integer >= 0. Received: start_epoch={start_epoch!r}."
            )
        if end_epoch is not None and (not is_integer(end_epoch) or end_epoch < start_epoch):
            raise ValueError(
                "`end_epoch` must be None or an integer >= start_epoch. Received: "
                f"start_epoch={start_epoch!r}, end_epoch={end_epoch!r}."
            )
        self.start_epoch = int(start_epoch)
        self.end_epoch = None if end_epoch is None else int(end_epoch)
        self._state = State(type(self).__name__)
        self._network: weakref.ref | None = None

    def is_active(self, epoch: tf.Tensor | tf.Variable) -> tf.Tensor:
        """Returns whether an epoch, an integer scalar from 0, lies in the window."""
        active = epoch >= self.start_epoch
        if self.end_epoch is not None:
            active &= epoch <= self.end_epoch
        return active

    @property
    def name(self) -> str:
        """What people call it."""
        return type(self).__name__

    @property
    def state(self) -> dict[str, tf.Variable]:
        """What it keeps from step to step, by name, the same on every replica; files hold it.

        The first step makes it.
        """
        return dict(self._state.variables)

    @property
    def pending(self) -> dict[str, np.ndarray]:
        """What was restored of a `state` that is not made yet, by name."""
        return dict(self._state.pending)

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state` was, of what is there and of what is made later.

        What has another shape, as for other classes, is left out with a warning.

        Args:
          values: By name; what other methods remember is passed over.
        """
        self._state.restore(values)

    def claim(self, network: Any) -> None:
        """Makes it the method of a network, and of no other if it remembers.

        Raises:
          ValueError: as of `require_free`.
        """
        self.require_free(network)
        self._network = weakref.ref(network)

    def require_free(self, network: Any) -> None:
        """Refuses a network that it cannot be the method of.

        Raises:
          ValueError: where it remembers, and is another network's.
        """
        if self.remembers and self._network is not None and self._network() is not network:
            raise ValueError(
                f"{self.name} remembers what its network did, and must belong to one; make another "
                f"for another network. Received: modulation={self!r}, which belongs to one already."
            )

    def change_features(
        self, features: Mapping[str, tf.Tensor], moment: Moment
    ) -> dict[str, tf.Tensor]:
        """Returns what the fusion gets in training: inside the window, something else.

        Args:
          features: Of each modality, `[B, D]`.
          moment: When they are seen.
        """
        return dict(features)

    def added_loss(self, step: Step) -> tf.Tensor:
        """Returns this replica's share of what the window adds to the loss, `[]`."""
        value = self.loss(step)
        return tf.where(self.is_active(step.moment.epoch), value, tf.zeros_like(value))

    def loss(self, step: Step) -> tf.Tensor:
        """Returns this replica's share of a term to add to the loss inside the window, `[]`."""
        return tf.zeros([])

    def statistics(self, step: Step) -> tf.Tensor:
        """Returns sums over this replica's rows beside each modality's score, float32 `[K]`."""
        return tf.zeros([0])

    def ratios(
        self, scores: Mapping[str, tf.Tensor], statistics: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns how far each modality is ahead of the others; 1 is level.

        Args:
          scores: Of each modality the sum of its true-class probabilities, `[]`.
          statistics: Its own, summed over replicas, `[K]`.
        """
        return discrepancy.discrepancy_ratios(scores)

    def coefficients(self, ratios: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the factor of each modality's gradients inside the window."""
        return {name: tf.ones_like(ratio) for name, ratio in ratios.items()}

    def accepts(self, variable: tf.Variable) -> bool:
        """Returns whether an encoder's variable is modulated."""
        return True

    def modulate(
        self,
        gradients: Sequence[Gradient],
        coefficients: Sequence[tf.Tensor | None],
        step: tf.Tensor,
        owners: Sequence[str | None] = (),
        added: Sequence[Gradient] | None = None,
    ) -> list[Gradient]:
        """Returns the modulated gradients of all trainable variables: coefficient times gradient.

        What it returns beside a coefficient of None is ignored.

        Args:
          gradients: Of every trainable variable, in a fixed order, already summed over replicas;
            None where there is none. With `separates_losses`, those of the model's own loss.
          coefficients: Beside each gradient its coefficient, or None where it is not modulated.
          step: Integer scalar, the optimiser's iterations.
          owners: Beside each gradient its modality, or None where it is not modulated.
          added: With `separates_losses`, beside each gradient that of `added_loss`.
        """
        return [
            gradient
            if coefficient is None or gradient is None
            else gradient * tf.cast(coefficient, gradient.dtype)
            for gradient, coefficient in zip(gradients, coefficients, strict=True)
        ]

    def update_state(
        self, scores: Mapping[str, tf.Tensor], statistics: tf.Tensor, finite: tf.Tensor
    ) -> None:
        """Keeps what the next step needs of an update.

        Args:
          scores: As of `ratios`.
          statistics: Its own, summed over replicas, `[K]`.
          finite: Whether the update was finite, bool `[]`; where it was not, nothing may change.
        """
        # AutoGraph makes no graph of a function without a body.
        del scores, statistics, finite

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"start_epoch": self.start_epoch, "end_epoch": self.end_epoch}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Modulation":
        """Returns the method that `get_config` describes."""
        arguments = {
            name: keras.saving.deserialize_keras_object(value)
            if isinstance(value, dict) and "class_name" in value
            else value
            for name, value in config.items()
        }
        return cls(**arguments)

    def __add__(self, other: "Modulation") -> "Modulation":
        from ogm_tf.modulation.combination import Combination

        return Combination([self, other])

    def __getstate__(self):
        # A copy may be another network's.
        return {**self.__dict__, "_network": None}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def is_integer(value: Any) -> bool:
    """Returns whether a value is a whole number, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def require_number(name: str, value: Any, rule: str, holds: Callable[[float], bool]) -> float:
    """Returns a finite number that holds to a rule, or refuses it."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not holds(value):
        raise ValueError(f"`{name}` must be a finite number {rule}. Received: {name}={value!r}.")
    return float(value)
