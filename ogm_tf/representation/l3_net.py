"""L3-Net: do this frame and this second of sound belong together?"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ogm_tf.representation.network import Network, choose_sizes, require_features, require_sizes
from ogm_tf.representation.parts import Style, built, logits_dtype, penalty

PRESETS = {
    "full": {
        "audio_shape": (257, 199, 1),
        "visual_shape": (224, 224, 3),
        "channels": (64, 128, 256, 512),
        "head_units": 128,
        "batch_norm_momentum": 0.99,
    },
    "small": {
        "audio_shape": (64, 48, 1),
        "visual_shape": (64, 64, 3),
        "channels": (8, 16, 32, 64),
        "head_units": 32,
        "batch_norm_momentum": 0.9,
    },
}


def build(
    preset: str = "full",
    *,
    audio_shape: Sequence[int] | None = None,
    visual_shape: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
    head_units: int | None = None,
    batch_norm_momentum: float | None = None,
    l2: float = 1e-5,
    synchronized: bool = False,
) -> Network:
    """Builds L3-Net of Arandjelović and Zisserman, "Look, Listen and Learn" (ICCV 2017).

    Each encoder is blocks of twice [3 x 3 convolution, batch normalisation, ReLU], with 2 x 2
    max-pooling between the blocks. The public port, marl/l3embedding, has ReLU before the
    normalisation in the picture's second convolutions; here it is after all of them. The encoders
    return the last block's map, which `L3Fusion` max-pools to a vector.

    Args:
      preset: "full", of 9,508,738 parameters, or "small", of 152,226.
      audio_shape: `(F, T, 1)` of the log spectrogram; None for the preset's.
      visual_shape: `(H, W, 3)`, or `(1, H, W, 3)`, of the frame, in [-1, 1]; None for the
        preset's.
      channels: Of each block, all >= 1; None for the preset's.
      head_units: Width of the head's hidden layer, >= 1; None for the preset's.
      batch_norm_momentum: In [0, 1); None for the preset's.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows.

    Returns:
      The network.

    Raises:
      ValueError: where an argument is out of its range.
    """
    sizes = choose_sizes(
        PRESETS,
        preset,
        {
            "audio_shape": audio_shape,
            "visual_shape": visual_shape,
            "channels": channels,
            "head_units": head_units,
            "batch_norm_momentum": batch_norm_momentum,
        },
    )
    channels = require_sizes("channels", sizes["channels"])
    style = Style(sizes["batch_norm_momentum"], 1e-3, l2=l2, synchronized=synchronized)
    inputs = require_inputs(sizes["audio_shape"], sizes["visual_shape"], len(channels))
    return Network(
        encoders={
            "audio": _encoder("audio", inputs["audio"], channels, style, "valid"),
            "visual": _encoder("visual", inputs["visual"], channels, style, "same"),
        },
        fusion=L3Fusion(sizes["head_units"], l2, name="fusion"),
        inputs=inputs,
    )


def require_inputs(
    audio_shape: Sequence[int], visual_shape: Sequence[int], num_blocks: int = 4
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of sound and frame by modality, having checked that they fit.

    Args:
      audio_shape: As of `build`.
      visual_shape: As of `build`.
      num_blocks: Blocks of each encoder, >= 1.

    Raises:
      ValueError: where they are not as `build` says.
    """
    audio = require_sizes("audio_shape", audio_shape, 3)
    is_clip = isinstance(visual_shape, Sequence) and len(visual_shape) == 4
    visual = require_sizes("visual_shape", visual_shape, 4 if is_clip else 3)
    if is_clip and visual[0] != 1:
        raise ValueError(
            f"`visual_shape` must be that of one frame. Received: visual_shape={visual}."
        )
    if min(audio[:2]) < 2 ** (num_blocks - 1):
        raise ValueError(
            f"`audio_shape` must allow {num_blocks - 1} halvings of both sides. "
            f"Received: audio_shape={audio}."
        )
    return {"audio": audio, "visual": visual}


def _encoder(
    name: str, shape: tuple[int, ...], channels: Sequence[int], style: Style, pool_padding: str
) -> keras.Model:
    """The sub-network `[B, H, W, C] -> [B, h, w, channels[-1]]` of either modality."""
    inputs = x = keras.Input(shape)
    if len(shape) == 4:
        x = keras.layers.Reshape(shape[1:], name="frame")(x)
    for block, filters in enumerate(channels, 1):
        if block > 1:
            pool_name = f"pool{block - 1}"
            x = keras.layers.MaxPooling2D(2, padding=pool_padding, name=pool_name)(x)
        for index in (1, 2):
            layer_name = f"conv{block}_{index}"
            x = style.conv(x, filters, (3, 3), layer_name, use_bias=True)
            x = style.batch_norm(x, layer_name)
            x = keras.layers.ReLU(name=f"{layer_name}_relu")(x)
    return keras.Model(inputs, x, name=name)


@keras.saving.register_keras_serializable(package="ogm_tf")
class L3Fusion(keras.layers.Layer):
    """Max-pools both maps, and puts two dense layers on the concatenated vectors.

    Args:
      units: Width of the hidden layer, >= 1.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      features: The list of the sound's map `[P, f, t, C]` and the picture's `[P, h, w, C]`.

    Returns:
      Logits `[P, 2]`: mismatch, match.

    Raises:
      ValueError: where `units` is no integer >= 1, or the features are no two maps.
    """

    mixes_rows = False

    def __init__(self, units: int = 128, l2: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        (self.units,) = require_sizes("units", units, 1)
        self.l2 = float(l2)

    def build(self, input_shape):
        audio, visual = require_features(self, input_shape, (4, 4), "[P, f, t, C] and [P, h, w, C]")
        self.hidden = self._dense(audio[-1] + visual[-1], self.units, "hidden", activation="relu")
        self.logits = self._dense(self.units, 2, "logits", dtype=logits_dtype())
        super().build(input_shape)

    def call(self, features):
        vectors = [tf.reduce_max(feature, axis=[1, 2]) for feature in features]
        return self.logits(self.hidden(tf.concat(vectors, axis=-1)))

    def get_config(self):
        return {**super().get_config(), "units": self.units, "l2": self.l2}

    def _dense(self, width: int, units: int, name: str, **kwargs) -> keras.layers.Dense:
        layer = keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.HeNormal(),
            kernel_regularizer=penalty(self.l2),
            name=name,
            **kwargs,
        )
        return built(layer, [None, width])
