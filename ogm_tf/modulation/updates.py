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
    per_variable,
    run_if,
    sum_over_replicas,
)
from ogm_tf.modulation.policies import OGM
from ogm_tf.modulation.skipping import are_finite, skips_by_itself


class Update(NamedTuple):
    """What an update came to, the same on every replica.

    Args:
      ratios: Of each modality, `[]`.
      coefficients: Of each modality, `[]`.
      finite: Whether the score of each modality was finite, then the loss, then the gradient of
        each trainable variable: bool `[modalities + 1 + variables]`. Where one was not, nothing was
        applied.
    """

    ratios: dict[str, tf.Tensor]
    coefficients: dict[str, tf.Tensor]
    finite: tf.Tensor


def update(
    batch: Contribution,
    branches: Mapping[str, Sequence[tf.Variable]],
    variables: Sequence[tf.Variable],
    optimizer: keras.optimizers.Optimizer,
    policy: OGM | None,
    epoch: tf.Tensor | tf.Variable,
) -> Update:
    """Modulates and applies what all replicas contribute, unless it is not finite.

    Args:
      batch: What this replica contributes; its scores in the order of `branches`.
      branches: Each modality's trainable variables.
      variables: All trainable variables, in the order of the batch's gradients.
      optimizer: Of the variables.
      policy: How to modulate; None: not at all.
      epoch: That runs, for the policy's window.
    """
    # One vector costs one collective, whatever the number of modalities.
    totals = tf.concat([batch.scores, [tf.cast(batch.loss, tf.float32)]], axis=0)
    *scores, loss = tf.unstack(sum_over_replicas([totals])[0])
    ratios = discrepancy_ratios(dict(zip(branches, scores, strict=True)))
    coefficients = {name: tf.ones([]) for name in ratios}
    if policy is not None:
        active = policy.is_active(epoch)
        for name, value in policy.coefficients(ratios).items():
            # A frozen modality has nothing to damp.
            if branches[name]:
                coefficients[name] = tf.where(active, value, 1.0)
    # In the order in which what is not finite spreads: the first is what went bad.
    causes = [*scores, loss]
    finite = modulate_and_apply(
        batch, causes, coefficients, branches, variables, optimizer, policy, epoch
    )
    return Update(ratios, coefficients, finite)


def modulate_and_apply(
    batch: Contribution,
    causes: Sequence[tf.Tensor],
    coefficients: Mapping[str, tf.Tensor],
    branches: Mapping[str, Sequence[tf.Variable]],
    variables: Sequence[tf.Variable],
    optimizer: keras.optimizers.Optimizer,
    policy: OGM | None,
    epoch: tf.Tensor | tf.Variable,
) -> tf.Tensor:
    """Sums the gradients over replicas, modulates them, and applies them if they are finite.

    Args:
      batch: What this replica contributes.
      causes: Of all replicas, what must be finite besides the gradients, such as the loss.
      coefficients: Of each branch, `[]`.
      branches: As in `update`.
      variables: As in `update`.
      optimizer: As in `update`.
      policy: As in `update`.
      epoch: As in `update`.

    Returns:
      Whether each of the causes was finite, then the gradient of each variable: bool `[K]`.
    """
    summed = sum_over_replicas([*batch.gradients, *batch.penalties])
    gradients, penalties = summed[: len(variables)], summed[len(variables) :]
    finite = are_finite([*causes, *gradients])
    all_finite = tf.reduce_all(finite)
    if policy is not None:
        gradients = modulate_gradients(
            policy,
            gradients,
            penalties,
            per_variable(coefficients, branches, variables, policy.accepts),
            step=optimizer.iterations,
            active=policy.is_active(epoch),
        )
    if skips_by_itself(optimizer):
        # It looks at the gradients alone.
        factor = tf.where(all_finite, 1.0, math.nan)
        gradients = [
            None
            if gradient is None
            else tf.convert_to_tensor(gradient) * tf.cast(factor, gradient.dtype)
            for gradient in gradients
        ]
        apply_gradients(optimizer, gradients, variables)
    else:
        run_if(all_finite, lambda: apply_gradients(optimizer, gradients, variables))
    return finite
