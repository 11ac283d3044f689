"""Mel filter banks: Kaldi's, and decibels of a mel-scaled spectrogram, in plain TF graph ops."""

import numpy as np
import tensorflow as tf

from input_pipelines import spectrograms
from input_pipelines.settings import AudioSettings

KALDI_LOWEST_HZ = 20.0
KALDI_PRE_EMPHASIS = 0.97
# What torchaudio puts under the logarithm at least.
KALDI_FLOOR = float(np.finfo(np.float32).eps)

# What `log_mel` keeps below a clip's loudest value.
DYNAMIC_RANGE_DB = 80.0


def kaldi(waveform: tf.Tensor, settings: AudioSettings) -> tf.Tensor:
    """Kaldi's log mel filter banks of a waveform whose mean is removed first.

    Equal to torchaudio.compliance.kaldi.fbank(waveform, htk_compat=True, use_energy=False,
    window_type="hanning", num_mel_bins=settings.mel_bins, dither=0.0), for a waveform in [-1, 1]:
    whole windows only; of each the mean is removed and high frequencies are raised before it is
    multiplied by a symmetric Hann window; the filters are triangles on the mel scale.

    Args:
      waveform: float32 `[..., samples]` in [-1, 1], with at least one window of samples.
      settings: Sample rate, hop and number of filters.

    Returns:
      float32 `[..., 1 + (samples - window_length) // hop_length, mel_bins]`.

    Raises:
      ValueError: where the waveform is a scalar, is known to be shorter than one window, or
        where the sample rate leaves no room for the filters.
    """
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    if settings.sample_rate_hz <= 2 * KALDI_LOWEST_HZ:
        raise ValueError(
            f"Kaldi's filters begin at {KALDI_LOWEST_HZ:g} Hz, so `sample_rate_hz` must be above "
            f"{2 * KALDI_LOWEST_HZ:g}. Received: sample_rate_hz={settings.sample_rate_hz}."
        )
    length = settings.window_length
    spectrograms.require_samples(waveform, length, settings)
    waveform -= tf.reduce_mean(waveform, axis=-1, keepdims=True)
    num_samples = spectrograms.num_samples_of(waveform)
    num_windows = 1 + (num_samples - length) // settings.hop_length
    windows = spectrograms.cut_windows(waveform, num_windows, length, settings.hop_length)
    windows -= tf.reduce_mean(windows, axis=-1, keepdims=True)
    # The first sample has no neighbour before it and stands in for that itself.
    before = tf.concat([windows[..., :1], windows[..., :-1]], axis=-1)
    windows = (windows - KALDI_PRE_EMPHASIS * before) * np.hanning(length).astype(np.float32)
    fft_length = 1 << (length - 1).bit_length()
    power = spectrograms.power(tf.signal.rfft(windows, [fft_length]))
    filters = _kaldi_filters(settings.sample_rate_hz, fft_length, settings.mel_bins)
    energies = tf.tensordot(power, tf.constant(filters, tf.float32), axes=1)
    return tf.math.log(tf.maximum(energies, KALDI_FLOOR))


def log_mel(waveform: tf.Tensor, settings: AudioSettings) -> tf.Tensor:
    """Decibels of the centred spectrogram's magnitudes, added up by mel filters.

    Args:
      waveform: float32 `[..., samples]`; "reflect" needs more than `fft_length / 2` samples.
      settings: Sample rate, window, hop, padding and number of filters.

    Returns:
      float32 `[..., mel_bins, 1 + samples // hop_length]`, at most 80 dB below the loudest value
      of the same example.

    Raises:
      ValueError: where the waveform is a scalar, or is known to be too short to be reflected.
    """
    # Loads native plugins that nothing else in this file needs.
    import tensorflow_io as tfio

    mel = tfio.audio.melscale(
        spectrograms.magnitudes(waveform, settings),
        rate=settings.sample_rate_hz,
        mels=settings.mel_bins,
        fmin=0,
        fmax=settings.sample_rate_hz / 2,
    )
    # tensorflow-io's own limit starts from the loudest value of the whole batch.
    decibels = tfio.audio.dbscale(mel, top_db=np.inf)
    loudest = tf.reduce_max(decibels, axis=[-2, -1], keepdims=True)
    return tf.linalg.matrix_transpose(tf.maximum(decibels, loudest - DYNAMIC_RANGE_DB))


def _kaldi_mel(frequency_hz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log(1.0 + np.asarray(frequency_hz) / 700.0)


def _kaldi_filters(sample_rate_hz: int, fft_length: int, num_filters: int) -> np.ndarray:
    """Returns weights `[fft_length / 2 + 1, num_filters]`, triangles on the mel scale."""
    highest_hz = sample_rate_hz / 2
    edges = np.linspace(_kaldi_mel(KALDI_LOWEST_HZ), _kaldi_mel(highest_hz), num_filters + 2)
    mel = _kaldi_mel(np.linspace(0.0, highest_hz, fft_length // 2 + 1))[:, np.newaxis]
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    # Kaldi's filters leave the highest bin out, which rounding could let in.
    weights[-1] = 0.0
    return weights
