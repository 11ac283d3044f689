import json
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import audio, filter_banks, spectrograms
from input_pipelines.settings import FEATURES, AudioSettings, ClipSettings, VideoSettings

# What AST and the authors normalise Kaldi's filter banks with.
FBANK_MEAN = -4.503877
FBANK_DEVIATION = 2 * 5.141276


def _sound(num_samples, seed=0):
    """A tone whose power falls over five decades, with a little noise."""
    time = np.arange(num_samples)
    tone = np.sin(2 * np.pi * 0.03 * time) * 10.0 ** (-5 * time / num_samples)
    noise = 1e-3 * np.random.default_rng(seed).normal(size=num_samples)
    return (0.5 * tone + noise).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "num_samples", "shape"),
    [
        (AudioSettings(22_050, hop_length=353), 66_150, (257, 188, 1)),
        (AudioSettings(16_000, "psd", hop_length=159), 48_000, (257, 299, 1)),
        (AudioSettings(16_000, "psd", hop_length=159), 160_000, (257, 1004, 1)),
        (AudioSettings(16_000, fft_length=256, hop_length=128), 80_000, (129, 626, 1)),
        (AudioSettings(16_000, "kaldi_fbank", time_steps=1024), 160_000, (1024, 128, 1)),
        (AudioSettings(16_000, "log_mel", mel_bins=64, time_steps=90), 16_000, (64, 90, 1)),
    ],
)
def test_shapes_of_the_published_settings(settings, num_samples, shape):
    assert audio.features(_sound(num_samples), settings).shape == shape
    assert settings.shape(num_samples) == shape


def test_values_are_the_transforms_logarithms():
    waveform = _sound(3_000)
    settings = AudioSettings()
    for name, transform in (
        ("spectrogram", spectrograms.spectrogram),
        ("psd", spectrograms.power_density),
    ):
        expected = np.log(transform(waveform, settings).numpy() + 1e-7)
        result = audio.features(waveform, AudioSettings(features=name))
        np.testing.assert_allclose(result[..., 0], expected, atol=1e-5)
    for name, transform in (("kaldi_fbank", filter_banks.kaldi), ("log_mel", filter_banks.log_mel)):
        settings = AudioSettings(features=name)
        result = audio.features(waveform, settings)
        np.testing.assert_array_equal(result[..., 0], transform(waveform, settings))


def test_log_of_silence():
    value = audio.features(tf.zeros([2, 600]), AudioSettings()).numpy()
    assert value.shape == (2, 257, 4, 1)
    np.testing.assert_allclose(value, math.log(1e-7), rtol=1e-6)


@pytest.mark.parametrize("features", FEATURES)
def test_eager_graph_dataset_batch_and_single_agree(features):
    settings = AudioSettings(
        8_000, features, 64, 50, mel_bins=12, time_steps=30, normalization="clip"
    )
    waveforms = np.stack([_sound(1_400), 1e-3 * _sound(1_400, seed=1)])
    single = np.stack([audio.features(waveform, settings) for waveform in waveforms])
    assert single.shape == (2, *settings.shape(1_400))

    def function(waveform):
        return audio.features(waveform, settings)

    dataset = tf.data.Dataset.from_tensor_slices(waveforms).map(function).batch(2)
    assert dataset.element_spec.shape[1:] == single.shape[1:]
    dynamic = tf.function(function, input_signature=[tf.TensorSpec([None, None], tf.float32)])
    for result in (function(waveforms), tf.function(function)(waveforms),
                   dynamic(waveforms), dataset.get_single_element()):  # fmt: skip
        np.testing.assert_allclose(result, single, atol=1e-4)


def test_time_is_filled_and_cut_before_it_is_normalised():
    waveform = _sound(2_000)
    settings = {"features": "kaldi_fbank", "mean": FBANK_MEAN, "deviation": FBANK_DEVIATION}
    plain = filter_banks.kaldi(waveform, AudioSettings(**settings)).numpy()
    assert plain.shape == (11, 128)
    filled = np.concatenate([plain, np.zeros([4, 128])])
    for time_steps, expected in ((15, filled), (6, plain[:6])):
        result = audio.features(waveform, AudioSettings(**settings, time_steps=time_steps)).numpy()
        expected = (expected + 4.503877) / 10.282552
        np.testing.assert_allclose(result[..., 0], expected, atol=1e-5)
    assert np.isclose(filled[11, 0], 0) and np.isclose((0 + 4.503877) / 10.282552, 0.438012)


def test_a_clips_own_mean_and_deviation():
    settings = AudioSettings(features="psd", normalization="clip")
    waveforms = np.stack([_sound(3_000), np.zeros(3_000, np.float32)])
    result = audio.features(waveforms, settings).numpy()
    raw = audio.features(waveforms, settings, normalize=False).numpy().astype(np.float64)
    np.testing.assert_allclose(result[0], (raw[0] - raw[0].mean()) / raw[0].std(), atol=1e-4)
    np.testing.assert_array_equal(result[1], np.zeros_like(result[1]))
    np.testing.assert_allclose(raw[1], math.log(1e-7), rtol=1e-6)


