"""Heads: two features a segment in, its logits and each modality's own logits out."""

import keras
import tensorflow as tf

from ogm_tf.localization.parts import dense

COMBINATIONS = ("concat", "mean")
Logits = tuple[tf.Tensor, list[tf.Tensor]]


@keras.saving.register_keras_serializable(package="ogm_tf")
class SplitHead(keras.layers.Layer):
    """Two linear maps with a ReLU between, split into what each modality contributes.

        logits = W ReLU(U x + c) + b,  U x = U_a x_a + U_v x_v

    where x is the concatenation of two features, or their mean, so that x_a and x_v are halves of
    them that share U. By `score_mode` a modality m gets

        "masked": W (D * (U_m x_m + c / 2)) + b / 2, D = 1 where U x + c > 0, else 0; the logits of
                  both modalities add up to the fused ones
        "zero":   W ReLU(U_m x_m + c) + b, as if the other feature were 0

    of which the latter is the OGM-GE authors' advice (issue 21 of GeWu-Lab/OGM-GE_CVPR2022).

    Args:
      num_classes: Number of classes C, >= 2.
      units: Width of the hidden vector, >= 1.
      combine: "concat", whose features go through a ReLU first, or "mean".
      use_bias: Whether there are c and b. Default True.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      features: The list of the audio and the visual feature, each `[B, T, D]`.
      score_mode: "masked" or "zero". Default "masked".

    Returns:
      The logits `[B, T, C]`, and the list of each modality's.

    Raises:
      ValueError: where `combine` is unknown.
    """

    def __init__(self, num_classes: int, units: int, combine: str, use_bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        if combine not in COMBINATIONS:
            raise ValueError(
                f"`combine` must be one of {', '.join(COMBINATIONS)}. Received: {combine=}."
            )
        self.num_classes = num_classes
        self.units = units
        self.combine = combine
        self.use_bias = bool(use_bias)

    def build(self, input_shape):
        audio, visual = (shape[-1] for shape in input_shape)
        width = audio + visual if self.combine == "concat" else audio
        options = {"use_bias": self.use_bias, "glorot": True, "dtype": self.dtype_policy}
        self.hidden = dense(width, self.units, "hidden", **options)
        self.output_map = dense(self.units, self.num_classes, "output", **options)
        super().build(input_shape)

    def call(self, features, score_mode="masked"):
        shares = self._shares(features)
        bias = self.hidden.bias if self.use_bias else tf.zeros([], shares[0].dtype)
        hidden = tf.add_n(shares) + bias
        logits = self.output_map(tf.nn.relu(hidden))
        if score_mode == "zero":
            return logits, [self.output_map(tf.nn.relu(share + bias)) for share in shares]
        mask = tf.cast(hidden > 0, hidden.dtype)
        parts = [self.output_map(mask * (share + bias / 2)) for share in shares]
        if self.use_bias:
            parts = [part - self.output_map.bias / 2 for part in parts]
        return logits, parts

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "units": self.units,
            "combine": self.combine,
            "use_bias": self.use_bias,
        }

    def _shares(self, features: list[tf.Tensor]) -> list[tf.Tensor]:
        kernel = self.hidden.kernel
        if self.combine == "mean":
            return [tf.tensordot(feature / 2, kernel, 1) for feature in features]
        rows = tf.split(kernel, [feature.shape[-1] for feature in features])
        return [
            tf.tensordot(tf.nn.relu(feature), own, 1)
            for feature, own in zip(features, rows, strict=True)
        ]


@keras.saving.register_keras_serializable(package="ogm_tf")
class ResidualHead(keras.layers.Layer):
    """The dual multimodal residual block of DMRN, and a linear map.

        m = (U_v(h_v) + U_a(h_a)) / 2,  U(x) = linear map of tanh of linear map of x
        logits = W (tanh(h_a + m) + tanh(h_v + m)) / 2 + b

    Tian et al. (ECCV 2018). A modality's own logits are the block's with the other feature 0, of
    which U makes constants: there is no split that adds up.

    Args:
      num_classes: Number of classes C, >= 2.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      features: The list of the audio and the visual feature, each `[B, T, D]`.
      score_mode: "zero".

    Returns:
      The logits `[B, T, C]`, and the list of each modality's.
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, input_shape):
        width = input_shape[0][-1]
        self.update_audio = self._update(width, "audio")
        self.update_visual = self._update(width, "visual")
        self.output_map = dense(
            width, self.num_classes, "output", glorot=True, dtype=self.dtype_policy
        )
        super().build(input_shape)

    def call(self, features, score_mode="zero"):
        audio, visual = features
        logits = self._fuse(audio, visual)
        parts = [
            self._fuse(audio, tf.zeros_like(visual)),
            self._fuse(tf.zeros_like(audio), visual),
        ]
        return logits, parts

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}

    def _fuse(self, audio: tf.Tensor, visual: tf.Tensor) -> tf.Tensor:
        merged = (_through(self.update_audio, audio) + _through(self.update_visual, visual)) / 2
        return self.output_map((tf.tanh(audio + merged) + tf.tanh(visual + merged)) / 2)

    def _update(self, width: int, name: str) -> list[keras.layers.Dense]:
        first = dense(width, width, f"{name}_1", activation="tanh", dtype=self.dtype_policy)
        return [first, dense(width, width, f"{name}_2", dtype=self.dtype_policy)]


def _through(layers: list[keras.layers.Layer], x: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        x = layer(x)
    return x
