"""Sound as a model sees it: waveforms to log-magnitude spectrograms, in plain TF graph ops.

Every function runs eagerly, inside `tf.data` and inside a SavedModel that is loaded where
tensorflow-io is not installed.
"""

from collections.abc import Callable

import tensorflow as tf

from input_pipelines.settings import AudioSettings, ClipSettings

# Added to magnitudes before the logarithm, as the authors do.
LOG_OFFSET = 1e-7


def spectrogram(waveform: tf.Tensor, settings: AudioSettings) -> tf.Tensor:
    """Magnitudes of the centred short-time Fourier transform, equal to librosa's.

    Windows are periodic Hann, centred at the samples 0, hop, 2 hop, ...; the waveform is extended
    by half a window at both ends as `settings.padding` says.

    Args:
      waveform: float32 `[..., samples]`; "reflect" needs more than `fft_length / 2` samples.
      settings: Window, hop and padding.

    Returns:
      float32 `[..., fft_length / 2 + 1, 1 + samples // hop_length]`.

    Raises:
      ValueError: where the waveform is a scalar, or is known to be too short to be reflected.
    """
    # Loads native plugins that nothing else in this file needs.
    import tensorflow_io as tfio

    waveform = tf.convert_to_tensor(waveform, tf.float32)
    half_window = settings.fft_length // 2
    if waveform.shape.rank in (None, 0):
        raise ValueError(
            f"`waveform` must have a known rank of 1 or more. Received: shape={waveform.shape}."
        )
    num_samples = waveform.shape[-1]
    if settings.padding == "reflect" and num_samples is not None and num_samples <= half_window:
        raise ValueError(
            "Reflect padding needs more than fft_length / 2 samples. Received: "
            f"samples={num_samples}, fft_length={settings.fft_length}."
        )
    padded = tf.pad(
        waveform,
        [[0, 0]] * (waveform.shape.rank - 1) + [[half_window, half_window]],
        mode=settings.padding.upper(),
    )
    magnitude = tfio.audio.spectrogram(
        padded,
        nfft=settings.fft_length,
        window=settings.fft_length,
        stride=settings.hop_length,
    )
    # tensorflow-io pads the end with zeros; librosa drops the windows that would reach there.
    num_steps = 1 + tf.shape(waveform)[-1] // settings.hop_length
    magnitude = tf.linalg.matrix_transpose(magnitude[..., :num_steps, :])
    static_steps = None if num_samples is None else 1 + num_samples // settings.hop_length
    shape = waveform.shape[:-1].concatenate([half_window + 1, static_steps])
    return tf.ensure_shape(magnitude, shape)


def log_spectrogram(waveform: tf.Tensor, settings: AudioSettings) -> tf.Tensor:
    """The model's sound input: ln(magnitude + 1e-7).

    Args:
      waveform: float32 `[..., samples]` in [-1, 1].
      settings: Window, hop and padding.

    Returns:
      float32 `[..., fft_length / 2 + 1, 1 + samples // hop_length, 1]`.
    """
    return tf.math.log(spectrogram(waveform, settings) + LOG_OFFSET)[..., tf.newaxis]


def decode_pcm16(pcm16: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Decodes a part of a mono waveform that is stored as little-endian int16.

    Args:
      pcm16: string scalar.
      start: First sample, integer.
      length: Samples wanted, integer.

    Returns:
      float32 `[length]` in [-1, 1).
    """
    part = tf.strings.substr(pcm16, 2 * start, 2 * length, unit="BYTE")
    return tf.cast(tf.io.decode_raw(part, tf.int16, little_endian=True), tf.float32) / 32768.0


def fit_length(waveform: tf.Tensor, num_samples: int) -> tf.Tensor:
    """Cuts the end off, or repeats the waveform until it is long enough.

    Args:
      waveform: `[..., samples]` of any length; an empty one becomes zeros.
      num_samples: Samples wanted, >= 1.

    Returns:
      `[..., num_samples]`, of the same dtype.
    """
    waveform = tf.convert_to_tensor(waveform)[..., :num_samples]
    present = tf.shape(waveform)[-1]
    repeats = (num_samples + present - 1) // tf.maximum(present, 1)
    leading = waveform.shape.rank - 1
    tiled = tf.tile(waveform, tf.concat([tf.ones([leading], tf.int32), [repeats]], axis=0))
    tiled = tiled[..., :num_samples]
    missing = num_samples - tf.shape(tiled)[-1]
    filled = tf.pad(tiled, [[0, 0]] * leading + [[0, missing]])
    return tf.ensure_shape(filled, waveform.shape[:-1].concatenate(num_samples))


def add_noise(waveform: tf.Tensor, snr_db: float | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Adds white Gaussian noise at a signal-to-noise ratio.

    Args:
      waveform: float32 `[samples]`.
      snr_db: Mean power of this waveform over the noise's expected power, decibels. Silence has
        no power and stays silent.
      seed: int `[2]`; the same seed gives the same noise.

    Returns:
      float32 `[samples]`, not clipped to [-1, 1].
    """
    power = tf.reduce_mean(tf.square(waveform))
    power = tf.where(tf.size(waveform) > 0, power, 0.0)
    deviation = tf.sqrt(power) * tf.pow(10.0, -tf.cast(snr_db, tf.float32) / 20.0)
    noise = tf.random.stateless_normal(tf.shape(waveform), seed, alg="philox")
    return waveform + deviation * noise


def front_end(settings: ClipSettings) -> Callable[[tf.Tensor], tf.Tensor]:
    """What a server does with raw sound before the model.

    Args:
      settings: Those the model was trained with.

    Returns:
      A function from float32 waveforms `[B, samples]` of any length, cut or repeated to one
      window, to float32 `[B, F, T, 1]`.
    """

    def audio_front_end(waveform: tf.Tensor) -> tf.Tensor:
        return log_spectrogram(fit_length(waveform, settings.window_samples), settings.audio)

    return audio_front_end