def test_a_datasets_values_must_have_been_measured():
    settings = AudioSettings(normalization="dataset")
    with pytest.raises(ValueError, match="launchers.measure. Received: normalization='dataset'"):
        audio.features(tf.zeros([600]), settings)
    assert audio.features(tf.zeros([600]), settings, normalize=False).shape == (257, 4, 1)


def _masked(settings, values, count):
    """Returns where each of `count` seeds hides something, `[count, A, B]`."""
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([number, 7]))
    dataset = seeds.map(lambda seed: audio.mask(values, settings, seed)).batch(count)
    result = dataset.get_single_element().numpy()[..., 0]
    hidden = np.isclose(result, np.mean(values), atol=1e-6)
    np.testing.assert_array_equal(
        result[~hidden], np.broadcast_to(values[..., 0], hidden.shape)[~hidden]
    )
    np.testing.assert_array_equal(
        result[5], audio.mask(values, settings, tf.constant([5, 7], tf.int64))[..., 0]
    )
    return hidden


@pytest.mark.parametrize("features", ["spectrogram", "kaldi_fbank"])
def test_masks_are_evenly_drawn_bands_of_the_right_axis(features):
    # No value is near the mean of all, 149.5.
    values = np.arange(300, dtype=np.float32).reshape(12, 25, 1)
    if features == "kaldi_fbank":
        values = values.transpose(1, 0, 2)
    settings = AudioSettings(features=features, max_mask_bins=3, max_mask_steps=9)
    hidden = _masked(settings, values, 1_500)
    if features == "kaldi_fbank":
        hidden = hidden.transpose(0, 2, 1)
    bins, steps = hidden.all(2), hidden.all(1)
    np.testing.assert_array_equal(hidden, bins[:, :, None] | steps[:, None, :])
    for bands, widest in ((bins, 3), (steps, 9)):
        # One band without a hole: it begins and ends at most once.
        edges = np.diff(np.pad(bands.astype(int), [[0, 0], [1, 1]]))
        assert (edges == 1).sum(1).max() == 1
        widths = bands.sum(1)
        expected = 1_500 / (widest + 1)
        counts = np.bincount(widths, minlength=widest + 1)
        assert len(counts) == widest + 1
        assert np.abs(counts - expected).max() < 4.5 * math.sqrt(expected)
        starts = np.argmax(bands[widths == widest], axis=1)
        assert set(starts) == set(range(bands.shape[1] - widest + 1))
    # Width and place of one axis say nothing about the other's.
    assert abs(np.corrcoef(bins.sum(1), steps.sum(1))[0, 1]) < 0.1


def test_more_masks_and_masks_wider_than_the_axis():
    values = np.arange(200, dtype=np.float32).reshape(4, 50, 1)
    settings = AudioSettings(num_masks=3, max_mask_bins=100, max_mask_steps=2)
    hidden = _masked(settings, values, 300)
    bins, steps = hidden.all(2), hidden.all(1)
    assert set(bins.sum(1)) == {0, 1, 2, 3, 4}
    others = ~bins.all(1)
    edges = np.diff(np.pad(steps[others].astype(int), [[0, 0], [1, 1]]))
    assert (edges == 1).sum(1).max() == 3


def test_no_masks_change_nothing():
    values = tf.ones([3, 4, 1])
    for settings in (
        AudioSettings(),
        AudioSettings(num_masks=0, max_mask_bins=3, max_mask_steps=3),
    ):
        assert audio.mask(values, settings, [1, 2]) is values


@pytest.mark.parametrize(
    ("waveform", "expected"),
    [
        ([1, 2, 3], [1, 2, 3, 1, 2, 3, 1]),
        ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7]),
        ([4], [4] * 7),
        ([], [0] * 7),
    ],
)
def test_fit_length(waveform, expected):
    dynamic = tf.function(
        lambda value: audio.fit_length(value, 7),
        input_signature=[tf.TensorSpec([None, None], tf.float32)],
    )
    waveform = np.array([waveform, waveform], np.float32)
    np.testing.assert_array_equal(dynamic(waveform), [expected, expected])
    np.testing.assert_array_equal(audio.fit_length(waveform[0], 7), expected)


@pytest.mark.parametrize("snr_db", [20, 0, -5])
def test_noise_has_the_ratio_asked_for(snr_db):
    waveform = np.sin(np.arange(200_000) * 0.1).astype(np.float32) * 0.03
    noise = audio.add_noise(waveform, snr_db, [1, 2]).numpy() - waveform
    measured = 10 * math.log10(np.mean(waveform**2) / np.mean(noise**2))
    assert abs(measured - snr_db) < 0.2
    assert abs(np.mean(noise)) < 0.01 * np.std(noise)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.01
    # Kurtosis of a Gaussian is 3.
    assert abs(np.mean(noise**4) / np.mean(noise**2) ** 2 - 3) < 0.1


