"""The sound of the built-in dataset that tells of two numbers, its picture's tint and haze.

Both are levels, which a network learns from coarse to fine: it need not find the one before it can
learn the other, as with kinds of sounds.
"""

import math

import numpy as np

# How far apart the parts are at most, in dB.
_RANGE_DB = 40.0
_HUM_HZ = 110.0
_NUM_PARTIALS = 12
_TICKS_S = (0.1, 0.16)
_TICK_DECAY_S = 0.004
_LOWEST_HISS_HZ = 3000.0


def draw_mixture(
    tint: float, haze: float, rng: np.random.Generator, num_samples: int, rate: int
) -> np.ndarray:
    """Draws a hum and a ticking, over a hiss.

    Args:
      tint: From 0, the ticking is 20 dB above the hum, to 1, it is 20 dB below it.
      haze: From 0, the hiss is 40 dB below the others, to 1, it is as loud as they are.
      rng: Source of all draws.
      num_samples: S.
      rate: Samples per second, >= 8,000.

    Returns:
      Waveform `[S]`.
    """
    time_s = np.arange(num_samples) / rate
    partials = np.arange(1, _NUM_PARTIALS + 1)[:, np.newaxis]
    phases = rng.uniform(0, 1, partials.shape)
    hum = np.sin(2 * math.pi * (partials * _HUM_HZ * time_s + phases)).sum(axis=0)
    period = int(rate * rng.uniform(*_TICKS_S))
    # All ticks of all clips are alike, so that a tick's height tells how loud it is.
    decay = np.exp(-np.arange(period) / rate / _TICK_DECAY_S)
    tick = np.random.default_rng(0).normal(size=period) * decay
    ticking = tick[(np.arange(num_samples) + rng.integers(period)) % period]
    spectrum = np.fft.rfft(rng.normal(size=num_samples))
    spectrum[np.fft.rfftfreq(num_samples, 1 / rate) < _LOWEST_HISS_HZ] = 0
    hiss = np.fft.irfft(spectrum, num_samples)
    lead = 10 ** ((tint - 0.5) * _RANGE_DB / 40)
    mixture = _unit(hum) * lead + _unit(ticking) / lead
    return mixture + 10 ** ((haze - 1) * _RANGE_DB / 20) * np.std(mixture) * _unit(hiss)


def _unit(sound: np.ndarray) -> np.ndarray:
    return sound / np.std(sound)
