"""Positive sample propagation: segments exchange what sounds and pictures agree on."""

import math
import numbers

import keras
import tensorflow as tf

from ogm_tf.layers import Dropout
from ogm_tf.localization.parts import dense
from ogm_tf.representation.parts import built


@keras.saving.register_keras_serializable(package="ogm_tf")
class PositiveSamplePropagation(keras.layers.Layer):
    """Adds to each segment what the other modality has in the segments that fit best.

    Zhou et al., "Positive Sample Propagation along the Audio-Visual Event Line" (CVPR 2021). With
    L(x) = dropout(ReLU(linear map of x)), one for each use, and features a, v `[T, D]`,

        beta = ReLU(L_v2(v) L_a1(a)^T / sqrt(D)),  segments of the picture by those of the sound
        gamma_va = rows of beta, gamma_av = rows of beta^T: normalised, cut off at the threshold
        v + gamma_va L_a2(a),  a + gamma_av L_v1(v)

    Fully supervised, rows are normalised once more after the cut, and each modality goes through
    one more L. A layer normalisation shared by both comes last.

    Args:
      threshold: Connections up to it are cut, >= 0. Of T segments, even ones have 1 / T each.
      weakly_supervised: Whether to leave out the second normalisation and the last L.
      dropout_rate: In [0, 1). Default 0.1.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      features: The list of the audio and the visual feature, each `[B, T, D]`.
      training: Whether to drop.

    Returns:
      The list of both, `[B, T, D]` each.

    Raises:
      ValueError: where `threshold` or `dropout_rate` is out of its range, or the widths differ.
    """

    def __init__(
        self,
        threshold: float,
        weakly_supervised: bool = False,
        dropout_rate: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(threshold, numbers.Real) or not threshold >= 0:
            raise ValueError(f"`threshold` must be >= 0. Received: threshold={threshold!r}.")
        self.threshold = float(threshold)
        self.weakly_supervised = bool(weakly_supervised)
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        audio, visual = (shape[-1] for shape in input_shape)
        if audio != visual:
            raise ValueError(
                "Features that propagate must have the same width. "
                f"Received: widths {audio} and {visual}."
            )
        names = ["v_L1", "v_L2", "a_L1", "a_L2"]
        if not self.weakly_supervised:
            names += ["v_fc", "a_fc"]
        options = {"use_bias": False, "glorot": True, "activation": "relu"}
        self.maps = {
            name: dense(audio, audio, name, dtype=self.dtype_policy, **options) for name in names
        }
        shape = tf.TensorShape(input_shape[0])
        self.dropouts = {
            name: built(
                Dropout(self.dropout_rate, name=f"{name}_dropout", dtype=self.dtype_policy), shape
            )
            for name in names
        }
        self.norm = built(
            keras.layers.LayerNormalization(epsilon=1e-6, name="norm", dtype=self.dtype_policy),
            [None, None, audio],
        )
        super().build(input_shape)

    def call(self, features, training=None):
        audio, visual = features

        def mapped(name, x):
            return self.dropouts[name](self.maps[name](x), training=training)

        to_visual, to_audio = self._connections(mapped("v_L2", visual), mapped("a_L1", audio))
        visual_values, audio_values = mapped("v_L1", visual), mapped("a_L2", audio)
        visual += tf.matmul(to_visual, audio_values)
        audio += tf.matmul(to_audio, visual_values)
        if not self.weakly_supervised:
            visual, audio = mapped("v_fc", visual), mapped("a_fc", audio)
        return [self.norm(audio), self.norm(visual)]

    def connections(self, features: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns how much each segment takes of each of the other modality, without dropout.

        Args:
          features: As of the layer.

        Returns:
          gamma_va, segments of the picture by those of the sound, and gamma_av, of the sound by
          those of the picture: `[B, T, T]` each, >= 0.
        """
        audio, visual = features
        return self._connections(self.maps["v_L2"](visual), self.maps["a_L1"](audio))

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "weakly_supervised": self.weakly_supervised,
            "dropout_rate": self.dropout_rate,
        }

    def _connections(self, visual: tf.Tensor, audio: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        affinity = tf.matmul(visual, audio, transpose_b=True) / math.sqrt(audio.shape[-1])
        # A sum of 10 halves would drown 1e-8.
        affinity = tf.nn.relu(tf.cast(affinity, tf.as_dtype(self.variable_dtype)))
        transposed = tf.transpose(affinity, [0, 2, 1])
        return tuple(self._cut(rows, audio.dtype) for rows in (affinity, transposed))

    def _cut(self, affinity: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        shares = _normalised(affinity)
        kept = tf.where(shares > self.threshold, shares, tf.zeros_like(shares))
        return tf.cast(kept if self.weakly_supervised else _normalised(kept), dtype)


def _normalised(rows: tf.Tensor) -> tf.Tensor:
    """Returns rows of sum 1, or of zeros."""
    return rows / (tf.reduce_sum(rows, axis=-1, keepdims=True) + 1e-8)
