"""Figures of what each modality could do, what its encoder knows, and what its branch does."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ogm_tf.analysis.figures import blank_figure, epoch_axis, legend
from ogm_tf.analysis.themes import LIGHT, Theme

# Of one modality: trained alone, a probe of its encoder, its branch in the network.
KINDS = ("alone", "probe", "branch")
_TITLES = {"alone": "trained alone", "probe": "probe of encoder", "branch": "branch"}
_MAX_NAME = 40


def branch_figure(
    accuracies: Mapping[str, Mapping[str, Mapping[str, float]]],
    modalities: Sequence[str],
    *,
    chance: float | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws a bar a kind for every modality of every run, one panel a modality.

    A kind of which no run says anything has no bar, and no place in the legend.

    Args:
      accuracies: Of each run, of each modality, by kind (`KINDS`), in [0, 1]; what is missing or
        NaN is left out.
      modalities: In the order of the panels.
      chance: Accuracy of guessing, or None for no line.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where there is no run or no modality.
    """
    if not accuracies or not modalities:
        raise ValueError(
            "A figure needs a run and a modality. "
            f"Received: runs={list(accuracies)}, modalities={list(modalities)}."
        )
    known = {
        kind
        for by_modality in accuracies.values()
        for by_kind in by_modality.values()
        for kind, value in by_kind.items()
        if np.isfinite(value)
    }
    kinds = [kind for kind in KINDS if kind in known]
    # A line for the run's name, the bars, and half a line of air.
    step = len(kinds) + 1.5
    height = 0.5 + len(modalities) * (0.55 + 0.17 * step * len(accuracies))
    figure, all_axes = blank_figure(theme, height, rows=len(modalities))
    for axes, modality, color in zip(all_axes, modalities, _colors(modalities, theme), strict=True):
        looks = {
            "alone": {"color": theme.grid, "edgecolor": theme.muted},
            "probe": {"color": theme.surface, "edgecolor": color, "hatch": "////"},
            "branch": {"color": color, "edgecolor": color},
        }
        for place, (name, by_modality) in enumerate(accuracies.items()):
            top = place * step
            short = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
            axes.text(0.005, top, short, color=theme.ink, fontsize=9, va="center", parse_math=False)
            for number, kind in enumerate(kinds, start=1):
                value = by_modality.get(modality, {}).get(kind, np.nan)
                # Nothing is drawn of a bar that is no number, but the legend has it.
                axes.barh(
                    top + number, value, height=0.86, linewidth=0.9,
                    label=_TITLES[kind] if place == 0 else None, **looks[kind],
                )  # fmt: skip
                if np.isfinite(value):
                    axes.text(
                        value + 0.012, top + number, f"{value:.2f}", color=theme.ink, fontsize=8.5,
                        va="center_baseline",
                    )  # fmt: skip
        if chance is not None:
            axes.axvline(chance, color=theme.muted, linewidth=1, linestyle=(0, (1, 3)))
            axes.plot([], [], color=theme.muted, linewidth=1, linestyle=(0, (1, 3)), label="chance")
        axes.set_ylim(step * len(accuracies) - 0.6, -0.8)
        axes.set_xlim(0, 1.1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        axes.set_ylabel(modality, color=theme.ink, fontsize=10)
    for axes in all_axes[:-1]:
        axes.tick_params(labelbottom=False)
    all_axes[-1].set_xlabel("accuracy")
    legend(all_axes[0], theme, columns=2)
    return figure


def probe_curve_figure(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    chance: float | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws a run's probes, branches and references per epoch, one panel a modality.

    Args:
      curves: Of each modality, by kind (`KINDS`), one value an epoch, in [0, 1]; over NaN the
        line goes on.
      chance: Accuracy of guessing, or None for no line.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where there is no modality or it has no epoch.
    """
    num_epochs = max(
        (len(own) for by_kind in curves.values() for own in by_kind.values()), default=0
    )
    if not num_epochs:
        raise ValueError(f"Curves must have at least one epoch. Received: curves={curves!r}.")
    figure, all_axes = blank_figure(theme, height=0.5 + 1.9 * len(curves), rows=len(curves))
    for axes, (modality, by_kind), color in zip(
        all_axes, curves.items(), _colors(list(curves), theme), strict=True
    ):
        looks = {
            "alone": {"color": theme.muted, "linestyle": "-.", "linewidth": 1.4},
            "probe": {"color": color, "linestyle": "-", "marker": "o", "markersize": 3.5},
            "branch": {"color": color, "linestyle": "--", "linewidth": 1.4},
        }
        for kind in KINDS:
            if kind in by_kind:
                values = np.array(by_kind[kind], float)
                known = np.flatnonzero(np.isfinite(values))
                axes.plot(known, values[known], label=_TITLES[kind], **looks[kind])
        if chance is not None:
            axes.axhline(
                chance, color=theme.muted, linewidth=1, linestyle=(0, (1, 3)), label="chance"
            )
        axes.set_ylim(0, 1.02)
        axes.set_ylabel(modality, color=theme.ink, fontsize=10)
        epoch_axis(axes, num_epochs)
    for axes in all_axes[:-1]:
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")
    legend(all_axes[0], theme, columns=2)
    return figure


def _colors(modalities: Sequence[str], theme: Theme) -> list[str]:
    return [theme.modalities[index % len(theme.modalities)] for index in range(len(modalities))]
