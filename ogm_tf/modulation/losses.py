"""The losses of a training step."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Losses(NamedTuple):
    """The losses of one replica's batch.

    Args:
      total: What the model was compiled with, with regularisation, `[]`; and what a method adds,
        unless it wants its gradients apart.
      regularization: The part of it that comes from regularisation, or None.
      added: What a method adds that wants its gradients apart, or None.
    """

    total: tf.Tensor
    regularization: tf.Tensor | None
    added: tf.Tensor | None


def share_of_loss(
    compiled_loss: Any, labels: Any, logits: tf.Tensor, sample_weight: tf.Tensor | None
) -> tf.Tensor:
    """Returns a replica's share of a model's loss of other logits than the model's own, `[]`.

    Shares add up to the loss of the global batch, as those that Keras computes do, and have the
    weight that `loss_weights` gives it.

    Args:
      compiled_loss: Of the model, which has computed its own loss with it.
      labels: As given to `fit`.
      logits: `[..., C]`.
      sample_weight: As given to `fit`, or None.

    Raises:
      ValueError: where the model was not compiled with one loss.
    """
    value, is_mean = _of_rows(compiled_loss, labels, logits, sample_weight)
    return value / tf.distribute.get_strategy().num_replicas_in_sync if is_mean else value


def sum_of_loss(
    compiled_loss: Any, labels: Any, logits: tf.Tensor, sample_weight: tf.Tensor | None
) -> tf.Tensor:
    """Returns the sum of a model's loss over this replica's rows, `[]`.

    Those of batches of any sizes add up, whatever the reduction of the loss.

    Args:
      compiled_loss: As of `share_of_loss`.
      labels: As of `share_of_loss`.
      logits: As of `share_of_loss`.
      sample_weight: As of `share_of_loss`.

    Raises:
      ValueError: as of `share_of_loss`.
    """
    value, is_mean = _of_rows(compiled_loss, labels, logits, sample_weight)
    return value * tf.cast(tf.shape(logits)[0], value.dtype) if is_mean else value


def _of_rows(
    compiled_loss: Any, labels: Any, logits: tf.Tensor, sample_weight: tf.Tensor | None
) -> tuple[tf.Tensor, bool]:
    """Returns the loss of this replica's rows, and whether it is a mean over them or a sum."""
    if hasattr(compiled_loss, "_losses") and not compiled_loss.built:
        compiled_loss.build(logits)
    losses = tf.nest.flatten(getattr(compiled_loss, "_losses", None))
    if len(losses) != 1 or not isinstance(losses[0], keras.losses.Loss):
        raise ValueError(
            "A method that adds losses of each modality needs a model that was compiled with one "
            f"loss. Received: {losses}."
        )
    (loss,) = losses
    value = loss(labels, logits, sample_weight)
    (weight,) = tf.nest.flatten(getattr(compiled_loss, "_loss_weights", None))
    if weight is not None:
        value *= tf.cast(weight, value.dtype)
    return value, loss.reduction != keras.losses.Reduction.SUM
