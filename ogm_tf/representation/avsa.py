"""AVSA: is this sound in step with these frames?"""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from ogm_tf.layers import FractionalMaxPooling1D
from ogm_tf.representation.network import Network, choose_sizes, require_sizes
from ogm_tf.representation.parts import logits_dtype
from ogm_tf.representation.pooling import EMBEDDING_LAYER
from ogm_tf.representation.trunk import AVSAFusion, Blocks

PRESETS = {
    "full": {
        "audio_shape": (87_588, 2),
        "visual_shape": (125, 224, 224, 3),
        "width": 64,
        "audio_kernels": (65, 15),
        "visual_kernel": (5, 7, 7),
        "batch_norm_momentum": 0.9997,
        "renormalization": True,
    },
    "small": {
        "audio_shape": (8192, 2),
        "visual_shape": (16, 48, 48, 3),
        "width": 8,
        "audio_kernels": (33, 9),
        "visual_kernel": (3, 5, 5),
        "batch_norm_momentum": 0.9,
        "renormalization": False,
    },
}


def build(
    preset: str = "full",
    *,
    audio_shape: Sequence[int] | None = None,
    visual_shape: Sequence[int] | None = None,
    width: int | None = None,
    audio_kernels: Sequence[int] | None = None,
    visual_kernel: Sequence[int] | None = None,
    batch_norm_momentum: float | None = None,
    renormalization: bool | None = None,
    last_stride: int = 2,
    pooling_seed: int | None = None,
    l2: float = 5e-6,
    synchronized: bool = False,
) -> Network:
    """Builds the multisensory network of Owens and Efros (ECCV 2018), which detects shifted sound.

    The audio encoder takes the waveform itself; its residual blocks end in the features for other
    tasks, of which fractional max-pooling and one more convolution make a vector per time step of
    the video. The fused trunk, most of the network, belongs to `fusion`, an `AVSAFusion`. Padding
    is TensorFlow's "same", as in the authors' program, and normalisation has no gain.

    Each of the authors' two passes, of aligned and of shifted sound, is normalised by itself; here
    the batch's pairs are normalised together.

    Args:
      preset: "full", of 36,044,609 parameters, or "small", of 551,161.
      audio_shape: `(N, channels)` of the waveform in [-1, 1]; with one channel, the encoder puts it
        into both of stereo's. None for the preset's.
      visual_shape: `(T, H, W, 3)` of the frames, in [-1, 1]; None for the preset's.
      width: Channels of the first layers, a multiple of which all others have, >= 1; None for the
        preset's.
      audio_kernels: Lengths of the first and of the blocks' audio kernels; None for the preset's.
      visual_kernel: `(t, h, w)` of the first visual kernel; None for the preset's.
      batch_norm_momentum: In [0, 1). The authors' 0.9997 needs some 10,000 steps before evaluation
        means anything. None for the preset's.
      renormalization: Whether the normalisations that end a block are batch renormalisations; None
        for the preset's.
      last_stride: Stride in space of the trunk's last stage, 1 or 2; the same weights with 1 draw a
        finer activation map.
      pooling_seed: Of the fractional max-pooling, in [0, 2**31); None draws one.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows.

    Returns:
      The network.

    Raises:
      ValueError: where an argument is out of its range, or the sound is too short for the frames.
    """
    sizes = choose_sizes(
        PRESETS,
        preset,
        {
            "audio_shape": audio_shape,
            "visual_shape": visual_shape,
            "width": width,
            "audio_kernels": audio_kernels,
            "visual_kernel": visual_kernel,
            "batch_norm_momentum": batch_norm_momentum,
            "renormalization": renormalization,
        },
    )
    inputs = require_inputs(sizes["audio_shape"], sizes["visual_shape"])
    options = {
        "batch_norm_momentum": sizes["batch_norm_momentum"],
        "renormalization": bool(sizes["renormalization"]),
        "l2": l2,
        "synchronized": synchronized,
    }
    blocks = Blocks(**options)
    (width,) = require_sizes("width", sizes["width"], 1)
    audio_kernels = require_sizes("audio_kernels", sizes["audio_kernels"], 2)
    visual_kernel = require_sizes("visual_kernel", sizes["visual_kernel"], 3)
    visual = _visual_encoder(inputs["visual"], width, visual_kernel, blocks)
    steps = visual.output_shape[1]
    audio = _audio_encoder(inputs["audio"], width, audio_kernels, steps, pooling_seed, blocks)
    return Network(
        encoders={"audio": audio, "visual": visual},
        fusion=AVSAFusion(last_stride, **options, name="fusion"),
        inputs=inputs,
    )


