import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import augmentation, video
from input_pipelines.settings import ClipSettings, VideoSettings


def _jpegs(*pictures):
    return tf.stack([tf.io.encode_jpeg(picture, quality=100) for picture in pictures])


def _jpegs_444(*pictures):
    """Without halved colours, which a crop's border could not interpolate across."""
    return tf.stack(
        [tf.io.encode_jpeg(p, quality=100, chroma_downsampling=False) for p in pictures]
    )


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


def _seeds(number):
    return video.Seeds(*(tf.stack([tf.constant(k, tf.int64), number]) for k in range(4)))


def _flip_number(flip):
    """A number whose clip is mirrored, or not."""
    for number in range(100):
        number = tf.constant(number, tf.int64)
        if bool(augmentation.random_flip(_seeds(number).flip)) == flip:
            return number
    raise AssertionError


def test_normalise_by_hand():
    settings = VideoSettings(mean=(0.485, 0.456, 0.5), deviation=(0.229, 0.224, 0.25))
    value = video.normalise(np.array([[0, 255, 51]], np.uint8), settings).numpy()
    expected = [[-0.485 / 0.229, 0.544 / 0.224, (0.2 - 0.5) / 0.25]]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_denormalise_gives_every_grey_level_back():
    levels = np.arange(256, dtype=np.uint8)[:, np.newaxis].repeat(3, axis=1)
    settings = VideoSettings()
    normalised = video.normalise(levels, settings)
    np.testing.assert_array_equal(video.denormalise(normalised, settings), levels)


def test_values_of_the_dataset_must_be_measured():
    settings = VideoSettings(num_frames=1, normalization="dataset")
    with pytest.raises(ValueError, match="launchers.measure.*Received: normalization='dataset'"):
        video.load_frames(_jpegs(_gradient(24, 32)), settings)
    with pytest.raises(ValueError, match="Received"):
        video.front_end(ClipSettings(video=settings))
    # Flow is not normalised.
    assert video.load_flow(_jpegs(_gradient(24, 32)), settings).shape == (1, 224, 224, 2)


@pytest.mark.parametrize(("height", "width"), [(12, 16), (30, 21)])
def test_evaluation_resizes_whole_frames(height, width):
    encoded = _jpegs(_gradient(24, 32), _gradient(24, 32)[::-1])
    settings = VideoSettings(height=height, width=width)
    frames = video.load_frames(encoded, settings)
    assert frames.shape == (2, height, width, 3) and frames.dtype == tf.float32
    pixels = video.denormalise(frames, settings).numpy().astype(float)
    for picture, frame in zip(pixels, encoded, strict=True):
        expected = _bilinear(tf.io.decode_jpeg(frame).numpy().astype(float), height, width)
        # Half a level is the rounding of `denormalise`.
        assert np.abs(picture - expected).max() < 0.51


@pytest.mark.parametrize("flip", [False, True])
def test_training_resizes_one_crop_of_all_frames(flip):
    encoded = _jpegs_444(_gradient(48, 64), _gradient(48, 64)[::-1])
    settings = VideoSettings(height=30, width=40, crop_min_area=0.3)
    seeds = _seeds(_flip_number(flip))
    frames = video.load_frames(encoded, settings, seeds)
    pixels = video.denormalise(frames, settings).numpy().astype(float)
    y, x, height, width = augmentation.random_crop_box([48, 64], 0.3, seeds.crop).numpy()
    for picture, frame in zip(pixels, encoded, strict=True):
        crop = tf.io.decode_jpeg(frame).numpy().astype(float)[y : y + height, x : x + width]
        crop = crop[:, ::-1] if flip else crop
        assert np.abs(picture - _bilinear(crop, 30, 40)).max() < 0.51


