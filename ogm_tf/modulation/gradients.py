"""The gradients of one step: computed, summed over replicas, modulated and applied."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from ogm_tf.modulation.branches import VariableFilter, modulated_names
from ogm_tf.modulation.interface import Gradient, Modulation


class Contribution(NamedTuple):
    """What one replica's batch contributes to an update.

    Args:
      scores: Of the modalities, `[M]`.
      loss: Its share of the total loss, `[]`.
      gradients: Of the total loss, one a trainable variable; None where there is none.
      penalties: The part of them that comes from regularisation and is never modulated, or Nones.
      statistics: Of the method, beside the scores, `[K]`.
      added: Gradients of what the method adds to the loss, where it wants them apart from those
        above; or else none at all.
    """

    scores: tf.Tensor
    loss: tf.Tensor
    gradients: Sequence[Gradient]
    penalties: Sequence[Gradient]
    statistics: tf.Tensor
    added: Sequence[Gradient] = ()


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


def compute_scaled_gradients(
    optimizer: keras.optimizers.Optimizer,
    loss: tf.Tensor,
    regularization: tf.Tensor | None,
    logits: tf.Tensor,
    coefficients: tf.Tensor,
    variables: Sequence[tf.Variable],
    tape: tf.GradientTape,
) -> list[Gradient]:
    """Returns sum_i k_i * gradient of the data's loss of row i, whatever lies behind the logits.

    What leads to the logits may mix the rows, as batch normalisation does: it is at the logits that
    each row is still by itself.

    Args:
      optimizer: Scales the loss, or not.
      loss: A sum of terms of one row of the logits each, and of regularisation.
      regularization: The part of it that may depend on the logits otherwise, and is left out.
      logits: `[B, C]`.
      coefficients: Of each row k_i, `[B]`.
      variables: To differentiate by.
      tape: Persistent, of all of these.
    """
    is_scaled = hasattr(optimizer, "get_scaled_loss")
    with tape:
        if regularization is not None:
            loss -= tf.cast(regularization, loss.dtype)
        if is_scaled:
            loss = optimizer.get_scaled_loss(loss)
    upstream = tape.gradient(loss, logits)
    upstream *= tf.cast(coefficients, upstream.dtype)[:, tf.newaxis]
    gradients = tape.gradient(logits, variables, output_gradients=upstream)
    return optimizer.get_unscaled_gradients(gradients) if is_scaled else gradients


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


def run_if(condition: tf.Tensor, function: Callable[[], None]) -> None:
    """Runs a function in replica context where a condition holds, the same one on every replica.

    Args:
      condition: bool `[]`.
      function: May contain collectives and optimiser updates, which no branch of a `tf.cond` on a
        replica may: so the branch is taken once, around all replicas.
    """

    def branch(run):
        def taken():
            run()
            return tf.constant(0)

        return taken

    # Even a strategy of a single replica merges.
    if not tf.distribute.has_strategy():
        tf.cond(condition, branch(function), lambda: tf.constant(0))
        return

    def merged(strategy, conditions, functions):
        condition = strategy.experimental_local_results(conditions)[0]

        def run():
            strategy.run(lambda function: function(), args=(functions,))

        tf.cond(condition, branch(run), lambda: tf.constant(0))

    tf.distribute.get_replica_context().merge_call(merged, args=(condition, function))


def modulate_gradients(
    method: Modulation,
    gradients: Sequence[Gradient],
    penalties: Sequence[Gradient],
    coefficients: Mapping[str, tf.Tensor],
    owners: Sequence[str | None],
    added: Sequence[Gradient] = (),
    *,
    step: tf.Tensor | tf.Variable,
    active: tf.Tensor,
) -> list[Gradient]:
    """Returns the gradients to apply: modulated where the method is on.

    Args:
      method: Scales a list of gradients, adds its noise, or mixes them.
      gradients: Of the total loss, summed over replicas, one a variable.
      penalties: The part of them that comes from regularisation and is not modulated, or Nones.
      coefficients: Of each modality, `[]`.
      owners: Of every variable the modality it belongs to, or None where it is not modulated.
      added: Where the method wants them apart, gradients of what it adds to the loss; or none.
      step: The optimiser's count of steps, which the noise is drawn from.
      active: Whether the epoch lies in the method's window, bool `[]`.
    """
    added = added or [None] * len(gradients)
    # A branch of `tf.cond` holds no None and no sparse gradient, so the rest stays outside.
    chosen = [i for i, name in enumerate(owners) if name is not None and gradients[i] is not None]
    result = [sum_of(own, other) for own, other in zip(gradients, added, strict=True)]
    for index in chosen:
        result[index] = tf.convert_to_tensor(result[index])

    def modulated():
        data = list(gradients)
        for index in chosen:
            data[index] = tf.convert_to_tensor(data[index])
            if penalties[index] is not None:
                data[index] -= penalties[index]
        factors = [None if name is None else coefficients[name] for name in owners]
        data = method.modulate(data, factors, step, owners, added)
        return [data[i] if penalties[i] is None else data[i] + penalties[i] for i in chosen]

    values = tf.cond(active, modulated, lambda: [tf.identity(result[i]) for i in chosen])
    for index, value in zip(chosen, values, strict=True):
        result[index] = value
    return result


def owner_of_each(
    branches: Mapping[str, Sequence[tf.Variable]],
    variables: Sequence[tf.Variable],
    accepts: VariableFilter,
) -> list[str | None]:
    """Returns the modality of every variable, or None where it is not modulated.

    Args:
      branches: Each modality's trainable variables.
      variables: All trainable variables.
      accepts: Which variables of a branch are modulated.

    Raises:
      ValueError: where branches overlap, or the filter accepts nothing of a branch.
    """
    owners = modulated_names(branches, accepts)
    return [owners.get(id(variable)) for variable in variables]


def scaled(gradient: Gradient, factor: tf.Tensor) -> Gradient:
    """Returns a gradient, sparse where it is, times a factor `[]`; of None, None."""
    if gradient is None:
        return None
    factor = tf.cast(factor, gradient.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def sum_of(one: Gradient, other: Gradient) -> Gradient:
    """Returns the sum of two gradients, of which either may be None."""
    if one is None or other is None:
        return other if one is None else one
    return tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
