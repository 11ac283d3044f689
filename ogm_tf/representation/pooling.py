"""From an audio encoder's output to one vector a clip, for classifiers of other sounds."""

import keras
import tensorflow as tf

# Name of the layer whose output describes a sound best; without one, it is the encoder's output.
EMBEDDING_LAYER = "embedding_features"


def pooled(features: tf.Tensor) -> tf.Tensor:
    """Returns one vector a row: the mean and then the maximum over all places.

    Args:
      features: `[B, ..., C]`, e.g. `[B, F, T, C]` of a spectrogram's map.

    Returns:
      `[B, 2 * C]`; vectors `[B, C]` come back as they are.

    Raises:
      ValueError: where the features have no channels, i.e. a rank below 2.
    """
    features = tf.convert_to_tensor(features)
    if features.shape.rank is None or features.shape.rank < 2:
        raise ValueError(f"`features` must be [B, ..., C]. Received: shape {features.shape}.")
    axes = list(range(1, features.shape.rank - 1))
    if not axes:
        return features
    return tf.concat([tf.reduce_mean(features, axes), tf.reduce_max(features, axes)], axis=-1)


@keras.saving.register_keras_serializable(package="ogm_tf")
class Pooled(keras.layers.Layer):
    """`pooled` as a layer: `[B, ..., C]` to `[B, 2 * C]`."""

    def call(self, features):
        return pooled(features)


def feature_model(encoder: keras.Model) -> keras.Model:
    """Returns the encoder up to the features that describe a sound best, sharing its weights.

    Args:
      encoder: An audio encoder. The features are the output of its layer "embedding_features",
        where it has one (AVSA), else its own output.

    Returns:
      A model of the encoder's inputs.
    """
    if any(layer.name == EMBEDDING_LAYER for layer in encoder.layers):
        return keras.Model(encoder.inputs, encoder.get_layer(EMBEDDING_LAYER).output)
    return encoder


def embedding_model(encoder: keras.Model) -> keras.Model:
    """Returns `[B, ...] -> [B, D]`: the pooled features of an audio encoder, sharing its weights.

    Args:
      encoder: As of `feature_model`.
    """
    features = feature_model(encoder)
    return keras.Model(features.inputs, Pooled(name="pooled")(features.output), name="embedding")
