"""All that a training step changes, in a folder."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_SHARED, _LOCAL = "variables", "local.npz"
_METHOD = "method-"


class TrainingState:
    """What a model holds while it is trained, and what each replica of it keeps for itself.

    Shared are weights, optimiser, loss scale and random layers. A replica's own are the sums of
    metrics, moving averages that are not synchronised, what a method remembers, and what a property
    `step_variables` of the model names: of these Keras' own checkpoints have no place, or only
    sums and means.

    Of several workers all must write and read at once; each writes to a folder of its own.

    Args:
      model: Compiled; it may not be built yet.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        optimizer = model.optimizer
        if model.built and not isinstance(optimizer, keras.optimizers.legacy.Optimizer):
            optimizer.build(model.trainable_variables)
        # Not among the model's own attributes, where Keras would save it.
        self._shared = tf.train.Checkpoint(model=model, train_counter=model._train_counter)
        # What moves the values, by the names of what was there when it was made.
        self._gather: dict[tuple[str, ...], Callable[[], list[Any]]] = {}
        self._assign: dict[tuple[str, ...], Callable[[Sequence[Any]], None]] = {}

    def write(self, folder: str | os.PathLike, local: Mapping[str, np.ndarray] | None = None):
        """Writes everything.

        Args:
          folder: Of the files, which exists.
          local: What `local_values` gave at another moment; None: what it gives now.

        Raises:
          OSError: where it cannot be written; tf.errors.OpError as well.
        """
        folder = pathlib.Path(folder)
        self._shared.write(str(folder / _SHARED))
        np.savez(folder / _LOCAL, **(self.local_values() if local is None else local))

    def read_shared(self, folder: str | os.PathLike) -> None:
        """Takes over what all replicas have in common; what is not made yet, once it is.

        Raises:
          AssertionError: where a built model has something that the files have not.
        """
        status = self._shared.read(str(pathlib.Path(folder) / _SHARED))
        if self._model.built:
            status.assert_existing_objects_matched()
        # What is made by the first step is restored as it is made.
        status.expect_partial()

    def read_local(self, folder: str | os.PathLike) -> dict[str, np.ndarray]:
        """Returns what each replica kept for itself, by name, `[replicas, ...]`."""
        with np.load(pathlib.Path(folder) / _LOCAL) as file:
            return dict(file)

    def assign_local(self, values: Mapping[str, np.ndarray], with_step: bool = True) -> None:
        """Gives each replica its own, of what is made already; what a method remembers, later too.

        Where the number of replicas differs, sums are divided among them, what all have the same of
        is given to all, and the rest stays as it is.

        Args:
          values: Of `local_values` or `read_local`.
          with_step: Whether that of `step_variables` too.
        """
        found = self._local_variables(with_step)
        method = getattr(self._model, "modulation", None)
        if method is not None:
            later = [name for name in values if name.startswith(_METHOD) and name not in found]
            # All replicas have the same.
            method.restore({name.removeprefix(_METHOD): values[name][0] for name in later})
        values = {name: values[name] for name in found if name in values}
        variables, names = [found[name] for name in values], tuple(values)
        num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if any(len(value) != num_replicas for value in values.values()):
            _assign_totals(variables, list(values.values()))
            return
        if names not in self._assign:
            self._assign[names] = _assign_function(variables)
        self._assign[names]([tf.constant(value) for value in values.values()])

    def local_values(self) -> dict[str, np.ndarray]:
        """Returns what each replica keeps for itself, by name, `[replicas, ...]`."""
        found = self._local_variables()
        names, strategy = tuple(found), tf.distribute.get_strategy()
        if names not in self._gather:
            self._gather[names] = _gather_function(list(found.values()))
        values = [strategy.experimental_local_results(value)[0] for value in self._gather[names]()]
        result = {name: value.numpy() for name, value in zip(found, values, strict=True)}
        method = getattr(self._model, "modulation", None)
        for name, value in {} if method is None else method.pending.items():
            result[_METHOD + name] = np.stack([value] * strategy.num_replicas_in_sync)
        return result

    def _local_variables(self, with_step: bool = True) -> dict[str, tf.Variable]:
        model = self._model
        found = {
            f"metric-{index}-{number}-{metric.name}": variable
            for index, metric in enumerate(model.metrics)
            for number, variable in enumerate(metric.variables)
        }
        found |= {
            f"weight-{index}": weight
            for index, weight in enumerate(model.weights)
            if weight.synchronization == tf.VariableSynchronization.ON_READ
        }
        of_method = getattr(model, "method_state", {})
        found |= {_METHOD + name: variable for name, variable in of_method.items()}
        if with_step and hasattr(type(model), "step_variables"):
            variables = model.step_variables
            found |= {f"step-{index}": variable for index, variable in enumerate(variables)}
        return found


def _gather_function(variables: Sequence[tf.Variable]) -> Callable[[], list[Any]]:
    """Returns what reads every variable's values, one a replica: `[replicas, ...]`."""

    def on_replica():
        values = [tf.expand_dims(variable, 0) for variable in variables]
        # All of them in one exchange, where workers have to tell each other.
        return tf.distribute.get_replica_context().all_gather(values, axis=0)

    return tf.function(lambda: tf.distribute.get_strategy().run(on_replica) if variables else [])


def _assign_function(variables: Sequence[tf.Variable]) -> Callable[[Sequence[Any]], None]:
    """Returns what gives every replica its own of every variable's values, `[replicas, ...]`."""

    def on_replica(values):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for variable, value in zip(variables, values, strict=True):
            variable.assign(tf.gather(value, replica))

    return tf.function(
        lambda values: (
            tf.distribute.get_strategy().run(on_replica, args=(values,)) if variables else None
        )
    )


def _assign_totals(variables: Sequence[tf.Variable], values: Sequence[np.ndarray]) -> None:
    """Divides what other replicas had among those there are."""
    for variable, value in zip(variables, values, strict=True):
        if variable.aggregation == tf.VariableAggregation.SUM:
            variable.assign(value.sum(axis=0, dtype=value.dtype))
        elif variable.aggregation == tf.VariableAggregation.ONLY_FIRST_REPLICA:
            variable.assign(value[0])
