"""Sound as a model sees it: waveforms to features, in plain TF graph ops.

Every function runs eagerly, inside `tf.data` and inside a SavedModel that is loaded where
tensorflow-io is not installed.
"""

from collections.abc import Callable

import tensorflow as tf

from input_pipelines import filter_banks
from input_pipelines.settings import AudioSettings, ClipSettings
from input_pipelines.spectrograms import num_samples_of, power_density, require_samples, spectrogram

# Added to magnitudes and power densities before the logarithm, as the authors do.
LOG_OFFSET = 1e-7
# Added to a clip's standard deviation before the division by it, as the authors do.
DEVIATION_OFFSET = 1e-9


def features(waveform: tf.Tensor, settings: AudioSettings, normalize: bool = True) -> tf.Tensor:
    """The model's sound input.

    Args:
      waveform: float32 `[..., samples]` in [-1, 1].
      settings: Which features, and how they are normalised.
      normalize: False gives what `settings.normalization` would be applied to.

    Returns:
      float32 `[..., *settings.shape(samples)]`. An example's numbers do not depend on the others
      of its batch.

    Raises:
      ValueError: where the waveform is a scalar or known to be too short, where the sample rate
        is too low for the filters, or where "dataset" normalisation has no values yet.
    """
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    if settings.features == "spectrogram":
        values = tf.math.log(spectrogram(waveform, settings) + LOG_OFFSET)
    elif settings.features == "psd":
        values = tf.math.log(power_density(waveform, settings) + LOG_OFFSET)
    elif settings.features == "kaldi_fbank":
        values = filter_banks.kaldi(waveform, settings)
    elif settings.features == "waveform":
        require_samples(waveform, 1, settings)
        values = waveform
    else:
        values = filter_banks.log_mel(waveform, settings)
    values = _fit_time(values, settings)[..., tf.newaxis]
    num_samples = num_samples_of(waveform)
    if isinstance(num_samples, int) or settings.time_steps:
        shape = settings.shape(num_samples if isinstance(num_samples, int) else 0)
        values = tf.ensure_shape(values, waveform.shape[:-1].concatenate(shape))
    return _normalise(values, settings) if normalize else values


def mask(features: tf.Tensor, settings: AudioSettings, seed: tf.Tensor) -> tf.Tensor:
    """Hides bands of frequencies and of times of one example (SpecAugment) behind its mean.

    Each of `settings.num_masks` masks an axis has a width drawn evenly from 0 to
    `max_mask_bins` or `max_mask_steps`, at most the axis, and a place drawn evenly from those
    where it lies inside.

    Args:
      features: float32 `[A, B, 1]` of known shape, what `features` gives of one waveform.
      settings: Number and widths of the masks, and the features, which say what axis is which.
      seed: int `[2]`; the same seed hides the same bands.

    Returns:
      float32 `[A, B, 1]`.
    """
    if settings.num_masks == 0 or settings.max_mask_bins == settings.max_mask_steps == 0:
        return features
    num_bins, num_steps = features.shape[0], features.shape[1]
    time_first = settings.features == "kaldi_fbank"
    if time_first:
        num_bins, num_steps = num_steps, num_bins
    draws = tf.random.stateless_uniform([2, 2, settings.num_masks, 1], seed, alg="philox")
    bins = _bands(num_bins, settings.max_mask_bins, draws[0])
    steps = _bands(num_steps, settings.max_mask_steps, draws[1])
    rows, columns = (steps, bins) if time_first else (bins, steps)
    hidden = rows[:, tf.newaxis, tf.newaxis] | columns[:, tf.newaxis]
    return tf.where(hidden, tf.reduce_mean(features), features)


def _bands(size: int, widest: int, draws: tf.Tensor) -> tf.Tensor:
    """Returns bool `[size]`: what bands of 0 to `widest` places hide, by draws `[2, bands, 1]`."""
    widths = tf.floor(draws[0] * (min(widest, size) + 1))
    starts = tf.floor(draws[1] * (size - widths + 1))
    places = tf.range(size, dtype=tf.float32)
    return tf.reduce_any((places >= starts) & (places < starts + widths), axis=0)


