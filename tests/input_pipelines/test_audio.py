import math

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import audio
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings


def _reference_magnitude(waveform, fft_length, hop_length, padding):
    """The definition, window by window, in float64."""
    half = fft_length // 2
    padded = np.pad(waveform.astype(np.float64), half, mode=padding)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / fft_length) for n in range(fft_length)]
    columns = []
    for step in range(1 + len(waveform) // hop_length):
        part = padded[step * hop_length : step * hop_length + fft_length]
        columns.append(np.abs(np.fft.rfft(part * np.array(window))))
    return np.stack(columns, axis=1)


def _sound(num_samples, seed=0):
    """A tone whose power falls over five decades, with a little noise."""
    time = np.arange(num_samples)
    tone = np.sin(2 * np.pi * 0.03 * time) * 10.0 ** (-5 * time / num_samples)
    noise = 1e-3 * np.random.default_rng(seed).normal(size=num_samples)
    return (0.5 * tone + noise).astype(np.float32)


@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize(
    ("rate", "num_samples", "fft_length", "hop_length", "shape"),
    [
        (22_050, 66_150, 512, 353, (257, 188)),
        (16_000, 47_530, 512, 159, (257, 299)),
        (16_000, 9_600, 512, 160, (257, 61)),
        (16_000, 129, 256, 128, (129, 2)),
        (16_000, 1_001, 256, 300, (129, 4)),
    ],
)
def test_spectrogram_is_the_centred_transform(
    padding, rate, num_samples, fft_length, hop_length, shape
):
    settings = AudioSettings(rate, fft_length, hop_length, padding)
    waveform = _sound(num_samples)
    expected = _reference_magnitude(waveform, fft_length, hop_length, padding)

    magnitude = audio.spectrogram(waveform, settings).numpy()
    assert magnitude.shape == expected.shape == shape
    assert np.abs(magnitude - expected).max() < 1e-4 * expected.max()

    logarithm = audio.log_spectrogram(waveform, settings).numpy()
    assert logarithm.shape == (*shape, 1)
    loud = expected > 1e-2
    assert loud.sum() > 50
    difference = np.abs(logarithm[..., 0] - np.log(expected + 1e-7))[loud]
    assert difference.max() < 1e-3


def test_spectrogram_of_a_cosine_by_hand():
    # A cosine of amplitude 1 at bin 4: half the sum of the window, 64 / 2 / 2, at the middle step.
    settings = AudioSettings(fft_length=64, hop_length=64)
    waveform = np.cos(2 * np.pi * 4 * np.arange(256) / 64).astype(np.float32)
    magnitude = audio.spectrogram(waveform, settings).numpy()
    np.testing.assert_allclose(magnitude[2:8, 2], [0, 8, 16, 8, 0, 0], atol=1e-4)


def test_log_of_silence():
    value = audio.log_spectrogram(tf.zeros([2, 600]), AudioSettings()).numpy()
    assert value.shape == (2, 257, 4, 1)
    np.testing.assert_allclose(value, math.log(1e-7), rtol=1e-6)


def test_spectrogram_refuses_what_it_cannot_reflect():
    with pytest.raises(ValueError, match="Received: samples=256, fft_length=512"):
        audio.spectrogram(tf.zeros([256]), AudioSettings())
    with pytest.raises(ValueError, match="Received: shape="):
        audio.spectrogram(tf.constant(1.0), AudioSettings())


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


def test_front_end_takes_any_length_and_saves_without_foreign_ops(tmp_path):
    settings = ClipSettings(
        0.5, AudioSettings(8000, 256, 200), VideoSettings(num_frames=1, height=8, width=8)
    )
    module = tf.Module()
    module.front_end = tf.function(
        audio.front_end(settings), input_signature=[tf.TensorSpec([None, None], tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    window = _sound(4000)
    expected = audio.log_spectrogram(window[np.newaxis], settings.audio)
    for waveform in [window, np.concatenate([window, window[:777]])]:
        result = loaded.front_end(waveform[np.newaxis])
        assert result.shape == (1, *settings.audio_shape)
        np.testing.assert_allclose(result, expected, atol=1e-5)
    assert np.isfinite(loaded.front_end(np.ones([3, 1], np.float32))).all()
    graph = loaded.front_end.concrete_functions[0].graph.as_graph_def()
    names = {node.op for node in graph.node}
    names |= {node.op for function in graph.library.function for node in function.node_def}
    assert not [name for name in names if name.startswith("IO>")]
