"""The update of a whole batch: what all replicas contribute, modulated and applied once."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from ogm_tf.modulation.discrepancy import discrepancy_ratios
from ogm_tf.modulation.gradients import (
    Contribution,
    apply_gradients,
    modulate_gradients,
    owner_of_each,
    run_if,
    scaled,
    sum_of,
    sum_over_replicas,
)
from ogm_tf.modulation.interface import Modulation
from ogm_tf.modulation.skipping import are_finite, skips_by_itself


class Update(NamedTuple):
    """What an update came to, the same on every replica.

    Args:
      ratios: Of each modality, `[]`.
      coefficients: Of each modality, `[]`.
      finite: Whether the score of each modality was finite, then the loss, then what the method
        makes of a batch, then the gradient of each trainable variable: bool `[modalities + 2 +
        variables]`. Where one was not, nothing was applied.
    """

    ratios: dict[str, tf.Tensor]
    coefficients: dict[str, tf.Tensor]
    finite: tf.Tensor


def update(
    batch: Contribution,
    branches: Mapping[str, Sequence[tf.Variable]],
    variables: Sequence[tf.Variable],
    optimizer: keras.optimizers.Optimizer,
    method: Modulation | None,
    epoch: tf.Tensor | tf.Variable,
) -> Update:
    """Modulates and applies what all replicas contribute, unless it is not finite.

    Args:
      batch: What this replica contributes; its scores in the order of `branches`.
      branches: Each modality's trainable variables.
      variables: All trainable variables, in the order of the batch's gradients.
      optimizer: Of the variables.
      method: How to balance; None: not at all.
      epoch: That runs, for the method's window.
    """
    # One vector costs one collective, whatever the number of modalities.
    totals = tf.concat([batch.scores, [tf.cast(batch.loss, tf.float32)], batch.statistics], axis=0)
    totals = sum_over_replicas([totals])[0]
    num_scores = len(branches)
    *scores, loss = tf.unstack(totals[: num_scores + 1])
    statistics = totals[num_scores + 1 :]
    by_name = dict(zip(branches, scores, strict=True))
    ratios = discrepancy_ratios(by_name) if method is None else method.ratios(by_name, statistics)
    coefficients = {name: tf.ones([]) for name in ratios}
    if method is not None:
        active = method.is_active(epoch)
        for name, value in method.coefficients(ratios).items():
            # A frozen modality has nothing to damp.
            if branches[name]:
                coefficients[name] = tf.where(active, value, 1.0)
    is_known = tf.math.is_finite(tf.reduce_sum(statistics))
    of_method = tf.add_n(list(coefficients.values()))
    if method is not None:
        # Outside of its window a method stops no training, though it may learn nothing of a step.
        of_method = tf.where(tf.logical_and(active, ~is_known), math.nan, of_method)
    # In the order in which what is not finite spreads: the first is what went bad.
    causes = [*scores, loss, of_method]
    finite = modulate_and_apply(
        batch, causes, coefficients, branches, variables, optimizer, method, epoch
    )
    if method is not None:
        method.update_state(by_name, statistics, tf.reduce_all(finite) & is_known)
    return Update(ratios, coefficients, finite)


def modulate_and_apply(
    batch: Contribution,
    causes: Sequence[tf.Tensor],
    coefficients: Mapping[str, tf.Tensor],
    branches: Mapping[str, Sequence[tf.Variable]],
    variables: Sequence[tf.Variable],
    optimizer: keras.optimizers.Optimizer,
    method: Modulation | None,
    epoch: tf.Tensor | tf.Variable,
) -> tf.Tensor:
    """Sums the gradients over replicas, modulates them, and applies them if they are finite.

    Args:
      batch: What this replica contributes.
      causes: Of all replicas, what must be finite besides the gradients, such as the loss; the
        last of them is what the method makes of the batch.
      coefficients: Of each branch, `[]`.
      branches: As in `update`.
      variables: As in `update`.
      optimizer: As in `update`.
      method: As in `update`.
      epoch: As in `update`.

    Returns:
      Whether each of the causes was finite, then the gradient of each variable: bool `[K]`. What
      becomes infinite when it is modulated is what the method makes of the batch.
    """
    summed = sum_over_replicas([*batch.gradients, *batch.penalties, *batch.added])
    count = len(variables)
    gradients, penalties, added = summed[:count], summed[count : 2 * count], summed[2 * count :]
    whole = list(map(sum_of, gradients, added)) if added else gradients
    finite = are_finite([*causes, *whole])
    if method is not None and method.acts_on_gradients:
        owners = owner_of_each(branches, variables, method.accepts)
        gradients = modulate_gradients(
            method,
            gradients,
            penalties,
            coefficients,
            owners,
            added,
            step=optimizer.iterations,
            active=method.is_active(epoch),
        )
        made = [gradient for gradient, owner in zip(gradients, owners, strict=True) if owner]
        is_method = tf.range(len(causes) + count) == len(causes) - 1
        finite &= tf.reduce_all(are_finite(made)) | ~tf.reduce_all(finite) | ~is_method
    all_finite = tf.reduce_all(finite)
    if skips_by_itself(optimizer):
        # It looks at the gradients alone.
        factor = tf.where(all_finite, 1.0, math.nan)
        gradients = [scaled(gradient, factor) for gradient in gradients]
        apply_gradients(optimizer, gradients, variables)
    else:
        run_if(all_finite, lambda: apply_gradients(optimizer, gradients, variables))
    return finite
