"""What a method remembers from step to step, and files hold."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging


class State:
    """Variables that every replica has the same values of, made in the first step.

    A plain object, so that a model holding it counts none of them among its weights.

    Args:
      owner: Whose they are; names in `variables` begin with it.
    """

    def __init__(self, owner: str):
        self.variables: dict[str, tf.Variable] = {}
        self.pending: dict[str, np.ndarray] = {}
        self._owner = owner

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Gives variables their values; those that are not made yet begin with them."""
        for name, value in values.items():
            if name not in self.variables and name.startswith(f"{self._owner}."):
                self.pending[name] = np.array(value)
            elif name in self.variables and _fits(name, value, self.variables[name]):
                self.variables[name].assign(value)

    def get(self, name: str, initial: Callable[[], Any]) -> tf.Variable:
        """Returns a float32 variable; the first time makes it.

        Args:
          name: Of the variable.
          initial: Returns its first value.
        """
        key = f"{self._owner}.{name}"
        with tf.init_scope():
            if key not in self.variables:
                value = tf.cast(initial(), tf.float32)
                restored = self.pending.pop(key, None)
                if restored is not None and _fits(key, restored, value):
                    value = tf.cast(restored, tf.float32)
                self.variables[key] = tf.Variable(
                    value,
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                    name=name,
                )
        return self.variables[key]


def _fits(name: str, value: np.ndarray, place: tf.Tensor | tf.Variable) -> bool:
    """Returns whether a restored value has the shape of its place; tells where it has not."""
    fits = tuple(np.shape(value)) == tuple(place.shape)
    if not fits:
        logging.warning(
            "What a method remembers begins anew: %s must have shape %s. Received: shape %s.",
            name, tuple(place.shape), np.shape(value),
        )  # fmt: skip
    return fits