def test_each_frame_is_augmented_by_itself_if_asked():
    picture = _gradient(48, 64)
    encoded = _jpegs(*[picture] * 3)
    augment = {"height": 12, "width": 16, "hue_jitter": 0.3, "erase_area": 0.1}
    seeds = _seeds(tf.constant(4, tf.int64))
    together = video.load_frames(encoded, VideoSettings(**augment), seeds).numpy()
    np.testing.assert_array_equal(together[0], together[1])
    np.testing.assert_array_equal(together[0], together[2])
    settings = VideoSettings(augment_each_frame=True, **augment)
    each = video.load_frames(encoded, settings, seeds).numpy()
    differences = [np.abs(each[i] - each[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(differences) > 0.01
    # Frame 1's draws are those of a clip with the seeds folded with 1.
    folded = video.Seeds(*(tf.random.fold_in(seed, 1, alg="philox") for seed in seeds))
    alone = video.load_frames(encoded[1:2], VideoSettings(**augment), folded).numpy()
    np.testing.assert_allclose(each[1], alone[0], atol=1e-6)


def test_flow_is_mirrored_with_its_direction():
    # Grey is "no motion".
    encoded = _jpegs_444(_gradient(24, 32), np.full([24, 32, 3], 128, np.uint8))
    stored = np.stack(
        [tf.io.decode_jpeg(f, dct_method="INTEGER_ACCURATE")[..., :2] / 255 for f in encoded]
    )
    settings = VideoSettings(height=24, width=32, crop_min_area=1.0)
    plain = video.load_flow(encoded, settings, _seeds(_flip_number(False))).numpy()
    np.testing.assert_allclose(plain, stored, atol=1e-6)
    np.testing.assert_allclose(video.load_flow(encoded, settings), plain, atol=1e-6)
    assert plain.min() == 0 and plain.max() == 1

    mirrored = video.load_flow(encoded, settings, _seeds(_flip_number(True))).numpy()
    np.testing.assert_allclose(mirrored[..., 0], 1 - stored[:, :, ::-1, 0], atol=1e-6)
    np.testing.assert_allclose(mirrored[..., 1], stored[:, :, ::-1, 1], atol=1e-6)
    assert mirrored.min() == 0 and mirrored.max() == 1
    np.testing.assert_allclose(plain[1] * 255, 128, atol=1e-4)
    np.testing.assert_allclose(mirrored[1, ..., 0] * 255, 127, atol=1e-4)


def test_flow_and_frames_share_crop_and_flip():
    encoded = _jpegs_444(_gradient(48, 64))
    settings = VideoSettings(height=12, width=16, mean=(0, 0, 0), deviation=(1, 1, 1))
    for number in range(4):
        seeds = _seeds(tf.constant(number, tf.int64))
        frames = video.load_frames(encoded, settings, seeds).numpy()[0]
        flow = video.load_flow(encoded, settings, seeds).numpy()[0]
        if augmentation.random_flip(seeds.flip):
            flow[..., 0] = 1 - flow[..., 0]
        # Flow is decoded more exactly: by 5 of 255 levels at most.
        np.testing.assert_allclose(flow, frames[..., :2], atol=5 / 255)


def test_strong_shrinking_averages_instead_of_skipping():
    stripes = np.zeros([1, 64, 64, 3], np.uint8)
    stripes[:, :, ::8] = 240
    # One column in 8 is bright: each of 8 x 8 pixels covers one such column, 240 / 8 = 30 on
    # average. Skipping pixels would give 0 everywhere.
    assert np.abs(video.resize(stripes, 8, 8).numpy()[:, :, 1:-1] - 30).max() < 12
    assert video.resize(stripes, 8, 8).numpy().mean() > 20


def test_eager_and_mapped_loading_agree():
    encoded = _jpegs(*(_gradient(40, 60) for _ in range(2)))
    jitter = {"hue_jitter": 0.3, "saturation_jitter": 0.2, "value_jitter": 0.1, "erase_area": 0.1}
    settings = VideoSettings(height=17, width=19, augment_each_frame=True, **jitter)

    def load(number):
        seeds = _seeds(number)
        return video.load_frames(encoded, settings, seeds), video.load_flow(
            encoded, settings, seeds
        )

    dataset = tf.data.Dataset.range(2).map(load, num_parallel_calls=2)
    seen = []
    for number, (frames, flow) in enumerate(dataset):
        expected_frames, expected_flow = load(tf.constant(number, tf.int64))
        np.testing.assert_allclose(frames, expected_frames, atol=1e-5)
        np.testing.assert_array_equal(flow, expected_flow)
        seen.append(frames.numpy())
    assert np.abs(seen[0] - seen[1]).mean() > 0.01


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
    pixels = video.denormalise(result, settings.video).numpy()
    np.testing.assert_array_equal(pixels[0, :, 0, 0, 0], expected)
    np.testing.assert_array_equal(pixels[1, :, -1, -1, -1], np.array(expected) + 100)


def test_front_end_equals_evaluation_of_the_same_pictures():
    settings = ClipSettings(video=VideoSettings(num_frames=2, height=9, width=11))
    encoded = _jpegs(_gradient(64, 40), _gradient(64, 40)[::-1])
    raw = tf.stack([tf.io.decode_jpeg(frame) for frame in encoded])
    np.testing.assert_allclose(
        video.front_end(settings)(raw[tf.newaxis])[0],
        video.load_frames(encoded, settings.video),
        atol=1e-6,
    )
