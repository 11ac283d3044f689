"""Windows, times of frames and masks of one clip whose sound and pictures tell the time."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import clips
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import Source

RATE = 8000
SETTINGS = ClipSettings(
    window_s=4.0,
    audio=AudioSettings(sample_rate_hz=RATE, fft_length=64, hop_length=200),
    video=VideoSettings(num_frames=2, height=8, width=8, crop_min_area=1.0, flip=False),
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """8 s: the sample at t s is 1000 t, and the picture, 8 a second, has the grey level 30 t."""
    waveform = (np.arange(8 * RATE) * 1000 // RATE).astype(np.int16)
    pictures = [np.full((8, 8, 3), round(30 * i / 8), np.uint8) for i in range(64)]
    times_us = [i * 125_000 for i in range(64)]
    source = Source("clip", "x", waveform, pictures, times_us=times_us)
    folder = handmade_records.write(
        tmp_path_factory.mktemp("r") / "r", {"train": [source]}, SETTINGS, shards=1
    )
    (shard,) = folder.glob("*.tfrecord")
    return next(iter(tf.data.TFRecordDataset(str(shard))))


def _examples(record, settings, training, count=60):
    load = clips.Loader(settings, seed=5, training=training)
    return [clips.example(record, load, number) for number in range(count)]


def _times_s(example):
    return example.frames.astype(float).mean(axis=(1, 2, 3)) / 30


def test_the_window_is_random_in_training_and_central_in_evaluation(record):
    starts_s = [e.waveform[0] * 32.768 for e in _examples(record, SETTINGS, True)]
    assert (
        min(starts_s) < 0.3
        and max(starts_s) > 3.7
        and np.mean(starts_s) == pytest.approx(2, abs=0.5)
    )
    (evaluated,) = _examples(record, SETTINGS, False, 1)
    assert evaluated.waveform[0] * 32.768 == pytest.approx(2.0, abs=1e-3)
    assert (evaluated.start_s, evaluated.end_s) == (2.0, 6.0)
    np.testing.assert_allclose(_times_s(evaluated), [3.0, 5.0], atol=0.1)


@pytest.mark.parametrize("training", [False, True])
def test_the_window_may_always_be_the_first(record, training):
    settings = dataclasses.replace(SETTINGS, window="start")
    for example in _examples(record, settings, training, 5):
        assert example.waveform[0] == 0 and len(example.waveform) == 4 * RATE
        np.testing.assert_allclose(_times_s(example), [1.0, 3.0], atol=0.1)


def test_random_frames_come_from_anywhere_in_their_own_part(record):
    video = dataclasses.replace(SETTINGS.video, spacing="random")
    settings = dataclasses.replace(SETTINGS, window="start", video=video)
    times_s = np.array([_times_s(example) for example in _examples(record, settings, True)])
    # Of parts from 0 to 2 and from 2 to 4 s, to the nearest of 8 pictures a second.
    for part, (first, last) in enumerate([(0, 2), (2, 4)]):
        assert first - 0.1 <= times_s[:, part].min() < first + 0.3
        assert last - 0.3 < times_s[:, part].max() <= last + 0.1
        # Uniform over 2 s: the mean of 60 draws spreads by 0.075 s.
        assert times_s[:, part].mean() == pytest.approx(first + 1, abs=0.25)
    assert abs(np.corrcoef(times_s.T)[0, 1]) < 0.4
    (evaluated,) = _examples(record, settings, False, 1)
    np.testing.assert_allclose(_times_s(evaluated), [1.0, 3.0], atol=0.1)


def test_only_training_masks_features(record):
    audio = dataclasses.replace(SETTINGS.audio, max_mask_bins=20, max_mask_steps=40)
    plain = dataclasses.replace(SETTINGS, window="start")
    masked = dataclasses.replace(plain, audio=audio)
    (expected,) = _examples(record, plain, True, 1)
    (evaluated,) = _examples(record, masked, False, 1)
    np.testing.assert_array_equal(evaluated.inputs["audio"], expected.inputs["audio"])
    changed = [
        np.mean(example.inputs["audio"] != expected.inputs["audio"])
        for example in _examples(record, masked, True, 20)
    ]
    assert len(set(changed)) > 10 and 0.05 < np.mean(changed) < 0.7
