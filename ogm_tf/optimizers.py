"""Optimisers: the authors' SGD, and names for Keras' own and tensorflow-addons' optimisers."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ogm_tf.addons_optimizer import ADDONS, AddonsOptimizer

__all__ = ["SGD", "AddonsOptimizer", "get", "momentums"]

Optimizer = keras.optimizers.Optimizer | keras.optimizers.legacy.Optimizer

_KERAS = {
    "adadelta": "Adadelta",
    "adafactor": "Adafactor",
    "adagrad": "Adagrad",
    "adam": "Adam",
    "adamax": "Adamax",
    "adamw": "AdamW",
    "ftrl": "Ftrl",
    "lion": "Lion",
    "nadam": "Nadam",
    "rmsprop": "RMSprop",
}


@keras.saving.register_keras_serializable(package="ogm_tf")
class SGD(keras.optimizers.Optimizer):
    """Stochastic gradient descent by PyTorch's rule, as the OGM-GE authors train.

        g = gradient + weight_decay * w
        v = momentum * v + g
        w = w - learning_rate * v                     (nesterov: g + momentum * v in place of v)

    Two things differ from `keras.optimizers.SGD`: the decay is coupled (an L2 penalty on every
    variable, biases included, which goes through the momentum), and the learning rate stays outside
    the velocity, so a drop of it acts at once.

    Args:
      learning_rate: A number, or a `keras.optimizers.schedules.LearningRateSchedule`.
      momentum: In [0, 1).
      weight_decay: Coefficient of the L2 penalty, >= 0. Variables given to
        `exclude_from_weight_decay` are spared; a saved model keeps those given by name only.
      nesterov: Whether to look one step ahead; needs momentum.
      name: Of the optimiser.
      **kwargs: Of `keras.optimizers.Optimizer`, e.g. `clipnorm`, `clipvalue`, `global_clipnorm`,
        `use_ema`. Gradients are clipped before the decay is added.

    Raises:
      ValueError: where a value is out of its range.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        name: str = "SGD",
        **kwargs,
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}.")
        if weight_decay is None or weight_decay < 0:
            raise ValueError(f"`weight_decay` must be >= 0. Received: weight_decay={weight_decay}.")
        if nesterov and momentum == 0:
            raise ValueError("`nesterov` needs momentum > 0. Received: momentum=0.")
        super().__init__(name=name, weight_decay=weight_decay, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.nesterov = nesterov

    def build(self, var_list):
        if getattr(self, "_built", False):
            return
        super().build(var_list)
        self._velocities = []
        if self.momentum:
            self._velocities = [
                self.add_variable_from_reference(variable, "velocity") for variable in var_list
            ]
        self._built = True

    def update_step(self, gradient, variable):
        learning_rate = tf.cast(self.learning_rate, variable.dtype)
        # Decay and momentum touch every row, whichever rows the gradient has.
        gradient = tf.convert_to_tensor(gradient)
        if self.weight_decay and self._use_weight_decay(variable):
            gradient += tf.cast(self.weight_decay, variable.dtype) * variable
        if not self.momentum:
            variable.assign_sub(learning_rate * gradient)
            return
        velocity = self._velocities[self._index_dict[self._var_key(variable)]]
        # One pass over the memory, where the same in single operations takes four.
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def _apply_weight_decay(self, variables):
        """The base class would decay the weights directly, past the momentum."""

    def get_config(self):
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "exclude_from_weight_decay": list(
                getattr(self, "_exclude_from_weight_decay_names", [])
            ),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        excluded = config.pop("exclude_from_weight_decay", None)
        optimizer = super().from_config(config, custom_objects)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        return optimizer


def get(identifier: Any, **kwargs) -> Optimizer:
    """Returns an optimiser by name, configuration or instance.

    Args:
      identifier: An optimiser, which is returned as it is; a configuration, such as
        `keras.optimizers.serialize` returns; or a name, in any case: "sgd" (this module's), one of
        Keras' own ("adam", "adamw", "adagrad", "rmsprop", ...) or of tensorflow-addons' ("lamb",
        "radam", "lazy_adam", "sgdw", ...).
      **kwargs: Arguments of the optimiser; with a name only.

    Returns:
      The optimiser. All of them keep their state in `.keras` files and go on after loading as if
      uninterrupted, except Keras' own Nadam, which leaves one of its variables out.

    Raises:
      ValueError: where the name is unknown (the message lists the known ones), or arguments come
        with an optimiser or a configuration.
    """
    if isinstance(identifier, str):
        return _by_name(identifier, kwargs)
    if kwargs:
        raise ValueError(
            "Arguments go with the name of an optimizer only. "
            f"Received: {', '.join(kwargs)} with {type(identifier).__name__}."
        )
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        if "module" in identifier:
            return keras.saving.deserialize_keras_object(dict(identifier))
        return _by_name(identifier["class_name"], identifier.get("config", {}))
    raise ValueError(
        "An optimizer is given by a name, a configuration or an instance. "
        f"Received: {identifier!r}."
    )


def momentums(optimizer: Optimizer) -> list[tf.Variable]:
    """Returns an optimiser's accumulators of past gradients: its momentum, or first moments.

    Args:
      optimizer: Built: this module's SGD, one of Keras' own or of its legacy ones, or
        tensorflow-addons', with or without loss scaling. Of others none are returned.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, SGD):
        return list(inner._velocities)
    inner = getattr(inner, "_wrapped", inner)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        slots = [(name, slot) for own in inner._slots.values() for name, slot in own.items()]
        return [slot for name, slot in slots if name in ("momentum", "m")]
    for name in ("momentums", "_momentums", "_m"):
        if hasattr(inner, name):
            return list(getattr(inner, name))
    return []


def _by_name(name: str, arguments: Mapping[str, Any]) -> Optimizer:
    def plain(text):
        return re.sub("[^a-z0-9]", "", text.lower())

    known = ["sgd", *_KERAS, *ADDONS]
    key = {plain(candidate): candidate for candidate in known}.get(plain(name))
    if key is None:
        raise ValueError(
            f"An optimizer must be one of {', '.join(sorted(known))}. Received: {name!r}."
        )
    if key == "sgd":
        return SGD(**arguments)
    if key in _KERAS:
        return getattr(keras.optimizers, _KERAS[key])(**arguments)
    return AddonsOptimizer(ADDONS[key], **arguments)
