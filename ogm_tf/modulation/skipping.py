"""Steps that are not finite: how they are seen, and what of them is taken back."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf


def are_finite(values: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> tf.Tensor:
    """Returns which values hold finite numbers only, bool `[len(values)]`; a None does."""
    # A sum costs no tensor of the gradient's size; one that overflows is no step to take either.
    found = [
        tf.constant(True) if value is None else tf.math.is_finite(_sum(value)) for value in values
    ]
    # A stack of nothing would be one of numbers.
    return tf.cast(tf.stack(found), tf.bool)


def gradient_names(
    variables: Sequence[tf.Variable], branches: Mapping[str, Sequence[tf.Variable]]
) -> list[str]:
    """Names the gradient of each variable, and the modality whose branch it is in, for people."""
    owners = {id(member): name for name, branch in branches.items() for member in branch}
    return [
        f"the gradient of {variable.name}"
        + (f" of the modality {owners[id(variable)]!r}" if id(variable) in owners else "")
        for variable in variables
    ]


def with_values(variables: Sequence[tf.Variable]) -> list[tuple[tf.Variable, tf.Tensor]]:
    """Returns variables, each with the value it has at this point of a step on this replica."""
    return [(variable, tf.identity(variable)) for variable in variables]


def restore_unless(condition: tf.Tensor, before: Sequence[tuple[tf.Variable, tf.Tensor]]) -> None:
    """Gives variables the values they had before, where a condition, bool `[]`, does not hold."""
    for variable, value in before:
        variable.assign(tf.where(condition, variable, value))


def running_averages(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Returns those of a model's untrained variables that its forward pass updates."""
    return [
        variable
        for variable in variables
        # Not the weights of a frozen layer, nor what no replica may update.
        if not variable.trainable
        and variable.dtype.is_floating
        and (
            variable.aggregation != tf.VariableAggregation.NONE or not tf.distribute.has_strategy()
        )
    ]


def skips_by_itself(optimizer: keras.optimizers.Optimizer) -> bool:
    """Returns whether an optimiser leaves non-finite gradients out, and needs to see them."""
    return isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer) and optimizer.dynamic


def _sum(value: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    values = value.values if isinstance(value, tf.IndexedSlices) else value
    # Half precision would overflow where its numbers do not.
    return tf.reduce_sum(tf.cast(values, tf.float32) if values.dtype.size < 4 else values)
