"""Short-time transforms against their definitions, window by window in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import spectrograms
from input_pipelines.settings import AudioSettings


def sound(num_samples, seed=0):
    """A tone whose power falls over five decades, with a little noise."""
    time = np.arange(num_samples)
    tone = np.sin(2 * np.pi * 0.03 * time) * 10.0 ** (-5 * time / num_samples)
    noise = 1e-3 * np.random.default_rng(seed).normal(size=num_samples)
    return (0.5 * tone + noise).astype(np.float32)


def reference_magnitude(waveform, fft_length, hop_length, padding):
    half = fft_length // 2
    padded = np.pad(waveform.astype(np.float64), half, mode=padding)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / fft_length) for n in range(fft_length)]
    columns = []
    for step in range(1 + len(waveform) // hop_length):
        part = padded[step * hop_length : step * hop_length + fft_length]
        columns.append(np.abs(np.fft.rfft(part * np.array(window))))
    return np.stack(columns, axis=1)


def _reference_tukey(length):
    """The symmetric window of length + 1 without its last value, an eighth of it each slope."""
    window = np.ones(length)
    for n in range(length):
        place = n / length
        if place < 0.125:
            window[n] = 0.5 * (1 + math.cos(math.pi * (8 * place - 1)))
        elif place > 0.875:
            window[n] = 0.5 * (1 + math.cos(math.pi * (8 * place - 7)))
    return window


def reference_density(waveform, rate, fft_length, hop_length):
    window = _reference_tukey(fft_length)
    columns = []
    for start in range(0, len(waveform) - fft_length + 1, hop_length):
        part = waveform[start : start + fft_length].astype(np.float64)
        spectrum = np.fft.fft((part - part.mean()) * window)[: fft_length // 2 + 1]
        density = np.abs(spectrum) ** 2 / (rate * sum(value * value for value in window))
        density[1:-1] *= 2
        columns.append(density)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize(
    ("num_samples", "fft_length", "hop_length", "shape"),
    [
        (66_150, 512, 353, (257, 188)),
        (47_530, 512, 159, (257, 299)),
        (80_000, 256, 128, (129, 626)),
        (129, 256, 128, (129, 2)),
        (1_001, 256, 300, (129, 4)),
        (40, 12, 1, (7, 41)),
    ],
)
def test_spectrogram_is_the_centred_transform(padding, num_samples, fft_length, hop_length, shape):
    settings = AudioSettings(fft_length=fft_length, hop_length=hop_length, padding=padding)
    waveform = sound(num_samples)
    expected = reference_magnitude(waveform, fft_length, hop_length, padding)
    magnitude = spectrograms.spectrogram(waveform, settings).numpy()
    assert magnitude.shape == expected.shape == shape
    assert np.abs(magnitude - expected).max() < 1e-5 * expected.max()
    loud = expected > 1e-2
    assert loud.sum() > 30
    assert np.abs(np.log(magnitude + 1e-7) - np.log(expected + 1e-7))[loud].max() < 1e-3


def test_spectrogram_of_a_cosine_by_hand():
    # A cosine of amplitude 1 at bin 4: half the sum of the window, 64 / 2 / 2, at the middle step.
    settings = AudioSettings(fft_length=64, hop_length=64)
    waveform = np.cos(2 * np.pi * 4 * np.arange(256) / 64).astype(np.float32)
    magnitude = spectrograms.spectrogram(waveform, settings).numpy()
    np.testing.assert_allclose(magnitude[2:8, 2], [0, 8, 16, 8, 0, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("rate", "num_samples", "fft_length", "hop_length", "shape"),
    [
        (16_000, 48_000, 512, 159, (257, 299)),
        (16_000, 160_000, 512, 159, (257, 1004)),
        (8_000, 64, 64, 100, (33, 1)),
        (8_000, 1_000, 32, 32, (17, 31)),
    ],
)
def test_power_density_is_scipys(rate, num_samples, fft_length, hop_length, shape):
    settings = AudioSettings(rate, "psd", fft_length, hop_length)
    waveform = sound(num_samples) + np.float32(0.2)
    expected = reference_density(waveform, rate, fft_length, hop_length)
    density = spectrograms.power_density(waveform, settings).numpy()
    assert density.shape == expected.shape == shape == settings.shape(num_samples)[:2]
    np.testing.assert_allclose(density, expected, rtol=1e-3, atol=1e-7 * expected.max())


def test_power_density_adds_up_to_the_power():
    # White noise of variance 0.04 has density 0.04 / (rate / 2) at all frequencies but the ends.
    waveform = 0.2 * np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    settings = AudioSettings(16_000, "psd", 512, 512)
    density = spectrograms.power_density(waveform, settings).numpy()
    assert abs(density[1:-1].mean() / (0.04 / 8_000) - 1) < 0.02


@pytest.mark.parametrize("length", [1, 5, 6, 7, 20])
@pytest.mark.parametrize("hop_length", [1, 4, 6, 9])
def test_windows_are_slices_of_the_waveform_and_zeros(length, hop_length):
    waveform = np.arange(1, 25).reshape(2, 12)
    padded = np.pad(waveform, [[0, 0], [0, 100]])
    starts = range(0, 4 * hop_length, hop_length)
    expected = np.stack([padded[:, start : start + length] for start in starts], axis=1)
    cut = spectrograms.cut_windows(tf.constant(waveform), 4, length, hop_length)
    np.testing.assert_array_equal(cut, expected)


@pytest.mark.parametrize("features", ["spectrogram", "psd"])
def test_unknown_lengths_and_batches_give_the_same(features):
    settings = AudioSettings(8_000, features, 64, 50)
    function = {
        "spectrogram": spectrograms.spectrogram,
        "psd": spectrograms.power_density,
    }[features]
    dynamic = tf.function(
        lambda waveform: function(waveform, settings),
        input_signature=[tf.TensorSpec([None, None, None], tf.float32)],
    )
    for num_samples in (64, 99, 500):
        waveform = np.stack([[sound(num_samples, 3 * row + column) for row in range(3)]
                             for column in range(2)])  # fmt: skip
        result = dynamic(waveform)
        for place in np.ndindex(2, 3):
            np.testing.assert_allclose(
                result[place], function(waveform[place], settings), atol=1e-6
            )
    with pytest.raises(tf.errors.InvalidArgumentError, match="Received: features="):
        dynamic(waveform[..., :32])


def test_too_short_waveforms_are_refused():
    with pytest.raises(ValueError, match="Received: samples=256, features='spectrogram'"):
        spectrograms.spectrogram(tf.zeros([256]), AudioSettings())
    assert spectrograms.spectrogram(tf.zeros([0]), AudioSettings(padding="constant")).shape[1] == 1
    with pytest.raises(ValueError, match="Received: samples=511, features='psd'"):
        spectrograms.power_density(tf.zeros([511]), AudioSettings(features="psd"))
    with pytest.raises(ValueError, match="Received: shape="):
        spectrograms.spectrogram(tf.constant(1.0), AudioSettings())
