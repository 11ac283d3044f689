"""Starting a training from the weights of another."""

import tensorflow as tf
from absl import logging

from ogm_tf.model import OGMModel


def copy_weights(source: OGMModel, target: OGMModel) -> None:
    """Copies the encoders, and of the fusion head what fits, from one model to another.

    What does not fit of the head, for another number of classes, stays as it is, and is logged.

    Args:
      source: A built model; its optimiser does not count.
      target: A built model of the same encoders.

    Raises:
      ValueError: where an encoder does not fit; nothing has been copied then.
    """
    pairs = []
    for name, encoder in target.encoders.items():
        if name not in source.encoders:
            raise ValueError(
                f"Weights must come from a model that has the encoder {name!r}. "
                f"Received: encoders {', '.join(source.encoders)}."
            )
        expected, received = encoder.weights, source.encoders[name].weights
        for ours, theirs in zip(expected, received, strict=False):
            if ours.shape != theirs.shape:
                raise ValueError(
                    f"Weights of the encoder {name!r} must fit; the first that does not is "
                    f"{ours.name!r} of shape {ours.shape}. Received: {theirs.name!r} of shape "
                    f"{theirs.shape}."
                )
        if len(expected) != len(received):
            raise ValueError(
                f"Weights of the encoder {name!r} must fit: {len(expected)} variables. "
                f"Received: {len(received)} variables."
            )
        # Not where random layers stand in their streams.
        pairs += [
            pair for pair in zip(expected, received, strict=True) if pair[0].dtype.is_floating
        ]
    fresh = []
    heads = target.fusion.weights, source.fusion.weights
    if type(target.fusion) is not type(source.fusion) or len(heads[0]) != len(heads[1]):
        fresh = list(heads[0])
    else:
        for ours, theirs in zip(*heads, strict=True):
            if ours.shape == theirs.shape:
                pairs.append((ours, theirs))
            else:
                fresh.append(ours)
    for ours, theirs in pairs:
        ours.assign(tf.convert_to_tensor(theirs))
    if fresh:
        names = ", ".join(f"{variable.name} {tuple(variable.shape)}" for variable in fresh)
        logging.warning("The weights have nothing that fits these, which start afresh: %s", names)
