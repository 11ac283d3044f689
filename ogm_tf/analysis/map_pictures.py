"""Where in the frames a network looks or finds something: maps laid over pictures, and their key.

A map is coarser than its frames, in space and perhaps in time. Its colour says how much, over a
grey picture, in which no other colour can be taken for it.
"""

import dataclasses

import numpy as np
from matplotlib import colors
from matplotlib.figure import Figure

from ogm_tf.analysis import figures
from ogm_tf.analysis.themes import LIGHT, Theme

# Of the longer side: smaller frames are drawn larger, so that the map's shades can be seen.
_LEAST_SIDE = 192
_STRONGEST = 0.8
_HIGH, _LOW = (colors.to_rgb(color) for color in ("#1684ff", "#ff7a1a"))
_ATTENTION = colors.to_rgb("#ffb000")
_LUMINANCE = (0.299, 0.587, 0.114)
_GREY_OF_KEY = 0.5


@dataclasses.dataclass(frozen=True)
class MapKind:
    """What the numbers of a map are.

    Args:
      name: One word.
      unit: Of the numbers, for the key.
      is_signed: Whether they may be below 0, which has a colour of its own; else they are >= 0.
    """

    name: str
    unit: str
    is_signed: bool


ATTENTION = MapKind("attention", "share of the frame’s attention", is_signed=False)
ACTIVATION = MapKind("activation", "logit of the place", is_signed=True)


def steps_of_frames(num_steps: int, num_frames: int) -> np.ndarray:
    """Returns the time step of a map that each frame belongs to: both span the same window."""
    return (2 * np.arange(num_frames) + 1) * num_steps // (2 * num_frames)


def overlay(frame: np.ndarray, values: np.ndarray, limit: float, kind: MapKind) -> np.ndarray:
    """Lays one time step of a map over a frame.

    Args:
      frame: uint8 `[H, W, 3]`.
      values: `[h, w]`, spread over the whole frame; what is not finite has no colour.
      limit: Size of the values that get the strongest colour, > 0.
      kind: What the values are.

    Returns:
      uint8 `[H', W', 3]`, a small frame enlarged.
    """
    size = frame.shape[:2]
    scale = max(1.0, _LEAST_SIDE / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    grey = resize(frame @ np.array(_LUMINANCE), height, width) / 255
    finite = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.round(_tinted(grey, resize(finite, height, width), limit, kind) * 255).astype(
        np.uint8
    )


def enlarged(frame: np.ndarray) -> np.ndarray:
    """Returns a frame, uint8 `[H, W, 3]`, of the size that `overlay` makes of it."""
    height, width = overlay(frame, np.zeros([1, 1]), 1.0, ATTENTION).shape[:2]
    channels = [resize(frame[..., channel], height, width) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns `[height, width]` of `[h, w]`: linear between the centres of its places."""
    values = np.asarray(values, np.float64)
    for axis, length in enumerate((height, width)):
        own = values.shape[axis]
        centres = np.clip((np.arange(length) + 0.5) * own / length - 0.5, 0, own - 1)
        before = np.floor(centres).astype(int)
        after = np.minimum(before + 1, own - 1)
        share = (centres - before).reshape([-1, 1] if axis == 0 else [1, -1])
        first, second = np.take(values, before, axis), np.take(values, after, axis)
        values = first * (1 - share) + second * share
    return values


def greatest(values: np.ndarray) -> str:
    """Returns in words where in a frame one time step of a map, `[h, w]`, is greatest."""
    if not np.isfinite(values).all():
        return "not finite"
    row, column = np.unravel_index(np.argmax(values), values.shape)
    across, down = (
        f"{(place + 0.5) / length:.0%}"
        for place, length in zip((column, row), values.shape[::-1], strict=True)
    )
    return f"greatest, {values[row, column]:.2g}, at {across} from the left, {down} from the top"


def key_figure(
    limit: float,
    kind: MapKind,
    *,
    ends: tuple[str, str] = ("", ""),
    even: float | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws what the colours of `overlay` mean.

    Args:
      limit: As of `overlay`.
      kind: What the values are.
      ends: What the least and the greatest value say, in words.
      even: A value to mark, that of attention to all places alike; None for none.
      theme: Colours.

    Returns:
      The figure: a bar of colours over an axis of values.
    """
    figure, (axes,) = figures.blank_figure(theme, height=1.05)
    low = -limit if kind.is_signed else 0.0
    values = np.linspace(low, limit, 256)[np.newaxis]
    bar = _tinted(np.full_like(values, _GREY_OF_KEY), values, limit, kind)
    axes.imshow(bar, aspect="auto", extent=(low, limit, 0, 1))
    axes.grid(False)
    axes.set_yticks([])
    axes.set_xlabel(kind.unit)
    axes.locator_params(axis="x", nbins=5)
    for place, side, words in zip((0.0, 1.0), ("left", "right"), ends, strict=True):
        axes.text(
            place, 1.08, words, transform=axes.transAxes, ha=side, va="bottom", fontsize=9.5,
            color=theme.ink,
        )  # fmt: skip
    if even is not None and even <= limit:
        axes.axvline(even, color=theme.ink, linewidth=1.4, linestyle=(0, (2, 2)))
        axes.annotate(
            "everywhere alike", (even, 1), xytext=(0, 2), textcoords="offset points",
            ha="left" if even < limit / 2 else "right", va="bottom", fontsize=9,
            color=theme.muted,
        )  # fmt: skip
    return figure


def _tinted(grey: np.ndarray, values: np.ndarray, limit: float, kind: MapKind) -> np.ndarray:
    """Returns grey pictures in [0, 1] in the colours of their values, `[..., 3]`."""
    high = _HIGH if kind.is_signed else _ATTENTION
    tint = np.where(values[..., np.newaxis] < 0, _LOW, high)
    strength = (_STRONGEST * np.clip(np.abs(values) / limit, 0, 1))[..., np.newaxis]
    return grey[..., np.newaxis] * (1 - strength) + tint * strength
