import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import video
from input_pipelines.settings import ClipSettings, VideoSettings


def _jpegs(*pictures):
    return tf.stack([tf.io.encode_jpeg(picture, quality=100) for picture in pictures])


def _gradient(height, width):
    """Red grows with x, green with y: smooth, so that JPEG changes it little."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack([red, green, np.full_like(red, 90)], axis=-1).round().astype(np.uint8)


def _bilinear(picture, height, width):
    """Bilinear interpolation with half-pixel centres, pixel by pixel."""
    source_height, source_width, _ = picture.shape
    result = np.zeros([height, width, 3])
    for row in range(height):
        for column in range(width):
            y = np.clip((row + 0.5) * source_height / height - 0.5, 0, source_height - 1)
            x = np.clip((column + 0.5) * source_width / width - 0.5, 0, source_width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, source_height - 1), min(left + 1, source_width - 1)
            upper = picture[top, left] * (1 - x + left) + picture[top, right] * (x - left)
            lower = picture[bottom, left] * (1 - x + left) + picture[bottom, right] * (x - left)
            result[row, column] = upper * (1 - y + top) + lower * (y - top)
    return result


def test_normalise_by_hand():
    value = video.normalise(np.array([[0, 255, 51]], np.uint8)).numpy()
    expected = [[-0.485 / 0.229, 0.544 / 0.224, (0.2 - 0.406) / 0.225]]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_denormalise_gives_every_grey_level_back():
    levels = np.arange(256, dtype=np.uint8)[:, np.newaxis].repeat(3, axis=1)
    np.testing.assert_array_equal(video.denormalise(video.normalise(levels)), levels)


@pytest.mark.parametrize(("height", "width"), [(12, 16), (30, 21)])
def test_decoded_frames_are_bilinear_crops(height, width):
    encoded = _jpegs(_gradient(24, 32), _gradient(24, 32)[::-1])
    first, second = (tf.io.decode_jpeg(frame).numpy().astype(float) for frame in encoded)
    settings = VideoSettings(height=height, width=width)
    frames = video.decode_frames(encoded, settings)
    assert frames.shape == (2, height, width, 3) and frames.dtype == tf.float32
    # Half a level is the rounding of `denormalise`.
    pixels = video.denormalise(frames).numpy().astype(float)
    assert np.abs(pixels[0] - _bilinear(first, height, width)).max() < 0.51
    assert np.abs(pixels[1] - _bilinear(second, height, width)).max() < 0.51

    crop = video.decode_frames(encoded[:1], settings, crop=tf.constant([6, 8, 12, 20]))
    pixels = video.denormalise(crop).numpy().astype(float)
    difference = pixels[0] - _bilinear(first[6:18, 8:28], height, width)
    # At a crop's border the decoder interpolates colour without the pixels outside.
    assert np.abs(difference[1:-1, 1:-1]).max() < 2
    assert np.abs(difference).max() < 6


def test_flip_mirrors_left_to_right():
    encoded = _jpegs(_gradient(24, 32))
    settings = VideoSettings(height=10, width=14)
    frames = video.decode_frames(encoded, settings)
    mirrored = video.decode_frames(encoded, settings, flip=tf.constant(True))
    np.testing.assert_array_equal(mirrored, frames[:, :, ::-1])


def test_strong_shrinking_averages_instead_of_skipping():
    stripes = np.zeros([1, 64, 64, 3], np.uint8)
    stripes[:, :, ::8] = 240
    # One column in 8 is bright: each of 8 x 8 pixels covers one such column, 240 / 8 = 30 on
    # average. Skipping pixels would give 0 everywhere.
    assert np.abs(video.resize(stripes, 8, 8).numpy()[:, :, 1:-1] - 30).max() < 12
    assert video.resize(stripes, 8, 8).numpy().mean() > 20


def test_eager_and_mapped_decoding_agree():
    encoded = _jpegs(*(_gradient(40, 60) for _ in range(3)))
    settings = VideoSettings(height=17, width=19)

    def load(number):
        crop = video.random_crop_box(40, 60, 0.2, tf.stack([5, number]))
        return crop, video.decode_frames(encoded, settings, crop, number % 2 == 0)

    dataset = tf.data.Dataset.range(4, output_type=tf.int32).map(load, num_parallel_calls=4)
    for number, (crop, frames) in enumerate(dataset):
        expected_crop, expected = load(tf.constant(number))
        np.testing.assert_array_equal(crop, expected_crop)
        np.testing.assert_array_equal(frames, expected)


def test_random_crops_follow_the_rule():
    @tf.function
    def draw(numbers):
        return tf.map_fn(
            lambda number: video.random_crop_box(120, 160, 0.08, tf.stack([7, number])), numbers
        )

    boxes = draw(tf.range(3000)).numpy()
    y, x, height, width = boxes.T
    assert (y >= 0).all() and (x >= 0).all()
    assert (y + height <= 120).all() and (x + width <= 160).all()
    area, ratio = height * width / (120 * 160), width / height
    assert 0.078 < area.min() < 0.1 and area.max() > 0.9
    # Rounding to pixels moves the ratio a little.
    assert 0.73 < ratio.min() < 0.77 and 1.30 < ratio.max() < 1.37
    assert abs(np.mean(np.log(ratio[area < 0.4]))) < 0.02
    free = height < 119
    assert abs(np.mean(y[free] / (120 - height[free])) - 0.5) < 0.02
    assert len(np.unique(boxes, axis=0)) > 2900


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((20, 100), [0, 36, 20, 27]),
        ((100, 20), [36, 0, 27, 20]),
        ((30, 36), [0, 0, 30, 36]),
    ],
)
def test_a_crop_that_never_fits_is_central(size, expected):
    # The whole area with a ratio that is not the frame's fits in no try.
    np.testing.assert_array_equal(video.random_crop_box(*size, 1.0, [0, 0]), expected)


@pytest.mark.parametrize(
    ("stored", "expected"), [(3, [0, 1, 2]), (12, [2, 6, 10]), (1, [0, 0, 0]), (2, [0, 1, 1])]
)
def test_front_end_chooses_evenly(stored, expected):
    settings = ClipSettings(video=VideoSettings(num_frames=3, height=8, width=9))
    frames = np.zeros([2, stored, 20, 16, 3], np.uint8)
    frames += np.arange(stored, dtype=np.uint8).reshape(1, -1, 1, 1, 1)
    frames[1] += 100
    result = tf.function(
        video.front_end(settings),
        input_signature=[tf.TensorSpec([None, None, None, None, 3], tf.uint8)],
    )(frames)
    assert result.shape == (2, 3, 8, 9, 3)
    pixels = video.denormalise(result).numpy()
    np.testing.assert_array_equal(pixels[0, :, 0, 0, 0], expected)
    np.testing.assert_array_equal(pixels[1, :, -1, -1, -1], np.array(expected) + 100)


def test_front_end_equals_evaluation_of_the_same_pictures():
    settings = ClipSettings(video=VideoSettings(num_frames=2, height=9, width=11))
    encoded = _jpegs(_gradient(64, 40), _gradient(64, 40)[::-1])
    raw = tf.stack([tf.io.decode_jpeg(frame) for frame in encoded])
    np.testing.assert_allclose(
        video.front_end(settings)(raw[tf.newaxis])[0],
        video.decode_frames(encoded, settings.video),
        atol=1e-6,
    )
