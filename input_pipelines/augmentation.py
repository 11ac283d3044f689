"""What training changes at random in the pictures of a clip: place, side, colours, a hole.

All draws are stateless: the same seed always gives the same picture.
"""

import math
import warnings

import numpy as np
import tensorflow as tf

from input_pipelines.settings import VideoSettings

CROP_MIN_RATIO = 3 / 4
CROP_MAX_RATIO = 4 / 3
CROP_TRIES = 10

# In float32, as the draws are.
_LOG_MIN_RATIO, _LOG_MAX_RATIO = np.log(np.array([CROP_MIN_RATIO, CROP_MAX_RATIO], np.float32))


def random_crop_box(size: tf.Tensor, min_area: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws one crop by the rule of torchvision's RandomResizedCrop.

    The share of the area is uniform in (min_area, 1) and the ratio width / height log-uniform in
    (3/4, 4/3). The first of 10 draws that fits the frame counts; where none does, the largest
    central part whose ratio is in that range.

    Args:
      size: int `[2]`, height and width of the frame, pixels.
      min_area: Smallest share of the frame's area, in (0, 1].
      seed: int `[2]`; the same seed gives the same box.

    Returns:
      int32 `[4]`: y, x, height, width, inside the frame.
    """
    # Tens of operations on a few numbers: what they cost is their count, so both sides of the
    # frame go through each of them together.
    size = tf.cast(size, tf.float32)
    draws = tf.random.stateless_uniform([4, CROP_TRIES], seed, alg="philox")
    area_draws, ratio_draws, y_draws, x_draws = tf.unstack(draws)
    area = tf.reduce_prod(size) * (min_area + (1.0 - min_area) * area_draws)
    ratio = tf.exp(_LOG_MIN_RATIO + (_LOG_MAX_RATIO - _LOG_MIN_RATIO) * ratio_draws)
    sides = tf.round(tf.sqrt(tf.stack([area / ratio, area * ratio])))
    free = size[:, tf.newaxis] - sides
    fits = tf.reduce_all((sides >= 1.0) & (free >= 0.0), axis=0)
    # Floor of a uniform draw over [0, free + 1): every place is equally likely.
    place = tf.minimum(tf.floor(tf.stack([y_draws, x_draws]) * (free + 1.0)), free)
    drawn = tf.gather(tf.concat([place, sides], axis=0), tf.argmax(fits), axis=1)

    central_sides = tf.minimum(size, tf.maximum(tf.round(size[::-1] * CROP_MAX_RATIO), 1.0))
    central = tf.concat([(size - central_sides) // 2, central_sides], axis=0)
    return tf.cast(tf.where(tf.reduce_any(fits), drawn, central), tf.int32)


def random_flip(seed: tf.Tensor) -> tf.Tensor:
    """Draws whether to mirror: a bool scalar, true for half of the seeds, int `[2]`."""
    return tf.random.stateless_uniform([], seed, alg="philox") < 0.5


def frame_seeds(seed: tf.Tensor, num_frames: int, settings: VideoSettings) -> list[tf.Tensor]:
    """Returns a seed for each frame, or one for all of them, as `augment_each_frame` says.

    Args:
      seed: int64 `[2]`, of the clip.
      num_frames: Of the clip.
      settings: Say whether each frame is augmented by itself.
    """
    if not settings.augment_each_frame:
        return [seed]
    return [tf.random.fold_in(seed, number, alg="philox") for number in range(num_frames)]


def jitter_colors(frames: tf.Tensor, settings: VideoSettings, seed: tf.Tensor) -> tf.Tensor:
    """Turns the hue and scales saturation and brightness in the YIQ colour space, then shifts.

    Args:
      frames: float32 RGB `[N, H, W, 3]` in [0, 255], N known.
      settings: Say by how much; nothing is done where all four jitters are 0.
      seed: int64 `[2]`, of the clip.

    Returns:
      float32 `[N, H, W, 3]` in [0, 255].
    """
    scaling = (settings.hue_jitter, settings.saturation_jitter, settings.value_jitter)
    largest = (*scaling, 255.0 * settings.brightness_jitter)
    if not any(largest):
        return frames
    seeds = frame_seeds(seed, frames.shape[0], settings)
    adjusted = []
    for part, part_seed in zip(tf.split(frames, len(seeds)), seeds, strict=True):
        draws = tf.random.stateless_uniform([4], part_seed, -1.0, 1.0, alg="philox")
        hue, saturation, value, shift = tf.unstack(draws * tf.constant(largest))
        if any(scaling):
            # Linear in the pixels, so their range does not matter.
            part = _addons().image.adjust_hsv_in_yiq(part, hue, 1.0 + saturation, 1.0 + value)
        if settings.brightness_jitter:
            part += shift
        adjusted.append(part)
    return tf.clip_by_value(tf.concat(adjusted, axis=0), 0.0, 255.0)


def erase_squares(frames: tf.Tensor, settings: VideoSettings, seed: tf.Tensor) -> tf.Tensor:
    """Sets a square of each frame to zero: in normalised frames, to the mean colour.

    Every place where the square lies inside the frame is equally likely. A side of the frame that
    is shorter than the square is erased along its whole length.

    Args:
      frames: float32 `[N, H, W, C]`, all but C known.
      settings: Say which share of the area; nothing is done at 0.
      seed: int64 `[2]`, of the clip.

    Returns:
      float32 `[N, H, W, C]`.
    """
    num_frames, height, width, _ = frames.shape
    half = int(math.sqrt(settings.erase_area * height * width) / 2)
    if half == 0:
        return frames
    places = [max(1, height - 2 * half + 1), max(1, width - 2 * half + 1)]
    # Of a square that does not fit, the centre is the frame's.
    first = [min(half, height // 2), min(half, width // 2)]
    centres = []
    for frame_seed in frame_seeds(seed, num_frames, settings):
        draws = tf.random.stateless_uniform([2], frame_seed, alg="philox")
        centres.append(first + tf.cast(draws * tf.constant(places, tf.float32), tf.int32))
    offsets = tf.broadcast_to(tf.stack(centres), [num_frames, 2])
    return _addons().image.cutout(frames, [2 * half, 2 * half], offsets)


def _addons():
    """Imports tensorflow-addons, without its notice of the end of its development."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*TensorFlow Addons \(TFA\) has ended", UserWarning)
        import tensorflow_addons
    return tensorflow_addons
