"""Where in the picture the sound looks: the attention that all networks of events share."""

import keras
import tensorflow as tf

from ogm_tf.localization.parts import dense
from ogm_tf.representation.network import require_sizes


@keras.saving.register_keras_serializable(package="ogm_tf")
class AudioGuidedAttention(keras.layers.Layer):
    """Sums a picture's places by weights that the sound of the same segment gives them.

    Tian et al., "Audio-Visual Event Localization in Unconstrained Videos" (ECCV 2018). With the S =
    h * w places V and the sound a of one segment,

        e[i, j] = (W_v ReLU(U_v V_i))[j] + (W_g ReLU(U_a a))[i]
        alpha = softmax over the places i of (w_h . tanh(e[i]))
        context = sum_i alpha_i V_i

    Args:
      units: Width of the hidden vectors ReLU(...), >= 1. Default 512.
      glorot: Whether kernels are Glorot-uniform, or else as PyTorch draws them. Default True.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      inputs: The list of the sound `[B, T, D]` and the maps `[B, T, h, w, C]`.

    Returns:
      The contexts `[B, T, C]`.

    Raises:
      ValueError: where `units` is no integer >= 1, or the shapes do not fit.
    """

    def __init__(self, units: int = 512, glorot: bool = True, **kwargs):
        super().__init__(**kwargs)
        (self.units,) = require_sizes("attention_units", units, 1)
        self.glorot = bool(glorot)

    def build(self, input_shape):
        audio, visual = (tf.TensorShape(shape) for shape in input_shape)
        fits = audio.rank == 3 and visual.rank == 5
        if not fits or not visual[2:].is_fully_defined() or audio[-1] is None:
            raise ValueError(
                "AudioGuidedAttention takes [audio, visual] of shapes [B, T, D] and "
                f"[B, T, h, w, C]. Received: shapes {audio} and {visual}."
            )
        places = visual[2] * visual[3]
        self.affine_video = self._dense(visual[-1], self.units, "affine_video", activation="relu")
        self.affine_audio = self._dense(audio[-1], self.units, "affine_audio", activation="relu")
        self.affine_v = self._dense(self.units, places, "affine_v", use_bias=False)
        self.affine_g = self._dense(self.units, places, "affine_g", use_bias=False)
        self.affine_h = self._dense(places, 1, "affine_h", use_bias=False)
        super().build(input_shape)

    @property
    def visual_layers(self) -> list[keras.layers.Layer]:
        """The layers that read the picture, or the weights of its places."""
        return [self.affine_video, self.affine_v, self.affine_h]

    @property
    def audio_layers(self) -> list[keras.layers.Layer]:
        """The layers that read the sound, although what they do shapes the picture's context."""
        return [self.affine_audio, self.affine_g]

    def call(self, inputs):
        maps = inputs[1]
        weights, places = self._weights_and_places(inputs)
        contexts = tf.matmul(weights[:, tf.newaxis], places)
        return tf.reshape(contexts, [-1, *maps.shape[1:2], maps.shape[-1]])

    def attention_map(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the weights of the places: `[B, T, h, w]`, >= 0, of sum 1 over each map.

        Args:
          inputs: As of the layer.
        """
        weights, _ = self._weights_and_places(inputs)
        return tf.reshape(weights, tf.shape(inputs[1])[:-1])

    def get_config(self):
        return {**super().get_config(), "units": self.units, "glorot": self.glorot}

    def _weights_and_places(self, inputs: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the weights `[B * T, S]` and the places `[B * T, S, C]`."""
        audio, maps = inputs
        height, width, channels = maps.shape[2:]
        places = tf.reshape(maps, [-1, height * width, channels])
        sounds = tf.reshape(audio, [-1, audio.shape[-1]])
        energy = self.affine_v(self.affine_video(places))
        energy += self.affine_g(self.affine_audio(sounds))[..., tf.newaxis]
        scores = tf.squeeze(self.affine_h(tf.tanh(energy)), axis=-1)
        return tf.nn.softmax(scores), places

    def _dense(self, width: int, units: int, name: str, **kwargs) -> keras.layers.Dense:
        return dense(width, units, name, glorot=self.glorot, dtype=self.dtype_policy, **kwargs)
