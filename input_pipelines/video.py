"""Pictures as a model sees them: decoded, cropped, resized, normalised, in plain TF graph ops."""

from collections.abc import Callable

import tensorflow as tf

from input_pipelines.settings import ClipSettings, VideoSettings

# Of ImageNet's training pictures, RGB in [0, 1]; what the authors normalise with.
RGB_MEAN = (0.485, 0.456, 0.406)
RGB_DEVIATION = (0.229, 0.224, 0.225)

CROP_MIN_RATIO = 3 / 4
CROP_MAX_RATIO = 4 / 3
CROP_TRIES = 10

# Bilinear interpolation reads two pixels a side, so up to this factor it skips none.
MAX_PLAIN_SHRINK = 2.0


def normalise(frames: tf.Tensor) -> tf.Tensor:
    """Subtracts ImageNet's mean and divides by its standard deviation.

    Args:
      frames: RGB `[..., 3]`, uint8 or float, in [0, 255].

    Returns:
      float32 of the same shape.
    """
    return (tf.cast(frames, tf.float32) / 255.0 - RGB_MEAN) / RGB_DEVIATION


def denormalise(frames: tf.Tensor) -> tf.Tensor:
    """Turns what `normalise` gave back into pictures.

    Args:
      frames: float `[..., 3]`, normalised.

    Returns:
      uint8 RGB of the same shape.
    """
    pixels = (tf.cast(frames, tf.float32) * RGB_DEVIATION + RGB_MEAN) * 255.0
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def resize(frames: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes bilinearly; averages over skipped pixels where it shrinks a side more than twofold.

    The authors' resize always averages (antialias). That costs 4 times the plain one (4.0 against
    1.1 ms for three frames of 256 x 340 to 224 x 224), and changes little while no source pixel
    is skipped, so it is kept for the factors at which pixels would be.

    Args:
      frames: `[N, h, w, 3]`, any numeric dtype and size.
      height: Wanted, pixels.
      width: Wanted, pixels.

    Returns:
      float32 `[N, height, width, 3]`.
    """
    size = tf.cast(tf.shape(frames)[1:3], tf.float32)
    shrink = tf.reduce_max(size / tf.constant([height, width], tf.float32))
    resized = tf.cond(
        shrink > MAX_PLAIN_SHRINK,
        lambda: tf.image.resize(frames, (height, width), antialias=True),
        lambda: tf.image.resize(frames, (height, width)),
    )
    return tf.ensure_shape(resized, [frames.shape[0], height, width, 3])


def decode_frames(
    encoded: tf.Tensor,
    settings: VideoSettings,
    crop: tf.Tensor | None = None,
    flip: bool | tf.Tensor = False,
) -> tf.Tensor:
    """Decodes the frames of one clip and makes them the model's input.

    Args:
      encoded: string `[N]`, JPEG files of one size.
      settings: Height and width of the result.
      crop: int32 `[4]`, y, x, height and width in pixels of the stored frames; only this part is
        decoded. None keeps all. The same for all frames, so that motion stays motion.
      flip: Whether to mirror all frames left to right.

    Returns:
      float32 `[N, height, width, 3]`, normalised as `normalise` does.
    """
    if crop is None:
        decode = _decode
    else:

        def decode(frame):
            return tf.image.decode_and_crop_jpeg(frame, crop, channels=3)

    frames = tf.map_fn(
        decode, encoded, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8)
    )
    frames = resize(frames, settings.height, settings.width)
    frames = tf.cond(
        tf.convert_to_tensor(flip), lambda: tf.reverse(frames, axis=[2]), lambda: frames
    )
    return normalise(frames)


def _decode(frame: tf.Tensor) -> tf.Tensor:
    return tf.image.decode_jpeg(frame, channels=3)


def nearest(timestamps: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
    """Returns for each time `[N]` the index of the nearest timestamp `[stored]`, int64 `[N]`.

    Of two that are equally near, the earlier in the list; past the end, the last.
    """
    return tf.argmin(tf.abs(timestamps[tf.newaxis] - times[:, tf.newaxis]), axis=1)


def random_crop_box(
    height: int | tf.Tensor, width: int | tf.Tensor, min_area: float, seed: tf.Tensor
) -> tf.Tensor:
    """Draws one crop by the rule of torchvision's RandomResizedCrop.

    The share of the area is uniform in (min_area, 1) and the ratio width / height log-uniform in
    (3/4, 4/3). The first of 10 draws that fits the frame counts; where none does, the largest
    central part whose ratio is in that range.

    Args:
      height: Of the frame, pixels.
      width: Of the frame, pixels.
      min_area: Smallest share of the frame's area, in (0, 1].
      seed: int `[2]`; the same seed gives the same box.

    Returns:
      int32 `[4]`: y, x, height, width, inside the frame.
    """
    height = tf.cast(height, tf.float32)
    width = tf.cast(width, tf.float32)
    draws = tf.random.stateless_uniform([4, CROP_TRIES], seed, alg="philox")
    area = height * width * (min_area + (1.0 - min_area) * draws[0])
    log_min, log_max = tf.math.log(CROP_MIN_RATIO), tf.math.log(CROP_MAX_RATIO)
    ratio = tf.exp(log_min + (log_max - log_min) * draws[1])
    crop_height = tf.round(tf.sqrt(area / ratio))
    crop_width = tf.round(tf.sqrt(area * ratio))
    fits = (crop_height >= 1) & (crop_width >= 1) & (crop_height <= height) & (crop_width <= width)
    # Floor of a uniform draw over [0, free + 1): every place is equally likely.
    y = tf.minimum(tf.floor(draws[2] * (height - crop_height + 1)), height - crop_height)
    x = tf.minimum(tf.floor(draws[3] * (width - crop_width + 1)), width - crop_width)
    drawn = tf.stack([y, x, crop_height, crop_width], axis=1)[tf.argmax(fits)]

    central_height = tf.minimum(height, tf.maximum(tf.round(width / CROP_MIN_RATIO), 1.0))
    central_width = tf.minimum(width, tf.maximum(tf.round(height * CROP_MAX_RATIO), 1.0))
    central = tf.stack(
        [
            (height - central_height) // 2,
            (width - central_width) // 2,
            central_height,
            central_width,
        ]
    )
    return tf.cast(tf.where(tf.reduce_any(fits), drawn, central), tf.int32)


def front_end(settings: ClipSettings) -> Callable[[tf.Tensor], tf.Tensor]:
    """What a server does with raw frames before the model.

    Args:
      settings: Those the model was trained with.

    Returns:
      A function from uint8 RGB frames `[B, N, h, w, 3]` of any number N >= 1 and any size, evenly
      spread over the clip, to float32 `[B, num_frames, height, width, 3]`.
    """
    num_frames, height, width, _ = settings.visual_shape

    def video_front_end(frames: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(frames)
        # Frame i stands for the time (i + 0.5) / N; wanted are the times (j + 0.5) / num_frames.
        chosen = ((2 * tf.range(num_frames) + 1) * shape[1]) // (2 * num_frames)
        frames = tf.gather(frames, chosen, axis=1)
        folded = tf.reshape(frames, [shape[0] * num_frames, shape[2], shape[3], 3])
        resized = resize(folded, height, width)
        return normalise(tf.reshape(resized, [shape[0], num_frames, height, width, 3]))

    return video_front_end
