"""AVCA: is this sound in step with these frames, and where in them does it come from?"""

from collections.abc import Sequence

import keras

from ogm_tf.representation.co_attention import AVCAFusion
from ogm_tf.representation.network import Network, choose_sizes, require_sizes
from ogm_tf.representation.parts import Style

PRESETS = {
    "full": {
        "audio_shape": (128, 128, 1),
        "visual_shape": (32, 112, 112, 3),
        "width": 64,
        "blocks_per_stage": 2,
        "attention_units": 256,
        "head_units": 256,
    },
    "small": {
        "audio_shape": (64, 64, 1),
        "visual_shape": (16, 32, 32, 3),
        "width": 8,
        "blocks_per_stage": 1,
        "attention_units": 32,
        "head_units": 32,
    },
}
# Steps of sound for one of the video's, and how the stem and its pooling share them.
_TIME_STRIDES = {1: (1, 1), 2: (2, 1), 4: (2, 2)}


def build(
    preset: str = "full",
    *,
    audio_shape: Sequence[int] | None = None,
    visual_shape: Sequence[int] | None = None,
    width: int | None = None,
    blocks_per_stage: int | None = None,
    attention_units: int | None = None,
    head_units: int | None = None,
    mode: str = "both",
    batch_norm_momentum: float = 0.9,
    l2: float = 5e-6,
    synchronized: bool = False,
) -> Network:
    """Builds a co-attention network in the sense of AVCA, of our own design.

    Cheng et al., "Look, Listen, and Attend" (ACM Multimedia 2020, arXiv 2008.05789), learn from
    synchronisation by co-attention modules; what could be read of them names no layer, and no
    program of theirs is public. So all layers here are ours: two ResNet-18 streams that keep one
    common time axis, without which synchrony cannot be seen, and the attention of `AVCAFusion`.

    The visual stream convolves over time in its stem and first stage only, as torchvision's mc3;
    the audio stream strides over time in its stem only. Padding is the same on both sides.

    Args:
      preset: "full", of 23,908,226 parameters, or "small", of 180,274.
      audio_shape: `(F, T', 1)` of the log-mel spectrogram over the time of the frames, with T' 1, 2
        or 4 times their number; None for the preset's.
      visual_shape: `(T, H, W, 3)` of the frames; None for the preset's.
      width: Channels of the first stage, doubled by each of the other three, >= 1; None for the
        preset's.
      blocks_per_stage: Basic blocks in each of the four stages, >= 1; None for the preset's.
      attention_units: Width of queries, keys and values, >= 1; None for the preset's.
      head_units: Width of the head's two hidden layers, >= 1; None for the preset's.
      mode: As of `AVCAFusion`.
      batch_norm_momentum: In [0, 1).
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows.

    Returns:
      The network.

    Raises:
      ValueError: where an argument is out of its range, or sound and frames have no common time.
    """
    sizes = choose_sizes(
        PRESETS,
        preset,
        {
            "audio_shape": audio_shape,
            "visual_shape": visual_shape,
            "width": width,
            "blocks_per_stage": blocks_per_stage,
            "attention_units": attention_units,
            "head_units": head_units,
        },
    )
    inputs = require_inputs(sizes["audio_shape"], sizes["visual_shape"])
    (width,) = require_sizes("width", sizes["width"], 1)
    (num_blocks,) = require_sizes("blocks_per_stage", sizes["blocks_per_stage"], 1)
    style = Style(
        batch_norm_momentum,
        1e-5,
        fan="fan_out",
        is_symmetric=True,
        l2=l2,
        synchronized=synchronized,
    )
    strides = _TIME_STRIDES[inputs["audio"][1] // inputs["visual"][0]]
    return Network(
        encoders={
            "audio": _audio_encoder(inputs["audio"], width, num_blocks, strides, style),
            "visual": _visual_encoder(inputs["visual"], width, num_blocks, style),
        },
        fusion=AVCAFusion(
            sizes["attention_units"], sizes["head_units"], mode=mode, l2=l2, name="fusion"
        ),
        inputs=inputs,
    )


def require_inputs(
    audio_shape: Sequence[int], visual_shape: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of sound and frames by modality, having checked that they fit.

    Raises:
      ValueError: where they are not as `build` says.
    """
    audio = require_sizes("audio_shape", audio_shape, 3)
    visual = require_sizes("visual_shape", visual_shape, 4)
    steps, frames = audio[1], visual[0]
    if steps % frames or steps // frames not in _TIME_STRIDES:
        raise ValueError(
            "`audio_shape` must have 1, 2 or 4 time steps for each frame of `visual_shape`: "
            f"{frames}, {2 * frames} or {4 * frames}. "
            f"Received: audio_shape={audio}, visual_shape={visual}."
        )
    return {"audio": audio, "visual": visual}


def _audio_encoder(
    shape: tuple[int, ...], width: int, num_blocks: int, strides: tuple[int, int], style: Style
) -> keras.Model:
    """The stream `[B, F, T', 1] -> [B, F / 32, T, 8 * width]`."""
    stem_stride, pool_stride = strides
    inputs = keras.Input(shape)
    x = style.conv_bn_relu(inputs, width, (7, 7), "stem", (2, stem_stride))
    # Padding by zeros is padding by minus infinity here: nothing is negative after the ReLU.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, (2, pool_stride), name="stem_pool")(x)
    for stage in range(4):
        x = _stage(x, stage, width, num_blocks, (3, 3), (2, 1), style)
    return keras.Model(inputs, x, name="audio")


def _visual_encoder(
    shape: tuple[int, ...], width: int, num_blocks: int, style: Style
) -> keras.Model:
    """The stream `[B, T, H, W, 3] -> [B, T, H / 16, W / 16, 8 * width]`."""
    inputs = keras.Input(shape)
    x = style.conv_bn_relu(inputs, width, (3, 7, 7), "stem", (1, 2, 2))
    for stage in range(4):
        kernel_size = (3, 3, 3) if stage == 0 else (1, 3, 3)
        x = _stage(x, stage, width, num_blocks, kernel_size, (1, 2, 2), style)
    return keras.Model(inputs, x, name="visual")


def _stage(
    x, stage: int, width: int, num_blocks: int, kernel_size: tuple, strides: tuple, style: Style
):
    """A stage of basic blocks, of which the first strides, except in the first stage."""
    filters = width * 2**stage
    for block in range(num_blocks):
        name = f"stage{stage + 1}_block{block + 1}"
        is_down = stage > 0 and block == 0
        block_strides = strides if is_down else 1
        shortcut = x
        if is_down:
            ones = (1,) * len(kernel_size)
            shortcut = style.conv_bn(x, filters, ones, f"{name}_shortcut", block_strides)
        x = style.conv_bn_relu(x, filters, kernel_size, f"{name}_1", block_strides)
        x = style.conv_bn(x, filters, kernel_size, f"{name}_2")
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        x = keras.layers.ReLU(name=name)(x)
    return x