def _fit_time(values: tf.Tensor, settings: AudioSettings) -> tf.Tensor:
    """Cuts or fills the time axis of `[..., A, B]` to `settings.time_steps`."""
    if settings.time_steps is None:
        return values
    time_axis = values.shape.rank - (2 if settings.features == "kaldi_fbank" else 1)
    ends = [slice(None)] * time_axis + [slice(settings.time_steps)]
    values = values[tuple(ends)]
    fill = [[0, 0]] * values.shape.rank
    fill[time_axis] = [0, settings.time_steps - tf.shape(values)[time_axis]]
    return tf.pad(values, fill)


def _normalise(values: tf.Tensor, settings: AudioSettings) -> tf.Tensor:
    """Normalises `[..., A, B, 1]`, of waveforms `[..., A, 1]`, as `settings.normalization` says."""
    if settings.normalization == "dataset":
        raise ValueError(
            "Features of a dataset need its measured mean and deviation: run "
            f"launchers.measure. Received: normalization={settings.normalization!r}."
        )
    if settings.normalization == "fixed":
        if (settings.mean, settings.deviation) == (0.0, 1.0):
            return values
        return (values - settings.mean) / settings.deviation
    axes = [-2, -1] if settings.features == "waveform" else [-3, -2, -1]
    # Silence is constant. The rounding error of its mean would be divided by a deviation of the
    # same size; constants become exact zeros first, which have no rounding error.
    values -= values[..., :1, :1] if len(axes) == 2 else values[..., :1, :1, :1]
    centred = values - tf.reduce_mean(values, axes, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axes, keepdims=True))
    return centred / (deviation + DEVIATION_OFFSET)


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


def fit_window(waveform: tf.Tensor, settings: ClipSettings) -> tf.Tensor:
    """Makes a waveform as long as the window, as `AudioSettings.short_clips` says.

    Args:
      waveform: `[..., samples]` of any length.
      settings: Those of the records.

    Returns:
      `[..., window_samples]`; with "fill", a shorter waveform as it is, but long enough for one
      step of the features.
    """
    if settings.audio.short_clips == "tile":
        return fit_length(waveform, settings.window_samples)
    waveform = tf.convert_to_tensor(waveform)[..., : settings.window_samples]
    missing = tf.maximum(settings.audio.least_samples - tf.shape(waveform)[-1], 0)
    return tf.pad(waveform, [[0, 0]] * (waveform.shape.rank - 1) + [[0, missing]])


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


def jitter_gain(waveform: tf.Tensor, settings: AudioSettings, seed: tf.Tensor) -> tf.Tensor:
    """Makes a waveform louder or quieter, as loud as it can be without clipping at most.

    Args:
      waveform: float32 `[samples]` in [-1, 1].
      settings: Say by how much.
      seed: int `[2]`; the same seed gives the same draw.

    Returns:
      float32 `[samples]` in [-1, 1].
    """
    low, high = 1.0 - settings.gain_jitter, 1.0 + settings.gain_jitter
    gain = tf.random.stateless_uniform([], seed, low, high, alg="philox")
    peak = gain * tf.reduce_max(tf.abs(waveform))
    return waveform * (gain / tf.maximum(peak, 1.0))


def front_end(settings: ClipSettings) -> Callable[[tf.Tensor], tf.Tensor]:
    """What a server does with raw sound before the model.

    Args:
      settings: Those the model was trained with.

    Returns:
      A function from float32 waveforms `[B, samples]` of any length, cut to one window, or
      repeated or filled up to one, to float32 features `[B, *settings.shapes["audio"]]`.
    """

    def audio_front_end(waveform: tf.Tensor) -> tf.Tensor:
        return features(fit_window(waveform, settings), settings.audio)

    return audio_front_end
