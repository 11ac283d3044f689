"""Pictures and optical flow as a model sees them: decoded, cropped, resized, normalised.

All in plain TF graph ops.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import augmentation
from input_pipelines.settings import ClipSettings, VideoSettings

# Bilinear interpolation reads two pixels a side, so up to this factor it skips none.
MAX_PLAIN_SHRINK = 2


class Seeds(NamedTuple):
    """Of one clip's draws, each int64 `[2]`: crop, mirroring, colours and erased square."""

    crop: tf.Tensor
    flip: tf.Tensor
    color: tf.Tensor
    erase: tf.Tensor


class View(NamedTuple):
    """What of a frame the model sees.

    `crop` is int32 `[4]`, y, x, height and width in stored pixels, or None for all; `flip` a bool
    scalar, whether it is mirrored left to right, or None for no.
    """

    crop: tf.Tensor | None = None
    flip: tf.Tensor | None = None


def normalise(frames: tf.Tensor, settings: VideoSettings) -> tf.Tensor:
    """Subtracts the settings' mean and divides by their deviation.

    Args:
      frames: RGB `[..., W, 3]`, uint8 or float, in [0, 255]; W known.
      settings: Mean and deviation of pictures in [0, 1].

    Returns:
      float32 of the same shape.

    Raises:
      ValueError: where the mean and deviation of the dataset are not measured.
    """
    mean, deviation = _mean_and_deviation(settings)
    width = frames.shape[-2]
    # One multiplication and addition a row, which is vectorised; three channels are not.
    scale = np.tile(1.0 / (255.0 * deviation), width).astype(np.float32)
    offset = np.tile(-mean / deviation, width).astype(np.float32)
    rows = tf.reshape(tf.cast(frames, tf.float32), [-1, 3 * width])
    return tf.reshape(rows * scale + offset, tf.shape(frames))


def denormalise(frames: tf.Tensor, settings: VideoSettings) -> tf.Tensor:
    """Turns what `normalise` gave back into pictures.

    Args:
      frames: float `[..., 3]`, normalised.
      settings: Those `normalise` got.

    Returns:
      uint8 RGB of the same shape.

    Raises:
      ValueError: where the mean and deviation of the dataset are not measured.
    """
    mean, deviation = _mean_and_deviation(settings)
    pixels = (tf.cast(frames, tf.float32) * deviation + mean) * 255.0
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def _mean_and_deviation(settings: VideoSettings) -> tuple[np.ndarray, np.ndarray]:
    if settings.normalization != "fixed":
        raise ValueError(
            "The dataset's mean and deviation must be measured first, by `python -m "
            f"launchers.measure`. Received: normalization={settings.normalization!r}."
        )
    return np.array(settings.mean), np.array(settings.deviation)


