"""What a clip sounds and looks like, drawn: spectrograms and optical flow."""

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ogm_tf.analysis import figures
from ogm_tf.analysis.themes import LIGHT, Theme

# Motion of a stored level or two is the camera's noise: it gets no full colour.
_LEAST_FULL_SPEED = 0.02


def spectrogram_figure(
    spectrogram: np.ndarray,
    sample_rate_hz: int,
    hop_length: int,
    *,
    is_mel: bool = False,
    start_s: float = 0.0,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws one spectrogram with its axes in seconds and kilohertz.

    Args:
      spectrogram: [F, T] log magnitudes of linear bins from 0 Hz to half the sample rate.
      sample_rate_hz: Samples per second, > 0.
      hop_length: Samples between neighbouring time steps, > 0.
      is_mel: Whether the bins are mel filters instead, which are counted, not in kilohertz.
      start_s: Time at the left edge, seconds.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where the array is not [F, T] or a number is not positive.
    """
    figure, (axes,) = figures.blank_figure(theme, height=2.5)
    draw_spectrogram(axes, spectrogram, sample_rate_hz, hop_length, is_mel, start_s)
    return figure


def draw_spectrogram(
    axes: Axes,
    spectrogram: np.ndarray,
    sample_rate_hz: int,
    hop_length: int,
    is_mel: bool = False,
    start_s: float = 0.0,
) -> None:
    """Draws what `spectrogram_figure` does, into axes that are there."""
    spectrogram = np.asarray(spectrogram, np.float32)
    if spectrogram.ndim != 2 or 0 in spectrogram.shape:
        raise ValueError(
            f"A spectrogram must be [F, T]. Received: spectrogram.shape={spectrogram.shape}."
        )
    if sample_rate_hz <= 0 or hop_length <= 0:
        raise ValueError(
            "Sample rate and hop length must be > 0. Received: "
            f"sample_rate_hz={sample_rate_hz!r}, hop_length={hop_length!r}."
        )
    finite = spectrogram[np.isfinite(spectrogram)]
    # Silence lies far below all else on a log scale and would take most of the colours.
    low, high = np.percentile(finite, [5, 99.9]) if finite.size else (0, 1)
    seconds = spectrogram.shape[1] * hop_length / sample_rate_hz
    top = len(spectrogram) if is_mel else sample_rate_hz / 2000
    axes.imshow(
        spectrogram, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
        interpolation="antialiased", extent=(start_s, start_s + seconds, 0, top),
    )  # fmt: skip
    axes.grid(False)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("mel filter" if is_mel else "frequency (kHz)")


def flow_pictures(flow: np.ndarray) -> np.ndarray:
    """Returns optical flow as pictures: the hue is the direction, white is where nothing moves.

    Args:
      flow: [N, H, W, 2] in [0, 1], horizontal and vertical, 0.5 where nothing moves.

    Returns:
      [N, H, W, 3] uint8; the fastest motion of the clip has the full colour.
    """
    motion = np.nan_to_num(np.asarray(flow, np.float32)) - 0.5
    speed = np.hypot(motion[..., 0], motion[..., 1])
    hue = np.arctan2(motion[..., 1], motion[..., 0]) / (2 * np.pi) % 1
    strength = np.clip(speed / max(np.percentile(speed, 99), _LEAST_FULL_SPEED), 0, 1)
    pictures = colors.hsv_to_rgb(np.stack([hue, strength, np.ones_like(hue)], axis=-1))
    return np.round(pictures * 255).astype(np.uint8)
