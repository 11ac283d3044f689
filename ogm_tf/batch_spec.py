"""What `fit` will give a training step, known before it does."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def batch_spec(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Returns the `tf.TypeSpec`s of a replica's batch, structured as it will be.

    Args:
      x: As of `fit`.
      y: As of `fit`.
      sample_weight: As of `fit`.

    Returns:
      They, or None of what has neither labels nor an `element_spec` nor the shapes of arrays.
    """
    spec = getattr(x, "element_spec", None)
    if spec is None:
        arrays = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        if not all(isinstance(own, (np.ndarray, tf.Tensor)) for own in tf.nest.flatten(arrays)):
            return None
        spec = tf.nest.map_structure(
            lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), arrays
        )
    if not isinstance(spec, tuple) or len(spec) < 2:
        return None
    return tf.nest.map_structure(_of_a_replica, spec)


def _of_a_replica(spec: tf.TypeSpec) -> tf.TypeSpec:
    """Returns the first replica's part of what a distributed dataset has."""
    if issubclass(spec.value_type, tf.distribute.DistributedValues):
        return tf.nest.flatten(spec, expand_composites=True)[0]
    return spec