def resize(frames: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes bilinearly; averages over skipped pixels where it shrinks a side more than twofold.

    The authors' resize always averages (antialias). That costs 4 times the plain one (4.0 against
    1.1 ms for three frames of 256 x 340 to 224 x 224), and changes little while no source pixel
    is skipped, so it is kept for the factors at which pixels would be.

    Args:
      frames: `[N, h, w, C]`, any numeric dtype and size.
      height: Wanted, pixels.
      width: Wanted, pixels.

    Returns:
      float32 `[N, height, width, C]`.
    """
    # The kernel reads floats faster than it reads bytes, by more than this costs.
    frames = tf.cast(frames, tf.float32)
    largest_plain = [MAX_PLAIN_SHRINK * height, MAX_PLAIN_SHRINK * width]
    resized = tf.cond(
        tf.reduce_any(tf.shape(frames)[1:3] > largest_plain),
        lambda: tf.image.resize(frames, (height, width), antialias=True),
        lambda: tf.image.resize(frames, (height, width)),
    )
    return tf.ensure_shape(resized, [frames.shape[0], height, width, frames.shape[3]])


# Without conversion by AutoGraph, which takes seconds and has nothing to convert here.
@tf.autograph.experimental.do_not_convert
def load_frames(
    encoded: tf.Tensor, settings: VideoSettings, seeds: Seeds | None = None
) -> tf.Tensor:
    """Decodes the frames of one clip and makes them the model's input.

    Args:
      encoded: string `[N]`, JPEG files; `settings.num_frames` of them where N is not known.
      settings: What is done to them.
      seeds: Of the augmentation; None for evaluation, which resizes the whole frames.

    Returns:
      float32 `[N, height, width, 3]`, normalised.

    Raises:
      ValueError: where the mean and deviation of the dataset are not measured.
    """
    encoded = _known_number(encoded, settings)
    views = draw_views(encoded, settings, seeds)
    frames = _load(encoded, views, settings, channels=3)
    if seeds is None:
        return normalise(frames, settings)
    frames = normalise(augmentation.jitter_colors(frames, settings, seeds.color), settings)
    return augmentation.erase_squares(frames, settings, seeds.erase)


@tf.autograph.experimental.do_not_convert
def load_flow(encoded: tf.Tensor, settings: VideoSettings, seeds: Seeds | None = None) -> tf.Tensor:
    """Decodes the optical flow of one clip and makes it the model's input.

    Crops and mirrors as `load_frames` does with the same seeds. Mirrored motion to the left is
    motion to the right, so mirroring also turns u into 1 - u. That maps level L of a stored file
    to 255 - L, the level of the opposite motion; "no motion", 127.5, is stored as 128 and becomes
    127, one level (0.004) off.

    Args:
      encoded: string `[N]`, JPEG files whose red is the horizontal and green the vertical flow.
      settings: What is done to them; colours are not changed, nothing is erased or normalised.
      seeds: Of the augmentation; None for evaluation.

    Returns:
      float32 `[N, height, width, 2]` in [0, 1], horizontal and vertical.
    """
    encoded = _known_number(encoded, settings)
    views = draw_views(encoded, settings, seeds)
    flow = _load(encoded, views, settings, channels=2)
    if views[0].flip is None:
        return flow / 255.0
    # Rows, as in `normalise`.
    sign = 1.0 - 2.0 * tf.cast(tf.stack([view.flip for view in views]), tf.float32)
    scale = tf.tile(tf.stack([sign, tf.ones_like(sign)], axis=-1), [1, settings.width]) / 255.0
    offset = tf.tile(
        tf.stack([(1.0 - sign) / 2.0, tf.zeros_like(sign)], axis=-1), [1, settings.width]
    )
    rows = tf.reshape(flow, [len(views), settings.height, 2 * settings.width])
    return tf.reshape(rows * scale[:, tf.newaxis] + offset[:, tf.newaxis], flow.shape)


def draw_views(encoded: tf.Tensor, settings: VideoSettings, seeds: Seeds | None) -> list[View]:
    """Draws what of each frame training sees.

    Args:
      encoded: string `[N]`, JPEG files, N known.
      settings: Whether to crop and mirror, and whether each frame by itself.
      seeds: Of the draws; None for evaluation.

    Returns:
      N views. Unless each frame is augmented by itself they are all the same, fitted to the first
      frame, so that motion stays motion.
    """
    num_frames = encoded.shape[0]
    if seeds is None:
        return [View()] * num_frames
    crops = flips = [None]
    if settings.crop_min_area < 1:
        crops = [
            augmentation.random_crop_box(
                tf.io.extract_jpeg_shape(encoded[number])[:2], settings.crop_min_area, seed
            )
            for number, seed in enumerate(
                augmentation.frame_seeds(seeds.crop, num_frames, settings)
            )
        ]
    if settings.flip:
        flips = [
            augmentation.random_flip(seed)
            for seed in augmentation.frame_seeds(seeds.flip, num_frames, settings)
        ]
    return [
        View(crops[number % len(crops)], flips[number % len(flips)]) for number in range(num_frames)
    ]


def _known_number(encoded: tf.Tensor, settings: VideoSettings) -> tf.Tensor:
    if encoded.shape[0] is None:
        return tf.ensure_shape(encoded, [settings.num_frames])
    return encoded


def _load(
    encoded: tf.Tensor, views: list[View], settings: VideoSettings, channels: int
) -> tf.Tensor:
    """Returns what the views show, float32 `[N, height, width, channels]` in [0, 255]."""
    # The quick transform makes red 1.1 levels darker: of a picture nobody sees it, of flow it is a
    # drift to the left.
    dct_method = "INTEGER_ACCURATE" if channels == 2 else ""
    # A loop in the graph costs more than its few bodies side by side.
    frames = [
        resize(
            _decode(frame, view, dct_method)[tf.newaxis, ..., :channels],
            settings.height,
            settings.width,
        )
        for frame, view in zip(tf.unstack(encoded), views, strict=True)
    ]
    return tf.concat(frames, axis=0)


def _decode(encoded: tf.Tensor, view: View, dct_method: str) -> tf.Tensor:
    """Returns what the view shows, uint8 `[h, w, 3]`."""
    if view.crop is None:
        frame = tf.image.decode_jpeg(encoded, channels=3, dct_method=dct_method)
    else:
        frame = tf.image.decode_and_crop_jpeg(encoded, view.crop, channels=3, dct_method=dct_method)
    if view.flip is None:
        return frame
    # Before the resize: bytes of the stored size are less than floats of the wanted one. The axes
    # are [1] or none at all, which is cheaper than a condition.
    return tf.reverse(frame, tf.range(1, 1 + tf.cast(view.flip, tf.int32)))


def nearest(timestamps: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
    """Returns for each time `[N]` the index of the nearest timestamp `[stored]`, int64 `[N]`.

    Of two that are equally near, the earlier in the list; past the end, the last.
    """
    return tf.argmin(tf.abs(timestamps[tf.newaxis] - times[:, tf.newaxis]), axis=1)


def front_end(settings: ClipSettings) -> Callable[[tf.Tensor], tf.Tensor]:
    """What a server does with raw frames before the model.

    Args:
      settings: Those the model was trained with.

    Returns:
      A function from uint8 RGB frames `[B, N, h, w, 3]` of any number N >= 1 and any size, evenly
      spread over the clip, to float32 `[B, num_frames, height, width, 3]`.

    Raises:
      ValueError: where the mean and deviation of the dataset are not measured.
    """
    num_frames, height, width, _ = settings.shapes["visual"]
    _mean_and_deviation(settings.video)

    def video_front_end(frames: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(frames)
        # Frame i stands for the time (i + 0.5) / N; wanted are the times (j + 0.5) / num_frames.
        chosen = ((2 * tf.range(num_frames) + 1) * shape[1]) // (2 * num_frames)
        frames = tf.gather(frames, chosen, axis=1)
        folded = tf.reshape(frames, [shape[0] * num_frames, shape[2], shape[3], 3])
        resized = resize(folded, height, width)
        batch_shape = [shape[0], num_frames, height, width, 3]
        return normalise(tf.reshape(resized, batch_shape), settings.video)

    return video_front_end
