"""The part of a page about categories: a figure for each part of the network, and one number."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ogm_tf.analysis import figures
from ogm_tf.analysis.categories import Comparison, to_csv
from ogm_tf.analysis.embedding import themed
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.themes import LIGHT, Theme

CSV_NAME = "categories.csv"
_MAX_ROWS = 40
_MARKERS = ("o", "s", "D", "^")
_NO_MARKER = "v"
_MAX_NAME = 24


def category_section(
    comparisons: Sequence[Comparison], split: str, notes: Sequence[str] = ()
) -> Section:
    """Returns the part of a page about what modulation changes in every category.

    Args:
      comparisons: At least one; the last is drawn, and all are in the file `categories.csv`.
      split: Name of the split whose clips were asked.
      notes: Further sentences.
    """
    drawn = comparisons[-1]
    rows = shown_rows(drawn)
    return Section(
        title="Categories",
        anchor="categories",
        template="categories.html",
        values={
            "sentences": [_weaker_sentence(comparison) for comparison in comparisons],
            "reading": _reading(drawn, split),
            "notes": list(notes),
            "num_left_out": len(drawn.categories) - len(rows),
            "half": _MAX_ROWS // 2,
            "figures": [_figure(drawn, part, rows) for part in range(len(drawn.parts))],
            "csv_name": CSV_NAME,
        },
        files={CSV_NAME: to_csv(comparisons)},
    )


def shown_rows(comparison: Comparison, max_rows: int = _MAX_ROWS) -> np.ndarray:
    """Returns the numbers of the categories to draw: all, or those of the most gain and loss."""
    order, half = comparison.order, max_rows // 2
    if len(order) <= max_rows:
        return order
    return np.concatenate([order[:half], order[-half:]])


def category_figure(
    comparison: Comparison, part: int, rows: Sequence[int], *, theme: Theme = LIGHT
) -> Figure:
    """Draws the accuracy of one part of the network in some categories, before and after.

    Args:
      comparison: Of runs without and with modulation.
      part: Number of the part.
      rows: Numbers of the categories, from the top.
      theme: Colours.

    Returns:
      The figure. A row has a hollow mark before and a full one after, and around the latter a
      whisker: the interval of the gain over seeds, or with one seed that of the accuracy over the
      category's clips.
    """
    figure, (axes,) = figures.blank_figure(theme, height=0.9 + 0.21 * len(rows))
    modalities = comparison.parts[1:]
    before, after = (
        values[:, rows, part].mean(axis=0) for values in (comparison.before, comparison.after)
    )
    low, high = np.clip([whisker(comparison, row, part) for row in rows], 0, 1).T
    y = -np.arange(len(rows))
    for name in (*modalities, ""):
        own = np.array([comparison.dominant[row] == name for row in rows])
        if not own.any():
            continue
        color, marker = _look(name, modalities, theme)
        axes.hlines(y[own], before[own], after[own], color=color, linewidth=2)
        axes.hlines(y[own], low[own], high[own], color=color, linewidth=0.8)
        style = {"color": color, "marker": marker, "markersize": 5, "linestyle": "none"}
        axes.plot(before[own], y[own], **style, markerfacecolor=theme.surface)
        label = f"{name} dominates" if name else "neither dominates"
        axes.plot(after[own], y[own], **style, label=label)
    for text, face in (("no modulation", theme.surface), (comparison.title, theme.muted)):
        axes.plot(
            [], [], color=theme.muted, marker="o", markersize=5, linestyle="none",
            markerfacecolor=face, label=text,
        )  # fmt: skip
    axes.set_yticks(y, [_cut(comparison.categories[row]) for row in rows])
    for text in axes.get_yticklabels():
        text.set(parse_math=False, color=theme.ink, fontsize=8)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(f"{comparison.parts[part]} accuracy")
    # The axes begin where the longest name ends.
    figures.legend(axes, theme, columns=2, of_figure=True)
    return figure


def whisker(comparison: Comparison, row: int, part: int) -> tuple[float, float]:
    """Returns the ends of a row's whisker in `category_figure`, not cut to [0, 1]."""
    if len(comparison.seeds) == 1:
        return comparison.interval("after", row, part)
    before = comparison.before[:, row, part].mean()
    low, high = comparison.interval("gain", row, part)
    return before + low, before + high


