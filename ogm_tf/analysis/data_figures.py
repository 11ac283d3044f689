"""Figures of a data set: its classes, its clips' lengths, and a sheet of its clips."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ogm_tf.analysis import clip_figures, figures
from ogm_tf.analysis.summaries import ClipExample
from ogm_tf.analysis.themes import LIGHT, Theme

# So many names can be read one below the other.
_MAX_NAMED_CLASSES = 60
_MAX_NAME = 24
_BINS = 40
# Of the sheet, inches.
_CELL_WIDTH, _GAP, _MARGIN, _CAPTION, _SOUND_HEIGHT, _TITLE = 3.1, 0.28, 0.35, 0.46, 1.0, 0.8
_LINE, _NOTE_LETTERS = 0.2, 12
_MAX_FRAMES = 4


def class_counts_figure(
    counts: Mapping[str, Mapping[str, int]], class_names: Sequence[str], *, theme: Theme = LIGHT
) -> Figure:
    """Draws how many clips each class has, one chart a split.

    Args:
      counts: Clips by class, for each split.
      class_names: All classes in their order; of very many, the charts show how their sizes are
        spread instead of their names.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where there is no split or no class.
    """
    if not counts or not class_names:
        raise ValueError(
            "Class counts need a split and a class. Received: "
            f"splits={list(counts)}, {len(class_names)} classes."
        )
    are_named = len(class_names) <= _MAX_NAMED_CLASSES
    height = 0.9 + 0.2 * len(class_names) if are_named else 3.1
    figure, all_axes = figures.blank_figure(
        theme, height=max(height, 2.0), width=3.2 * len(counts) + 1.0, columns=len(counts)
    )
    places = np.arange(len(class_names))
    for (split, own), axes, color in zip(counts.items(), all_axes, _colors(theme), strict=False):
        sizes = np.array([own.get(name, 0) for name in class_names])
        if are_named:
            axes.barh(places, sizes, color=color, height=0.72)
            for place, size in zip(places, sizes, strict=True):
                axes.annotate(
                    f"{size:,}", (size, place), (3, 0), textcoords="offset points", va="center",
                    fontsize=8, color=theme.muted,
                )  # fmt: skip
            axes.set_yticks(places, [_short(name) for name in class_names], parse_math=False)
            axes.set_ylim(len(class_names) - 0.4, -0.6)
            # Room for the numbers behind the bars.
            axes.set_xlim(0, max(sizes.max(), 1) * 1.22)
            axes.tick_params(axis="y", length=0, labelleft=axes is all_axes[0])
            axes.grid(axis="y", visible=False)
        else:
            axes.fill_between(places, np.sort(sizes)[::-1], step="mid", color=color, linewidth=0)
            axes.set_xlim(-0.5, len(class_names) - 0.5)
            axes.set_ylim(0, max(sizes.max(), 1) * 1.05)
            axes.set_ylabel("clips")
        axes.set_xlabel("clips" if are_named else "classes, the largest first")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        axes.set_title(split, color=theme.ink, fontsize=10, loc="left")
    return figure


def lengths_figure(
    durations_s: Mapping[str, Sequence[float]], window_s: float, *, theme: Theme = LIGHT
) -> Figure:
    """Draws how long the clips are.

    Args:
      durations_s: Of every clip of each split, seconds.
      window_s: What the model gets of a clip, seconds; it is marked.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where there is no clip.
    """
    every = [np.asarray(values, float) for values in durations_s.values()]
    together = np.concatenate([np.zeros(0), *every])
    if not together.size:
        raise ValueError(f"Lengths need a clip. Received: splits={list(durations_s)}.")
    low, high = min(together.min(), window_s), max(together.max(), window_s)
    # Clips of one length are one bar, and not a whole axis of it.
    margin = max((high - low) * 0.05, 0.1 * high, 0.05)
    edges = np.linspace(max(low - margin, 0), high + margin, _BINS + 1)
    figure, (axes,) = figures.blank_figure(theme, height=3.0, width=6.2)
    axes.hist(
        every, edges, stacked=True, color=list(_colors(theme))[: len(every)],
        label=list(durations_s), linewidth=0,
    )  # fmt: skip
    axes.axvline(
        window_s, color=theme.ink, linewidth=1.4, linestyle=(0, (4, 2)),
        label=f"what the model gets, {window_s:g} s",
    )  # fmt: skip
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("length of a clip (s)")
    axes.set_ylabel("clips")
    axes.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    figures.legend(axes, theme, columns=4)
    return figure


def contact_sheet_figure(
    examples: Sequence[ClipExample],
    title: str,
    note: str,
    *,
    columns: int = 4,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws clips beside each other: label, name, frames, optical flow and spectrogram of each.

    Args:
      examples: At least one.
      title: Above the clips.
      note: Below the title.
      columns: Clips in a row.
      theme: Colours.

    Returns:
      The figure; save it as it is, it is laid out in inches.

    Raises:
      ValueError: where there is no clip.
    """
    if not examples:
        raise ValueError("A contact sheet needs a clip. Received: none.")
    columns = min(columns, len(examples))
    strips = [_strips(example) for example in examples]
    has_sound = any(example.spectrogram is not None for example in examples)
    heights = [
        max(_CELL_WIDTH * image.shape[0] / image.shape[1] for image in row if image is not None)
        for row in itertools.zip_longest(*strips)
    ]
    cell_height = _CAPTION + sum(heights) + 0.06 * len(heights) + _SOUND_HEIGHT * has_sound
    rows = -(-len(examples) // columns)
    width = max(2 * _MARGIN + columns * (_CELL_WIDTH + _GAP) - _GAP, 7.0)
    lines = textwrap.wrap(note, int(width * _NOTE_LETTERS)) or [""]
    first_top = _TITLE + _LINE * (len(lines) - 1)
    height = first_top + _MARGIN + rows * (cell_height + _GAP)
    figure = Figure(figsize=(width, height), facecolor=theme.page)

    def at(left, top, wide, high):
        return left / width, 1 - (top + high) / height, wide / width, high / height

    def write(left, top, text, size, color, weight="normal"):
        return figure.text(
            left / width, 1 - top / height, text, fontsize=size, color=color, weight=weight,
            va="top", parse_math=False,
        )  # fmt: skip

    write(_MARGIN, 0.26, title, 14, theme.ink, "bold")
    for number, line in enumerate(lines):
        write(_MARGIN, 0.56 + _LINE * number, line, 9.5, theme.muted)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for number, (example, images) in enumerate(zip(examples, strips, strict=True)):
        left = _MARGIN + number % columns * (_CELL_WIDTH + _GAP)
        top = first_top + _MARGIN / 2 + number // columns * (cell_height + _GAP)
        label = write(left, top, example.label, 11, theme.ink, "bold")
        name = write(left, top + 0.2, example.clip_id, 7.5, theme.muted)
        for text in (label, name):
            _cut_to_fit(text, _CELL_WIDTH * figure.dpi, renderer)
        top += _CAPTION
        for image, tall in zip(images, heights, strict=False):
            axes = _picture_axes(figure, at(left, top, _CELL_WIDTH, tall), theme)
            axes.imshow(image, interpolation="antialiased")
            top += tall + 0.06
        if example.spectrogram is not None:
            axes = _picture_axes(figure, at(left, top, _CELL_WIDTH, _SOUND_HEIGHT), theme)
            clip_figures.draw_spectrogram(
                axes, example.spectrogram, example.sample_rate_hz, example.hop_length,
                example.is_mel,
            )  # fmt: skip
            axes.set(xlabel="", ylabel="")
    return figure


def _picture_axes(figure: Figure, place: tuple[float, ...], theme: Theme) -> Axes:
    axes = figure.add_axes(place, facecolor=theme.surface)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _cut_to_fit(text: Text, pixels: float, renderer: RendererBase) -> None:
    kept = text.get_text()
    while text.get_window_extent(renderer).width > pixels:
        # Letters differ in width, so the first cut may not be enough.
        kept = kept[: -max(1, len(kept) // 20)]
        text.set_text(f"{kept}…")


def _strips(example: ClipExample) -> list[np.ndarray]:
    """Returns frames side by side, and flow, where there are: RGBA, clear between the frames."""
    flow = None if example.flow is None else clip_figures.flow_pictures(example.flow)
    strips = []
    for pictures in (example.frames, flow):
        if pictures is not None:
            places = np.linspace(0, len(pictures) - 1, min(_MAX_FRAMES, len(pictures))).round()
            shown = np.asarray(pictures)[np.unique(places).astype(int)]
            gap = max(1, shown.shape[2] // 32)
            opaque = np.full((*shown.shape[:3], 1), 255, np.uint8)
            shown = np.concatenate([shown, opaque], axis=-1)
            shown = np.pad(shown, [(0, 0), (0, 0), (0, gap), (0, 0)])
            strips.append(np.concatenate(shown, axis=1)[:, :-gap])
    return strips


def _colors(theme: Theme) -> tuple[str, ...]:
    return (*theme.modalities, *theme.runs)


def _short(name: str, longest: int = _MAX_NAME) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
