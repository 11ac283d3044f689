"""tensorflow-addons' optimisers behind the interface of Keras' own."""

import warnings
from collections.abc import Mapping

import keras
import tensorflow as tf

# Without the wrappers (Lookahead, MovingAverage, SWA): they fail under a MirroredStrategy on CPUs,
# and Keras' `use_ema` averages weights already.
ADDONS = {
    "adabelief": "AdaBelief",
    "cocob": "COCOB",
    "conditional_gradient": "ConditionalGradient",
    "lamb": "LAMB",
    "lazy_adam": "LazyAdam",
    "novograd": "NovoGrad",
    "proximal_adagrad": "ProximalAdagrad",
    "radam": "RectifiedAdam",
    "rectified_adam": "RectifiedAdam",
    "sgdw": "SGDW",
    "yogi": "Yogi",
}
# As Keras' own optimisers: no decay unless it is asked for.
_DEFAULTS = {"SGDW": {"weight_decay": 0.0}}

_SCHEDULE = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable(package="ogm_tf")
class AddonsOptimizer(keras.optimizers.Optimizer):
    """An optimiser of tensorflow-addons behind the interface of Keras 2.15's own.

    Those are legacy classes, whose state `.keras` files leave out. Here it is kept, so training
    goes on after loading as if it had not stopped; loss scaling, distribution strategies and
    learning rate callbacks work as well.

    Args:
      class_name: Of the optimiser in `tensorflow_addons.optimizers`, e.g. "LAMB".
      clipnorm: Norm each gradient is clipped to, > 0, or None.
      clipvalue: Magnitude each gradient value is clipped to, > 0, or None.
      global_clipnorm: Norm all gradients together are clipped to, > 0, or None.
      name: Of the optimiser; default the class name.
      **arguments: Of the wrapped class, e.g. `learning_rate` (a number or a schedule).

    Raises:
      ValueError: where the class is not one of those that are known to work.
    """

    def __init__(
        self,
        class_name: str,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **arguments,
    ):
        known = sorted(set(ADDONS.values()))
        if class_name not in known:
            raise ValueError(
                f"`class_name` must be one of {', '.join(known)}. "
                f"Received: class_name={class_name!r}."
            )
        arguments = {**_DEFAULTS.get(class_name, {}), **arguments}
        wrapped = getattr(_addons().optimizers, class_name)(**arguments)
        # Set past the tracking: checkpoints refuse variables that two optimisers own. The arguments
        # are kept because the wrapped classes' configurations do not all construct them again.
        for attribute, value in (("_wrapped", wrapped), ("_arguments", arguments)):
            object.__setattr__(self, attribute, value)
        self._class_name = class_name
        super().__init__(
            name=name or class_name,
            weight_decay=None,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            jit_compile=False,
        )
        self._learning_rate = None
        if "learning_rate" in wrapped._hyper:
            with tf.init_scope():
                rate = wrapped.learning_rate
            is_schedule = isinstance(rate, _SCHEDULE)
            self._learning_rate = self._build_learning_rate(rate) if is_schedule else rate

    def _create_iteration_variable(self):
        with tf.init_scope():
            self._variables.append(self._wrapped.iterations)

    @property
    def iterations(self):
        """The number of steps done: the wrapped optimiser's own variable."""
        return self._wrapped.iterations

    @iterations.setter
    def iterations(self, variable):
        self._wrapped.iterations = variable

    def build(self, var_list):
        if getattr(self, "_built", False):
            return
        super().build(var_list)
        self._wrapped._create_all_weights(var_list)
        self._variables.extend(self._wrapped.weights[1:])
        self._built = True

    def apply_gradients(
        self, grads_and_vars, name=None, skip_gradients_aggregation=False, **kwargs
    ):
        """Updates the variables.

        Args:
          grads_and_vars: Pairs of a gradient (or None) and its variable.
          name: Of the name scope of the update.
          skip_gradients_aggregation: Whether the gradients are summed over replicas already.
          **kwargs: `experimental_aggregate_gradients`, the opposite of it, as legacy classes have.

        Returns:
          The variable that counts the iterations.

        Raises:
          KeyError: where a variable was not among those the optimiser was built with.
        """
        self._compute_current_learning_rate()
        aggregate = kwargs.pop("experimental_aggregate_gradients", True)
        if kwargs:
            raise TypeError(f"Unknown arguments. Received: {', '.join(kwargs)}.")
        grads_and_vars = list(grads_and_vars)
        if not grads_and_vars:
            return self.iterations
        with tf.init_scope():
            self.build([variable for _, variable in grads_and_vars])
        for _, variable in grads_and_vars:
            if self._var_key(variable) not in self._index_dict:
                raise KeyError(
                    "The optimizer must be built with all variables it updates. "
                    f"Received: {variable.name}."
                )
        if aggregate and not skip_gradients_aggregation:
            grads_and_vars = self.aggregate_gradients(grads_and_vars)
        grads_and_vars = [pair for pair in grads_and_vars if pair[0] is not None]
        if not grads_and_vars:
            return self.iterations
        gradients, variables = zip(*grads_and_vars, strict=True)
        gradients = self._clip_gradients(gradients)
        self._wrapped.apply_gradients(
            list(zip(gradients, variables, strict=True)),
            name=name,
            experimental_aggregate_gradients=False,
        )
        return self.iterations

    def update_step(self, gradient, variable):
        raise NotImplementedError("The wrapped optimizer updates all variables at once.")

    def get_config(self):
        arguments = {
            key: keras.optimizers.schedules.serialize(value)
            if isinstance(value, _SCHEDULE)
            else value
            for key, value in self._arguments.items()
        }
        if isinstance(self._learning_rate, tf.Variable):
            arguments["learning_rate"] = float(self._learning_rate)
        return {
            "class_name": self._class_name,
            "name": self.name,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            # Keras reads it: without it, loss scaling would load this as a legacy optimiser.
            "is_legacy_optimizer": False,
            **arguments,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {key: value for key, value in config.items() if key != "is_legacy_optimizer"}
        for key, value in config.items():
            if isinstance(value, Mapping):
                config[key] = keras.optimizers.schedules.deserialize(value, custom_objects)
        return cls(**config)


def _addons():
    """Imports tensorflow-addons, without its notice of the end of its development."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*TensorFlow Addons \(TFA\) has ended", UserWarning)
        import tensorflow_addons
    return tensorflow_addons