def _look(name: str, modalities: Sequence[str], theme: Theme) -> tuple[str, str]:
    if not name:
        return theme.muted, _NO_MARKER
    index = modalities.index(name)
    return (
        theme.modalities[index % len(theme.modalities)],
        _MARKERS[index % len(_MARKERS)],
    )


def _figure(comparison: Comparison, part: int, rows: np.ndarray) -> dict[str, Any]:
    name = comparison.parts[part]
    before, after = (values[..., part].mean(axis=0) for values in
                     (comparison.before, comparison.after))  # fmt: skip
    said = [f"{comparison.categories[row]} {before[row]:.2f} to {after[row]:.2f}" for row in rows]
    return {
        "title": "Fused network" if part == 0 else f"{name.capitalize()} branch",
        "images": themed(lambda theme: category_figure(comparison, part, rows, theme=theme)),
        "text": f"Accuracy of {name} in each category, without modulation and with "
        f"{comparison.title}: {'; '.join(said)}.",
    }


def _weaker_sentence(comparison: Comparison) -> str:
    found = comparison.weaker_gain()
    if not any(found.num_categories):
        return f"{comparison.title}: in no category is one modality weaker than another."
    pairs = zip(comparison.seeds, found.num_categories, strict=True)
    if unknown := [str(seed) for seed, count in pairs if not count]:
        return (
            f"{comparison.title}: whether the weaker modality gains more is not known, for by the "
            f"other seeds’ runs no category has a weaker one. Seeds: {', '.join(unknown)}."
        )
    number = f"{found.difference:+.3f}"
    if not math.isnan(found.low):
        number += f" [{found.low:+.3f}, {found.high:+.3f}]"
    number = number.replace("-", "−")
    who = "weaker" if found.difference > 0 else "stronger"
    surely = "" if found.low > 0 or found.high < 0 else ", though this may be chance"
    text = (
        f"With {comparison.title}, the {who} modality of a category gains more{surely}: the weaker "
        f"one’s accuracy changes by {_signed(found.weaker)}, the stronger one’s by "
        f"{_signed(found.stronger)}; the difference is {number}, in the mean over "
        f"{_range(np.array(found.num_categories))} categories"
    )
    if found.is_over_seeds:
        return (
            f"{text} and {len(comparison.seeds)} seeds, with Student’s 95 % interval over the "
            "seeds. Which modality is weaker is told, for each seed, by the other seeds’ runs "
            "without modulation; the interval is the wider for it."
        )
    return (
        f"{text}, with Student’s 95 % interval over the categories of one seed. It says nothing "
        "about other seeds, and leans towards the weaker: the same run tells which one that is."
    )


def _reading(comparison: Comparison, split: str) -> str:
    num_pairs = len(comparison.seeds)
    text = (
        f"Accuracy in every category of the {split} split, without modulation (hollow) and with "
        f"{comparison.title} (full), by the gain of the fused network. The colour is the modality "
        "whose branch is the better one without modulation."
    )
    if num_pairs > 1:
        return (
            f"{text} Means over {num_pairs} seeds, {', '.join(map(str, comparison.seeds))}; the "
            "whisker is Student’s 95 % interval of the gain over the seeds, paired by seed."
        )
    clips = comparison.num_clips
    return (
        f"{text} One seed, {comparison.seeds[0]}: there is no interval over seeds. The whisker is "
        f"Wilson’s 95 % interval of the accuracy with {comparison.title}, over the category’s "
        f"{_range(clips)} clips."
    )


def _range(numbers: np.ndarray) -> str:
    low, high = (f"{value:g}" for value in (numbers.min(), numbers.max()))
    return low if low == high else f"{low} to {high}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _cut(name: str) -> str:
    # Names that begin alike, as those of many sounds do, differ at their end.
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME else f"{name[:half]}…{name[1 - half :]}"