def require_inputs(
    audio_shape: Sequence[int], visual_shape: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of sound and frames by modality, having checked that they fit.

    Raises:
      ValueError: where they are not as `build` says.
    """
    audio = require_sizes("audio_shape", audio_shape, 2)
    visual = require_sizes("visual_shape", visual_shape, 4)
    steps = math.ceil(visual[0] / 4)
    # Five strides of 4, of which the pooling's alone needs all four: of the last step's samples, a
    # beginning is enough.
    least = 1024 * (steps - 1) + 13
    if audio[0] < least:
        raise ValueError(
            f"`audio_shape` must hold at least {least} samples: a step of features for each of "
            f"the video's {steps}. Received: audio_shape={audio}, visual_shape={visual}."
        )
    return {"audio": audio, "visual": visual}


@keras.saving.register_keras_serializable(package="ogm_tf")
class MuLaw(keras.layers.Layer):
    """Compands a waveform, so that quiet sounds are seen: sign(x) ln(1 + mu |x|) / ln(1 + mu).

    Args:
      mu: Strength, > 0; 255 as in telephony.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      waveform: Float tensor in [-1, 1].

    Returns:
      A tensor of the same shape, in [-1, 1].

    Raises:
      ValueError: where `mu` is not above 0.
    """

    def __init__(self, mu: float = 255.0, **kwargs):
        super().__init__(**kwargs)
        if not mu > 0:
            raise ValueError(f"`mu` must be > 0. Received: mu={mu!r}.")
        self.mu = float(mu)

    def call(self, waveform):
        return tf.sign(waveform) * tf.math.log1p(self.mu * tf.abs(waveform)) / math.log1p(self.mu)

    def get_config(self):
        return {**super().get_config(), "mu": self.mu}


def _audio_encoder(
    shape: tuple[int, ...],
    width: int,
    kernels: tuple[int, ...],
    steps: int,
    seed: int | None,
    blocks: Blocks,
) -> keras.Model:
    """The sub-network `[B, N, channels] -> [B, steps, 2 * width]`."""
    first, other = kernels
    inputs = keras.Input(shape)
    # Half precision would leave quiet sounds few digits.
    x = MuLaw(dtype=logits_dtype(), name="mu_law")(inputs)
    if shape[-1] == 1:
        x = keras.layers.Concatenate(name="stereo")([x, x])
    x = blocks.style.conv_bn_relu(x, width, (first,), "conv1_1", strides=4)
    x = keras.layers.MaxPooling1D(4, name="pool1")(x)
    for stage, multiple in enumerate((2, 2, 4), 2):
        x = blocks.residual(x, multiple * width, (other,), f"conv{stage}_1", strides=4)
    x = keras.layers.Activation("linear", name=EMBEDDING_LAYER)(x)
    # The authors' are the regions of random order, not the pseudo-random ones.
    x = FractionalMaxPooling1D(steps, pseudo_random=False, seed=seed, name="fractional_pool")(x)
    x = blocks.style.conv_bn_relu(x, 2 * width, (3,), "conv5_1")
    return keras.Model(inputs, x, name="audio")


def _visual_encoder(
    shape: tuple[int, ...], width: int, kernel: tuple[int, ...], blocks: Blocks
) -> keras.Model:
    """The sub-network `[B, T, H, W, 3] -> [B, t, h, w, width]`."""
    inputs = keras.Input(shape)
    x = blocks.style.conv_bn_relu(inputs, width, kernel, "conv1", strides=2)
    # Frame by frame: the pooling over three axes lacks half and double precision.
    pool = keras.layers.MaxPooling2D(3, 2, padding="same")
    x = keras.layers.TimeDistributed(pool, name="pool1")(x)
    x = blocks.residual(x, width, (3, 3, 3), "conv2_1")
    x = blocks.residual(x, width, (3, 3, 3), "conv2_2", strides=2)
    return keras.Model(inputs, x, name="visual")
