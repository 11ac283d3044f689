"""Encoders: spectrograms, pictures and stacks of frames in, one feature vector each out."""

from collections.abc import Sequence

import keras
import tensorflow as tf

FRAME_RULES = ("stack", "average")
_GLOBAL_POOLS = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling3D,
)


@keras.saving.register_keras_serializable(package="ogm_tf")
class FoldFrames(keras.layers.Layer):
    """Folds the frames into the batch: `[B, N, ...]` to `[B * N, ...]`."""

    def call(self, frames):
        shape = tf.shape(frames)
        folded = tf.reshape(frames, tf.concat([shape[:1] * shape[1:2], shape[2:]], axis=0))
        return tf.ensure_shape(folded, [None, *frames.shape[2:]])


@keras.saving.register_keras_serializable(package="ogm_tf")
class AverageFrames(keras.layers.Layer):
    """Unfolds the frames from the batch and averages them: `[B * N, ...]` to `[B, ...]`.

    Args:
      num_frames: Number of frames N, >= 1.
      **kwargs: Of `keras.layers.Layer`.
    """

    def __init__(self, num_frames: int, **kwargs):
        super().__init__(**kwargs)
        self.num_frames = num_frames

    def call(self, features):
        shape = tf.shape(features)[1:]
        unfolded = tf.reshape(features, tf.concat([[-1, self.num_frames], shape], axis=0))
        return tf.ensure_shape(tf.reduce_mean(unfolded, axis=1), [None, *features.shape[1:]])

    def get_config(self):
        return {**super().get_config(), "num_frames": self.num_frames}


@keras.saving.register_keras_serializable(package="ogm_tf")
class StackFrames(keras.layers.Layer):
    """Stacks the frames on the channels: `[B, N, H, W, C]` to `[B, H, W, N * C]`, in order."""

    def call(self, frames):
        num_frames, *_, channels = frames.shape[1:]
        shape = tf.shape(frames)
        stacked = tf.reshape(
            tf.transpose(frames, [0, 2, 3, 1, 4]),
            [shape[0], shape[2], shape[3], num_frames * channels],
        )
        return tf.ensure_shape(stacked, [None, *frames.shape[2:4], num_frames * channels])


def resnet18(
    input_shape: Sequence[int | None],
    name: str | None = None,
    width: int = 64,
    blocks_per_stage: int = 2,
    synchronized: bool = False,
) -> keras.Model:
    """ResNet-18 without its classifier, layer by layer as the OGM-GE authors' network.

    Convolutions pad on both sides as PyTorch's do (Keras' "same" does not, at stride 2); batch
    normalisation has momentum 0.9 and epsilon 1e-5. It has 11,170,240 trainable parameters with 1
    input channel and 11,176,512 with 3, and 20 convolution kernels.

    Args:
      input_shape: `(H, W, C)`, or `(N, H, W, C)`: then the frames go through the network one by one
        and their features are averaged. H and W may be None.
      name: Of the model; default "resnet18".
      width: Channels of the first stage, doubled by each of the other three, >= 1.
      blocks_per_stage: Basic blocks in each of the four stages, >= 1.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows, as one
        device with the whole batch does; otherwise over each replica's own. It costs a reduction a
        layer and TensorFlow's fused kernel.

    Returns:
      A model `[B, *input_shape] -> [B, 8 * width]`.

    Raises:
      ValueError: where an argument is out of its range.
    """
    num_frames = _check_shape(input_shape)
    _check_sizes("width", [width])
    _check_sizes("blocks_per_stage", [blocks_per_stage])
    inputs = x = keras.Input(input_shape)
    if num_frames:
        x = FoldFrames(name="fold_frames")(x)
    x = _padded_conv(x, width, 7, strides=2, name="stem")
    x = _batch_norm(x, "stem", synchronized)
    x = keras.layers.ReLU(name="stem_relu")(x)
    # Padding by zeros is padding by minus infinity here: nothing is negative after the ReLU.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    for stage in range(4):
        for block in range(blocks_per_stage):
            strides = 2 if stage > 0 and block == 0 else 1
            name_of_block = f"stage{stage + 1}_block{block + 1}"
            x = _basic_block(x, width * 2**stage, strides, name_of_block, synchronized)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if num_frames:
        x = AverageFrames(num_frames, name="average_frames")(x)
    return keras.Model(inputs, x, name=name or "resnet18")


