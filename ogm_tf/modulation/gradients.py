"""The gradients of one step: computed, summed over replicas, modulated and applied."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from ogm_tf.modulation.branches import VariableFilter, modulated_names
from ogm_tf.modulation.policies import OGM

Gradient = tf.Tensor | tf.IndexedSlices | None


def compute_gradients(
    optimizer: keras.optimizers.Optimizer,
    loss: tf.Tensor,
    variables: Sequence[tf.Variable],
    tape: tf.GradientTape,
) -> list[Gradient]:
    """Returns this replica's gradients, unscaled where the optimiser scales the loss."""
    if isinstance(optimizer, keras.optimizers.legacy.Optimizer):
        pairs = optimizer._compute_gradients(loss, variables, tape=tape)
    else:
        pairs = optimizer.compute_gradients(loss, variables, tape=tape)
    return [gradient for gradient, _ in pairs]


def apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Gradient],
    variables: Sequence[tf.Variable],
) -> None:
    """Updates the variables by gradients that are already summed over replicas."""
    if isinstance(optimizer, keras.optimizers.legacy.Optimizer):
        already_summed = {"experimental_aggregate_gradients": False}
    else:
        already_summed = {"skip_gradients_aggregation": True}
    optimizer.apply_gradients(zip(gradients, variables, strict=True), **already_summed)


def sum_over_replicas(values: Sequence[Gradient]) -> list[Gradient]:
    """Returns the sums over replicas, by one collective for the whole list."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return list(values)
    present = [value for value in values if value is not None]
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if value is None else next(sums) for value in values]


def per_variable(
    coefficients: Mapping[str, tf.Tensor],
    branches: Mapping[str, Sequence[tf.Variable]],
    variables: Sequence[tf.Variable],
    accepts: VariableFilter,
) -> list[tf.Tensor | None]:
    """Returns the coefficient of every variable, or None where it is not modulated.

    Args:
      coefficients: Of each modality, `[]`.
      branches: Each modality's trainable variables.
      variables: All trainable variables.
      accepts: Which variables of a branch are modulated.

    Raises:
      ValueError: where branches overlap, or the filter accepts nothing of a branch.
    """
    owners = modulated_names(branches, accepts)
    return [
        coefficients[owners[id(variable)]] if id(variable) in owners else None
        for variable in variables
    ]


def modulate_gradients(
    policy: OGM,
    gradients: Sequence[Gradient],
    penalties: Sequence[Gradient],
    coefficients: Sequence[tf.Tensor | None],
    *,
    step: tf.Tensor | tf.Variable,
    active: tf.Tensor,
) -> list[Gradient]:
    """Returns the gradients to apply: summed over replicas, and modulated where the policy is on.

    Args:
      policy: Scales a list of gradients and adds its noise.
      gradients: Of the total loss, on this replica, one a variable.
      penalties: The part of them that comes from regularisation and is not modulated, or Nones.
      coefficients: Of every variable, or None where it is not modulated.
      step: The optimiser's count of steps, which the noise is drawn from.
      active: Whether the epoch lies in the policy's window, bool `[]`.
    """
    gradients = [
        tf.convert_to_tensor(gradient)
        if coefficient is not None and isinstance(gradient, tf.IndexedSlices)
        else gradient
        for gradient, coefficient in zip(gradients, coefficients, strict=True)
    ]
    summed = sum_over_replicas([*gradients, *penalties])
    gradients, penalties = summed[: len(gradients)], summed[len(gradients) :]
    # A branch of `tf.cond` holds no None and no sparse gradient, so the rest stays outside.
    chosen = [i for i, c in enumerate(coefficients) if c is not None and gradients[i] is not None]

    def modulated():
        data = [
            gradient if penalty is None or index not in chosen else gradient - penalty
            for index, (gradient, penalty) in enumerate(zip(gradients, penalties, strict=True))
        ]
        data = policy.modulate(data, coefficients, step)
        return [data[i] if penalties[i] is None else data[i] + penalties[i] for i in chosen]

    values = tf.cond(active, modulated, lambda: [tf.identity(gradients[i]) for i in chosen])
    result = list(gradients)
    for index, value in zip(chosen, values, strict=True):
        result[index] = value
    return result