def test_noise_follows_its_seed_and_leaves_silence_alone():
    waveform = tf.ones([1000])
    first = audio.add_noise(waveform, 0.0, [1, 2])
    np.testing.assert_array_equal(first, audio.add_noise(waveform, 0.0, [1, 2]))
    assert np.abs(first - audio.add_noise(waveform, 0.0, [1, 3])).min() < 4
    assert not np.array_equal(first, audio.add_noise(waveform, 0.0, [1, 3]))
    np.testing.assert_array_equal(audio.add_noise(tf.zeros([1000]), 0.0, [1, 2]), np.zeros(1000))


@pytest.mark.parametrize("features", FEATURES)
def test_front_end_takes_any_length(features):
    clip = ClipSettings(
        0.5,
        audio=AudioSettings(8_000, features, 256, 200, mel_bins=20),
        video=VideoSettings(num_frames=1, height=8, width=8),
    )
    front_end = tf.function(
        audio.front_end(clip), input_signature=[tf.TensorSpec([None, None], tf.float32)]
    )
    window = _sound(4_000)
    expected = audio.features(window[np.newaxis], clip.audio)
    for waveform in [window, np.concatenate([window, window[:777]])]:
        result = front_end(waveform[np.newaxis])
        assert result.shape == (1, *clip.shapes["audio"])
        np.testing.assert_allclose(result, expected, atol=1e-4)
    for waveform in (np.ones([3, 1], np.float32), np.ones([3, 0], np.float32)):
        assert np.isfinite(front_end(waveform)).all()


def test_front_ends_load_where_only_tensorflow_is_imported(tmp_path):
    window = _sound(4_000)
    module, expected = tf.Module(), {}
    for features in FEATURES:
        clip = ClipSettings(0.5, audio=AudioSettings(8_000, features, 256, 200, mel_bins=20))
        function = tf.function(
            audio.front_end(clip), input_signature=[tf.TensorSpec([None, None], tf.float32)]
        )
        setattr(module, features, function)
        expected[features] = float(tf.reduce_sum(function(window[np.newaxis])))
    tf.saved_model.save(module, str(tmp_path / "saved"))
    np.save(tmp_path / "window.npy", window)
    program = f"""
import json, sys
import numpy as np
import tensorflow as tf
module = tf.saved_model.load("saved")
window = np.load("window.npy")[np.newaxis]
sums = {{name: float(tf.reduce_sum(getattr(module, name)(window))) for name in {FEATURES}}}
assert not any(name.split(".")[0] in ("input_pipelines", "tensorflow_io") for name in sys.modules)
print(json.dumps(sums))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(output.splitlines()[-1]) == pytest.approx(expected, rel=1e-5)


def test_waveforms_are_the_input_themselves():
    waveform = _sound(1_000)
    settings = AudioSettings(features="waveform")
    assert settings.shape(1_000) == (1_000, 1)
    np.testing.assert_array_equal(audio.features(waveform, settings)[:, 0], waveform)
    clip = AudioSettings(features="waveform", normalization="clip")
    expected = (waveform - np.mean(waveform)) / np.std(waveform)
    np.testing.assert_allclose(audio.features(waveform, clip)[:, 0], expected, atol=1e-5)
    # A single sample is enough, and short clips are filled.
    filled = AudioSettings(features="waveform", short_clips="fill", time_steps=5)
    np.testing.assert_array_equal(audio.features([0.5, -0.5], filled)[:, 0], [0.5, -0.5, 0, 0, 0])
    assert ClipSettings(window_s=1 / 16_000, audio=settings).shapes["audio"] == (1, 1)
    with pytest.raises(ValueError, match="Received: max_mask_steps=3"):
        AudioSettings(features="waveform", max_mask_steps=3)


def test_gain_is_evenly_drawn_and_never_clips():
    settings = AudioSettings(gain_jitter=0.1)

    def gains(waveform):
        scaled = [audio.jitter_gain(waveform, settings, [1, draw]) for draw in range(200)]
        return np.array(scaled)[:, 0] / waveform[0]

    quiet = gains(np.array([0.5, -0.25], np.float32))
    assert 0.9 <= quiet.min() < 0.905 and 1.095 < quiet.max() <= 1.1
    np.testing.assert_allclose(np.quantile(quiet, [0.25, 0.5, 0.75]), [0.95, 1, 1.05], atol=0.02)
    loud = gains(np.array([-0.5, 0.96], np.float32))
    np.testing.assert_allclose(loud, np.minimum(quiet, 1 / 0.96), rtol=1e-6)
    np.testing.assert_array_equal(audio.jitter_gain(tf.zeros([3]), settings, [1, 2]), np.zeros(3))
    with pytest.raises(ValueError, match="Received: gain_jitter=1"):
        AudioSettings(gain_jitter=1)