def small_cnn(
    input_shape: Sequence[int | None],
    name: str | None = None,
    channels: Sequence[int] = (16, 32, 64, 128),
    frames: str = "stack",
    synchronized: bool = False,
) -> keras.Model:
    """A small convolutional network for short runs.

    Each stage is twice a 3 x 3 convolution, batch normalisation and ReLU; 2 x 2 max-pooling between
    the stages, left out where a side is already 1; then the global average.

    Args:
      input_shape: `(H, W, C)`, or `(N, H, W, C)` for N frames. H and W may be None.
      name: Of the model; default "small_cnn".
      channels: Channels of each stage, all >= 1.
      frames: What becomes of N frames: "stack" puts them on the channels, so that motion is
        visible to the first layer; "average" sends them through one by one and averages their
        features.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows, as one
        device with the whole batch does; otherwise over each replica's own. It costs a reduction a
        layer and TensorFlow's fused kernel.

    Returns:
      A model `[B, *input_shape] -> [B, channels[-1]]`.

    Raises:
      ValueError: where an argument is out of its range.
    """
    num_frames = _check_shape(input_shape)
    _check_sizes("channels", channels)
    if frames not in FRAME_RULES:
        raise ValueError(
            f"`frames` must be one of {', '.join(FRAME_RULES)}. Received: frames={frames!r}."
        )
    inputs = x = keras.Input(input_shape)
    if num_frames:
        if frames == "stack":
            x = StackFrames(name="stack_frames")(x)
        else:
            x = FoldFrames(name="fold_frames")(x)
    for stage, filters in enumerate(channels, start=1):
        if stage > 1 and all(side is None or side >= 2 for side in x.shape[1:3]):
            x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        for index in (1, 2):
            prefix = f"stage{stage}_{index}"
            x = _padded_conv(x, filters, 3, name=prefix)
            x = _batch_norm(x, prefix, synchronized)
            x = keras.layers.ReLU(name=f"{prefix}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if num_frames and frames == "average":
        x = AverageFrames(num_frames, name="average_frames")(x)
    return keras.Model(inputs, x, name=name or "small_cnn")


def map_model(encoder: keras.Model) -> keras.Model:
    """Returns the encoder up to its map, before its global pooling, sharing its weights.

    Args:
      encoder: Of pictures or frames; one whose output is a map already is returned as it is.

    Returns:
      A model of the encoder's inputs to `[B, h, w, C]`, or `[B, t, h, w, C]` where it keeps time;
      frames that are folded into the batch are averaged.

    Raises:
      ValueError: where the output is no map and there is no global pooling after one.
    """
    if len(encoder.output_shape) > 2:
        return encoder
    pools = [layer for layer in encoder.layers if isinstance(layer, _GLOBAL_POOLS)]
    if not pools:
        raise ValueError(
            "An encoder must give a map, or pool one globally by a Keras layer of its own. "
            f"Received: {encoder.name}, whose output is of shape {encoder.output_shape}."
        )
    # Others are parts of blocks, such as those that squeeze and excite.
    features = pools[-1].input
    folds = [layer for layer in encoder.layers if isinstance(layer, FoldFrames)]
    if folds:
        num_frames = folds[0].input_shape[1]
        features = AverageFrames(num_frames, name="average_maps")(features)
    return keras.Model(encoder.inputs, features, name=f"{encoder.name}_map")


def _basic_block(x, filters: int, strides: int, name: str, synchronized: bool):
    """Two 3 x 3 convolutions with a shortcut, projected where the shape changes."""
    shortcut = x
    x = _padded_conv(x, filters, 3, strides=strides, name=f"{name}_1")
    x = _batch_norm(x, f"{name}_1", synchronized)
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = _padded_conv(x, filters, 3, name=f"{name}_2")
    x = _batch_norm(x, f"{name}_2", synchronized)
    if strides != 1 or shortcut.shape[-1] != filters:
        shortcut = _padded_conv(shortcut, filters, 1, strides=strides, name=f"{name}_shortcut")
        shortcut = _batch_norm(shortcut, f"{name}_shortcut", synchronized)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _padded_conv(x, filters: int, kernel_size: int, name: str, strides: int = 1):
    """A convolution without bias, padded alike on all sides, Kaiming-normal by fan-out."""
    if kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    # One initialiser per layer: Keras draws the same values twice from one that is shared.
    kaiming = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        use_bias=False,
        kernel_initializer=kaiming,
        name=f"{name}_conv",
    )(x)


def _batch_norm(x, name: str, synchronized: bool):
    layer = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, synchronized=synchronized, name=f"{name}_bn"
    )
    return layer(x)


def _check_shape(input_shape: Sequence[int | None]) -> int:
    """Returns the number of frames, 0 for a single picture."""
    shape = tuple(input_shape)
    fixed = {3: (shape[-1],), 4: (shape[0], shape[-1])}.get(len(shape)) if shape else None
    if not fixed or any(size is None or size < 1 for size in fixed):
        raise ValueError(
            "`input_shape` must be (H, W, C) or (N, H, W, C), with N and C known and >= 1. "
            f"Received: input_shape={shape}."
        )
    return shape[0] if len(shape) == 4 else 0


def _check_sizes(argument: str, values: Sequence[int]) -> None:
    if not values or any(value < 1 for value in values):
        received = values[0] if len(values) == 1 else tuple(values)
        raise ValueError(f"`{argument}` must be >= 1. Received: {argument}={received}.")
