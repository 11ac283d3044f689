"""AVCA's fusion: each modality looks at the other where, and when, it sounds or moves."""

import math

import keras
import tensorflow as tf

from ogm_tf.representation.network import require_features, require_sizes
from ogm_tf.representation.parts import built, logits_dtype, penalty

MODES = ("a2v", "v2a", "both")


@keras.saving.register_keras_serializable(package="ogm_tf")
class AVCAFusion(keras.layers.Layer):
    """Co-attention over a common time axis, and the head that judges each step.

    The paper (arXiv 2008.05789) says that co-attention modules let sound and picture interact, and
    gives no layers; this is our design. At each time t, with V[t, s] the vector at place s of the
    frame, A[t, f] that of the frequency band f, and v[t], a[t] their means:

        w[t, s] = softmax over s of (Wq a[t]) . (Wk V[t, s]) / sqrt(d)           (sound to picture)
        v'[t] = LayerNorm(P v[t] + b + sum over s of w[t, s] Wu V[t, s])

    and a'[t] likewise with the roles swapped, over the bands (picture to sound). [v'; a'] goes
    through two dense layers with ReLU, the mean over time, and a linear map to the logits.

    Args:
      units: Width d of queries, keys and values, >= 1.
      head_units: Width of both hidden layers, >= 1.
      mode: Which attention there is: "a2v" (sound to picture), "v2a" (picture to sound) or "both".
        Without its sum, v' or a' is the LayerNorm of the mean's projection.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      features: The list of the sound `[P, f, T, C]` and the frames `[P, T, h, w, C]`.

    Returns:
      Logits `[P, 2]`: shifted, in step.

    Raises:
      ValueError: where an argument is out of its range, or the features do not fit each other.
    """

    mixes_rows = False

    def __init__(
        self,
        units: int = 256,
        head_units: int = 256,
        mode: str = "both",
        l2: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {', '.join(MODES)}. Received: mode={mode!r}.")
        (self.units,) = require_sizes("attention_units", units, 1)
        (self.head_units,) = require_sizes("head_units", head_units, 1)
        self.mode = mode
        self.l2 = float(l2)

    def build(self, input_shape):
        form = "[P, f, T, C] and [P, T, h, w, C]"
        audio, visual = require_features(self, input_shape, (4, 5), form)
        if audio[2] != visual[1]:
            raise ValueError(
                f"AVCAFusion takes features of shapes {form}. "
                f"Received: features of shapes {audio} and {visual}."
            )
        widths = {"audio": audio[-1], "visual": visual[-1]}
        self.visual = self._attended("visual", "audio", "a2v", widths)
        self.audio = self._attended("audio", "visual", "v2a", widths)
        self.hidden1 = self._dense(2 * self.units, self.head_units, "hidden1", activation="relu")
        self.hidden2 = self._dense(self.head_units, self.head_units, "hidden2", activation="relu")
        self.logits = self._dense(self.head_units, 2, "logits", dtype=logits_dtype())
        super().build(input_shape)

    def call(self, features):
        bands, places = _by_step(features)
        attended = [
            self.visual([tf.reduce_mean(bands, axis=2), places]),
            self.audio([tf.reduce_mean(places, axis=2), bands]),
        ]
        steps = self.hidden2(self.hidden1(tf.concat(attended, axis=-1)))
        return self.logits(tf.reduce_mean(steps, axis=1))

    def attention_map(self, features: list[tf.Tensor]) -> tf.Tensor:
        """Returns where in the frames the sound looks: the weights w[t, s].

        They, too, are of our design: the paper, which shows such maps, gives no layers.

        Args:
          features: As of the layer.

        Returns:
          `[P, T, h, w]`, >= 0, of sum 1 over each frame.

        Raises:
          ValueError: where `mode` is "v2a", which has no such weights.
        """
        self._require_attention("v2a", "the frames")
        bands, places = _by_step(features)
        weights = self.visual.weigh([tf.reduce_mean(bands, axis=2), places])
        return tf.reshape(weights, tf.shape(features[1])[:-1])

    def band_map(self, features: list[tf.Tensor]) -> tf.Tensor:
        """Returns which frequency bands the picture listens to.

        Args:
          features: As of the layer.

        Returns:
          `[P, T, f]`, >= 0, of sum 1 over the bands.

        Raises:
          ValueError: where `mode` is "a2v", which has no such weights.
        """
        self._require_attention("a2v", "the bands")
        bands, places = _by_step(features)
        return self.audio.weigh([tf.reduce_mean(places, axis=2), bands])

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "head_units": self.head_units,
            "mode": self.mode,
            "l2": self.l2,
        }

    def _attended(self, own: str, asking: str, mode: str, widths: dict[str, int]) -> "_Attended":
        layer = _Attended(self.units, self.l2, is_attended=self.mode in (mode, "both"), name=own)
        return built(layer, [[None, None, widths[asking]], [None, None, None, widths[own]]])

    def _dense(self, width: int, units: int, name: str, **kwargs) -> keras.layers.Dense:
        layer = keras.layers.Dense(units, kernel_regularizer=penalty(self.l2), name=name, **kwargs)
        return built(layer, [None, width])

    def _require_attention(self, without: str, what: str) -> None:
        if self.mode == without:
            others = " or ".join(repr(mode) for mode in MODES if mode != without)
            raise ValueError(
                f"Weights over {what} need the mode {others}. Received: mode={self.mode!r}."
            )


class _Attended(keras.layers.Layer):
    """One modality's vector per time step: its mean, and what the other's mean looks at.

    Call arguments:
      inputs: The list of the other's mean `[P, T, D]` and its own vectors `[P, T, S, C]`.
    """

    def __init__(self, units: int, l2: float, is_attended: bool, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.is_attended = is_attended
        self.l2 = l2

    def build(self, input_shape):
        asking, own = input_shape
        self.projection = self._dense(own[-1], "projection", use_bias=True)
        norm = keras.layers.LayerNormalization(name="norm")
        self.norm = built(norm, [None, None, self.units])
        if self.is_attended:
            self.query = self._dense(asking[-1], "query")
            self.key = self._dense(own[-1], "key")
            self.value = self._dense(own[-1], "value")
        super().build(input_shape)

    def call(self, inputs):
        own = inputs[1]
        x = self.projection(tf.reduce_mean(own, axis=2))
        if self.is_attended:
            # The value is linear: of the sum rather than of each summand.
            x += self.value(tf.einsum("pts,ptsc->ptc", self.weigh(inputs), own))
        return self.norm(x)

    def weigh(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the weights of the own vectors, `[P, T, S]`."""
        asking, own = inputs
        scores = tf.einsum("ptd,ptsd->pts", self.query(asking), self.key(own))
        return tf.nn.softmax(scores / math.sqrt(self.units))

    def _dense(self, width: int, name: str, use_bias: bool = False) -> keras.layers.Dense:
        layer = keras.layers.Dense(
            self.units, use_bias=use_bias, kernel_regularizer=penalty(self.l2), name=name
        )
        return built(layer, [None, width])


def _by_step(features: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the bands `[P, T, f, C]` and the places `[P, T, h * w, C]`."""
    audio, visual = features
    steps, height, width, channels = visual.shape[1:]
    places = tf.reshape(visual, [-1, steps, height * width, channels])
    return tf.transpose(audio, [0, 2, 1, 3]), places
