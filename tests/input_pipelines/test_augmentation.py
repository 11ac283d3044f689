import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import augmentation
from input_pipelines.settings import VideoSettings

JITTER = {"hue_jitter": 0.4, "saturation_jitter": 0.3, "value_jitter": 0.2}

# NTSC's: luma, then the two chrominance axes.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def _seed(number):
    return tf.constant([7, number], tf.int64)


def _pictures(num_frames, height, width):
    return np.random.default_rng(5).uniform(0, 255, [num_frames, height, width, 3]).astype("f4")


def test_random_crops_follow_the_rule():
    @tf.function
    def draw(numbers):
        return tf.map_fn(
            lambda number: augmentation.random_crop_box([120, 160], 0.08, tf.stack([7, number])),
            numbers,
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
    np.testing.assert_array_equal(augmentation.random_crop_box(size, 1.0, [0, 0]), expected)


def test_half_of_the_seeds_mirror():
    @tf.function
    def draw(numbers):
        return tf.map_fn(
            lambda number: augmentation.random_flip(tf.stack([3, number])),
            numbers,
            fn_output_signature=tf.bool,
        )

    # 4 standard deviations of 1,000 fair coins.
    assert abs(np.mean(draw(tf.range(1000))) - 0.5) < 4 * 0.5 / math.sqrt(1000)


def _jittered(pictures, seed, shift=0.0):
    """Hue, saturation and value in the YIQ space, by its definition, and then a shift."""
    draws = tf.random.stateless_uniform([3], seed, -1.0, 1.0, alg="philox").numpy()
    hue, saturation, value = draws * [0.4, 0.3, 0.2] + [0.0, 1.0, 1.0]
    cosine, sine = math.cos(hue) * saturation, math.sin(hue) * saturation
    change = value * np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.linalg.inv(RGB_TO_YIQ) @ change @ RGB_TO_YIQ
    return np.clip(pictures @ matrix.T + shift, 0, 255)


def test_colour_jitter_turns_and_scales_in_yiq():
    settings = VideoSettings(**JITTER)
    pictures = _pictures(2, 9, 7)
    result = augmentation.jitter_colors(tf.constant(pictures), settings, _seed(1)).numpy()
    expected = _jittered(pictures, _seed(1))
    # The published inverse matrix has few digits.
    np.testing.assert_allclose(result, expected, atol=0.5)
    assert np.abs(expected - pictures).mean() > 5
    again = augmentation.jitter_colors(tf.constant(pictures), settings, _seed(1))
    np.testing.assert_array_equal(again, result)
    other = augmentation.jitter_colors(tf.constant(pictures), settings, _seed(2)).numpy()
    assert np.abs(other - result).mean() > 1

    each = VideoSettings(augment_each_frame=True, **JITTER)
    result = augmentation.jitter_colors(tf.constant(pictures), each, _seed(1)).numpy()
    for number in range(2):
        frame_seed = tf.random.fold_in(_seed(1), number, alg="philox")
        expected = _jittered(pictures[number], frame_seed)
        np.testing.assert_allclose(result[number], expected, atol=0.5)


def test_colour_jitter_is_centred():
    grey = np.full([1, 8, 8, 3], 100, np.float32)
    settings = VideoSettings(value_jitter=0.5)
    load = tf.function(lambda seed: augmentation.jitter_colors(tf.constant(grey), settings, seed))
    values = np.array([load(_seed(number)).numpy()[0, 0, 0, 0] for number in range(300)])
    assert values.min() < 55 and values.max() > 145
    # 4 standard deviations of the mean of 300 draws uniform in 50 to 150.
    assert abs(values.mean() - 100) < 4 * 100 / math.sqrt(12 * 300)


def test_brightness_is_shifted_after_the_other_jitters():
    pictures = _pictures(2, 9, 7)
    settings = VideoSettings(brightness_jitter=0.125)
    result = augmentation.jitter_colors(tf.constant(pictures), settings, _seed(1)).numpy()
    draws = tf.random.stateless_uniform([4], _seed(1), -1.0, 1.0, alg="philox").numpy()
    shift = 0.125 * 255 * draws[3]
    assert abs(shift) > 1
    np.testing.assert_allclose(result, np.clip(pictures + shift, 0, 255), atol=1e-4)
    # The other draws do not depend on whether this one counts.
    all_four = VideoSettings(brightness_jitter=0.125, **JITTER)
    result = augmentation.jitter_colors(tf.constant(pictures), all_four, _seed(1)).numpy()
    expected = _jittered(pictures, _seed(1), shift)
    np.testing.assert_allclose(result, expected, atol=0.5)

    each = VideoSettings(brightness_jitter=0.125, augment_each_frame=True)
    grey = tf.fill([50, 2, 2, 3], 100.0)
    shifts = augmentation.jitter_colors(grey, each, _seed(1)).numpy()[:, 0, 0, 0] - 100
    assert len(np.unique(shifts)) == 50 and np.abs(shifts).max() <= 0.125 * 255
    with pytest.raises(ValueError, match="Received: brightness_jitter=1"):
        VideoSettings(brightness_jitter=1)


@pytest.mark.parametrize("each", [False, True])
def test_erased_squares(each):
    settings = VideoSettings(erase_area=0.1, augment_each_frame=each)
    # sqrt(0.1 * 30 * 40) = 10.95: sides of 10.
    ones = tf.ones([3, 30, 40, 3])
    load = tf.function(lambda seed: augmentation.erase_squares(ones, settings, seed))
    np.testing.assert_array_equal(
        load(_seed(0)), augmentation.erase_squares(ones, settings, _seed(0))
    )
    corners = []
    for number in range(200):
        erased = load(_seed(number)).numpy() == 0
        places = []
        for frame in erased:
            rows, columns, _ = np.nonzero(frame)
            y, x = rows.min(), columns.min()
            expected = np.zeros([30, 40, 3], bool)
            expected[y : y + 10, x : x + 10] = True
            np.testing.assert_array_equal(frame, expected)
            places.append((y, x))
        assert each or len(set(places)) == 1
        corners += places if each else places[:1]
    y, x = np.array(corners).T
    # Corners are uniform in 0 to 20 and 0 to 30.
    assert y.min() == 0 and y.max() == 20 and x.min() == 0 and x.max() == 30
    assert abs(y.mean() - 10) < 4 * 20.98 / math.sqrt(12 * len(y))
    assert abs(x.mean() - 15) < 4 * 30.98 / math.sqrt(12 * len(x))
    if each:
        assert len({tuple(corner) for corner in corners}) > 300


def test_a_square_larger_than_a_side_erases_all_of_it():
    settings = VideoSettings(erase_area=0.8)
    erased = augmentation.erase_squares(tf.ones([1, 10, 60, 1]), settings, _seed(0)).numpy() == 0
    # sqrt(0.8 * 10 * 60) = 21.9: 20 columns.
    assert erased.sum() == 10 * 20 and erased.all(axis=1).sum() == 20


def test_without_augmentation_nothing_is_drawn_or_imported():
    code = """
import sys
import tensorflow as tf
from input_pipelines import video
from input_pipelines.settings import VideoSettings

seed = tf.constant([1, 2], tf.int64)
encoded = tf.io.encode_jpeg(tf.zeros([20, 20, 3], tf.uint8))[tf.newaxis]
settings = VideoSettings(crop_min_area=1.0, flip=False)
load = lambda encoded: video.load_frames(encoded, settings, video.Seeds(seed, seed, seed, seed))
graph = tf.function(load).get_concrete_function(encoded).graph
assert not [node for node in graph.get_operations() if "Random" in node.type]
assert not [name for name in sys.modules if name.startswith("tensorflow_addons")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
