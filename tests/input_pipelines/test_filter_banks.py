"""Mel filter banks against loops over windows and filters in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import filter_banks
from input_pipelines.settings import AudioSettings


def _sound(num_samples, seed=0):
    """Noise over three decades of loudness, with an offset."""
    random = np.random.default_rng(seed)
    loudness = 10.0 ** (-3 * np.arange(num_samples) / num_samples)
    return (0.1 + 0.3 * loudness * random.uniform(-1, 1, num_samples)).astype(np.float32)


def _kaldi_mel(frequency):
    return 1127 * math.log(1 + frequency / 700)


def _reference_kaldi(waveform, rate, hop_length, num_filters):
    """What Kaldi's fbank is said to do, in its own order."""
    waveform = waveform.astype(np.float64) - np.mean(waveform, dtype=np.float64)
    length = rate * 25 // 1000
    fft_length = 1
    while fft_length < length:
        fft_length *= 2
    lowest, highest = _kaldi_mel(20), _kaldi_mel(rate / 2)
    rows = []
    for start in range(0, len(waveform) - length + 1, hop_length):
        part = waveform[start : start + length] - np.mean(waveform[start : start + length])
        raised = [part[n] - 0.97 * part[max(n - 1, 0)] for n in range(length)]
        window = [0.5 - 0.5 * math.cos(2 * math.pi * n / (length - 1)) for n in range(length)]
        power = np.abs(np.fft.fft(np.array(raised) * np.array(window), fft_length)) ** 2
        row = []
        for index in range(num_filters):
            left, centre, right = (
                lowest + (index + step) * (highest - lowest) / (num_filters + 1)
                for step in range(3)
            )
            energy = 0.0
            for k in range(fft_length // 2):
                mel = _kaldi_mel(k * rate / fft_length)
                if left < mel <= centre:
                    energy += power[k] * (mel - left) / (centre - left)
                elif centre < mel < right:
                    energy += power[k] * (right - mel) / (right - centre)
            row.append(math.log(max(energy, 2.0**-23)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(
    ("rate", "num_samples", "hop_length", "num_filters", "shape"),
    [
        (16_000, 5_000, 160, 128, (29, 128)),
        (16_000, 400, 160, 23, (1, 23)),
        (44_100, 9_000, 441, 40, (18, 40)),
        (8_000, 1_500, 300, 10, (5, 10)),
    ],
)
def test_kaldi_is_the_definition(rate, num_samples, hop_length, num_filters, shape):
    settings = AudioSettings(rate, "kaldi_fbank", hop_length=hop_length, mel_bins=num_filters)
    waveform = _sound(num_samples)
    expected = _reference_kaldi(waveform, rate, hop_length, num_filters)
    result = filter_banks.kaldi(waveform, settings).numpy()
    assert result.shape == expected.shape == shape == settings.shape(num_samples)[:2]
    np.testing.assert_allclose(result, expected, atol=1e-3)
    # Filters narrower than the transform's resolution hold nothing.
    if num_filters == 128:
        assert (result == math.log(2.0**-23)).any()


def test_kaldi_of_constants_is_its_floor():
    settings = AudioSettings(features="kaldi_fbank")
    result = filter_banks.kaldi(tf.fill([2, 1000], 0.25), settings)
    np.testing.assert_allclose(result, np.full([2, 4, 128], math.log(2.0**-23)), rtol=1e-6)


def _htk_mel(frequency):
    return 1127 * math.log(1 + frequency / 700)


def _reference_log_mel(waveform, rate, fft_length, hop_length, num_filters):
    padded = np.pad(waveform.astype(np.float64), fft_length // 2, mode="reflect")
    window = np.array(
        [0.5 - 0.5 * math.cos(2 * math.pi * n / fft_length) for n in range(fft_length)]
    )
    highest = _htk_mel(rate / 2)
    columns = []
    for start in range(0, len(waveform) + 1, hop_length):
        magnitude = np.abs(np.fft.rfft(padded[start : start + fft_length] * window))
        column = []
        for index in range(num_filters):
            left, centre, right = (
                (index + step) * highest / (num_filters + 1) for step in range(3)
            )
            total = 0.0
            # TensorFlow's filters leave out the constant part.
            for k in range(1, fft_length // 2 + 1):
                mel = _htk_mel(k * rate / fft_length)
                weight = min((mel - left) / (centre - left), (right - mel) / (right - centre))
                total += max(0.0, weight) * magnitude[k]
            column.append(10 * math.log10(max(total**2, 1e-10)))
        columns.append(column)
    decibels = np.array(columns).T
    return np.maximum(decibels, decibels.max() - 80)


def test_log_mel_is_the_definition_for_each_example_of_a_batch():
    settings = AudioSettings(16_000, "log_mel", fft_length=256, hop_length=200, mel_bins=24)
    # So quiet that the loud one's limit of 80 dB would hide all of it.
    waveforms = np.stack([_sound(2_050), 1e-6 * _sound(2_050, seed=1)])
    waveforms[0, 1_000:] *= 1e-7
    result = filter_banks.log_mel(waveforms, settings).numpy()
    assert result.shape == (2, 24, 11) == (2, *settings.shape(2_050)[:2])
    for row, waveform in enumerate(waveforms):
        expected = _reference_log_mel(waveform, 16_000, 256, 200, 24)
        np.testing.assert_allclose(result[row], expected, atol=2e-2)
        np.testing.assert_allclose(result[row], filter_banks.log_mel(waveform, settings), atol=1e-4)
    assert np.isclose(result[0].max() - result[0].min(), 80, atol=1e-3)


def test_what_cannot_be_filtered_is_refused():
    settings = AudioSettings(features="kaldi_fbank")
    with pytest.raises(ValueError, match="Received: samples=399"):
        filter_banks.kaldi(tf.zeros([399]), settings)
    with pytest.raises(ValueError, match="Received: sample_rate_hz=40"):
        filter_banks.kaldi(tf.zeros([399]), AudioSettings(40, "kaldi_fbank"))
