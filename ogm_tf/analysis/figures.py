"""Figures of runs: numbers in, a `matplotlib.figure.Figure` out, no global state."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ogm_tf.analysis.themes import LIGHT, Theme

# What a ratio is drawn at where a score was 0 or nearly so: beyond, only the direction matters.
_RATIO_RANGE = (1e-3, 1e3)
_LINE_STYLES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def accuracy_figure(
    fused: Sequence[float],
    modalities: Mapping[str, Sequence[float]],
    *,
    whole_name: str = "fused",
    chance: float | None = None,
    best_epoch: int | None = None,
    quantity: str = "accuracy",
    theme: Theme = LIGHT,
) -> Figure:
    """Draws the accuracy of the fused network and of every modality's branch per epoch.

    Args:
      fused: One value an epoch, in [0, 1]; NaN leaves a gap.
      modalities: The same for each modality.
      whole_name: Of the curve `fused`.
      chance: Accuracy of guessing, or None for no line.
      best_epoch: Epoch to mark, from 0, or None.
      quantity: What the values are, if not accuracies.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where the curves are empty or differ in length.
    """
    num_epochs = _num_epochs({whole_name: fused, **modalities})
    figure, (axes,) = blank_figure(theme, height=3.1)
    _plot(axes, whole_name, fused, theme.ink, "-", linewidth=2.4)
    _plot_modalities(axes, modalities, theme)
    if chance is not None:
        axes.axhline(chance, color=theme.muted, linewidth=1, linestyle=(0, (1, 3)), label="chance")
    if best_epoch is not None:
        axes.axvline(best_epoch, color=theme.muted, linewidth=1, label="epoch kept")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(quantity)
    epoch_axis(axes, num_epochs)
    legend(axes, theme)
    return figure


def modulation_figure(
    ratios: Mapping[str, Sequence[float]],
    coefficients: Mapping[str, Sequence[float]],
    *,
    scores: Mapping[str, Sequence[float]] | None = None,
    window: tuple[int, int] | None = None,
    ratio_limits: tuple[float, float] | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws every modality's score, discrepancy ratio (log scale) and coefficient, per epoch.

    Args:
      ratios: One value >= 0 an epoch for each modality; NaN leaves a gap.
      coefficients: One value in [0, 1] an epoch for each modality.
      scores: One value in [0, 1] an epoch for each modality, or None to leave them out.
      window: First and last modulated epoch, from 0, or None where nothing is modulated.
      ratio_limits: Of the ratio's axis, so that runs can be compared; None fits it to `ratios`.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where the curves are empty or differ in length.
    """
    num_epochs = _num_epochs(
        {f"{name} ratio": values for name, values in ratios.items()}
        | {f"{name} coefficient": values for name, values in coefficients.items()}
        | {f"{name} score": values for name, values in (scores or {}).items()}
    )
    rows = 2 if scores is None else 3
    figure, all_axes = blank_figure(theme, height=2.3 * rows, rows=rows)
    *top, above, below = all_axes
    for axes in top:
        _plot_modalities(axes, scores, theme)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("score")
    drawn = {name: np.clip(_floats(values), *_RATIO_RANGE) for name, values in ratios.items()}
    _plot_modalities(above, drawn, theme)
    above.axhline(1, color=theme.muted, linewidth=1)
    above.set_yscale("log")
    low, high = ratio_limits or ratio_range(ratios)
    above.set_ylim(low, high)
    digits = (1,) if high / low > 300 else (1, 2, 5)
    above.yaxis.set_major_locator(ticker.LogLocator(subs=digits))
    above.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    above.yaxis.set_minor_locator(ticker.NullLocator())
    above.set_ylabel("ratio (log)")
    _plot_modalities(below, coefficients, theme)
    below.set_ylim(0, 1.05)
    below.set_ylabel("coefficient")
    if window is not None:
        for axes in all_axes:
            axes.axvspan(
                window[0] - 0.5, window[1] + 0.5, color=theme.muted, alpha=0.14, linewidth=0,
                label="modulated",
            )  # fmt: skip
    for axes in all_axes:
        epoch_axis(axes, num_epochs)
    for axes in all_axes[:-1]:
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")
    legend(all_axes[0], theme)
    return figure


def ratio_range(ratios: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Returns limits of a logarithmic axis around 1 that hold these ratios."""
    values = np.concatenate([[1.0], *map(_floats, ratios.values())])
    away = np.abs(np.log(np.clip(values[~np.isnan(values)], *_RATIO_RANGE))).max()
    limit = float(np.exp(max(away * 1.1, np.log(2.2))))
    return 1 / limit, limit


def loss_figure(losses: Mapping[str, Sequence[float]], *, theme: Theme = LIGHT) -> Figure:
    """Draws the training loss of every run per epoch.

    Args:
      losses: One value an epoch for each run; runs may differ in length.
      theme: Colours.

    Returns:
      The figure.

    Raises:
      ValueError: where there is no run or a run has no epoch.
    """
    num_epochs = max((_num_epochs({name: values}) for name, values in losses.items()), default=0)
    _require_points(num_epochs, losses)
    figure, (axes,) = blank_figure(theme, height=_height_with_legend(losses))
    _plot_runs(axes, {name: (np.arange(len(v)), _floats(v)) for name, v in losses.items()}, theme)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("training loss")
    epoch_axis(axes, num_epochs)
    legend(axes, theme)
    return figure


def noise_figure(
    accuracies: Mapping[str, Mapping[float, float]], *, theme: Theme = LIGHT
) -> Figure:
    """Draws the fused accuracy of every run against the noise in the sound.

    Args:
      accuracies: For each run, accuracy in [0, 1] by signal-to-noise ratio in dB.
      theme: Colours.

    Returns:
      The figure; noise grows to the right.

    Raises:
      ValueError: where there is nothing to draw.
    """
    _require_points(sum(map(len, accuracies.values())), accuracies)
    figure, (axes,) = blank_figure(theme, height=_height_with_legend(accuracies))
    curves = {}
    for name, by_snr in accuracies.items():
        snr_db = sorted(by_snr, reverse=True)
        curves[name] = (np.array(snr_db, float), _floats([by_snr[snr] for snr in snr_db]))
    _plot_runs(axes, curves, theme)
    axes.set_ylim(0, 1.02)
    axes.invert_xaxis()
    axes.set_xlabel("signal-to-noise ratio (dB)")
    axes.set_ylabel("fused accuracy")
    legend(axes, theme)
    return figure


def blank_figure(
    theme: Theme, height: float, rows: int = 1, columns: int = 1, width: float = 4.0
) -> tuple[Figure, list[Axes]]:
    """Returns a figure of so many inches, and its axes row by row, in the theme's colours."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.surface)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes:
        axes.set_facecolor(theme.surface)
        axes.grid(color=theme.grid, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(colors=theme.muted, labelsize=9)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=theme.muted, fontsize=9.5)
        for side, spine in axes.spines.items():
            spine.set(visible=side in ("left", "bottom"), color=theme.grid)
    return figure, list(all_axes)


def _floats(values: Sequence[float]) -> np.ndarray:
    # `None` is how JSON writes a number that is not one.
    return np.array([np.nan if value is None else value for value in values], float)


def _require_points(count: int, curves: Mapping) -> None:
    if not count:
        raise ValueError(f"A figure needs at least one point. Received: curves={dict(curves)!r}.")


def _num_epochs(curves: Mapping[str, Sequence[float]]) -> int:
    lengths = {name: len(values) for name, values in curves.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise ValueError(
            f"Curves must have the same number of epochs, at least one. Received: {lengths}."
        )
    return next(iter(lengths.values()))


def _plot(axes: Axes, name: str, y, color, style, x=None, linewidth: float = 1.8) -> None:
    y = _floats(y)
    # Between two gaps, and in short runs, a line alone would show nothing.
    marker = "o" if len(y) <= 15 or np.isnan(y).any() else None
    axes.plot(
        np.arange(len(y)) if x is None else x, y, label=name, color=color, linestyle=style,
        linewidth=linewidth, marker=marker, markersize=3,
    )  # fmt: skip


def _plot_modalities(axes: Axes, curves: Mapping[str, Sequence[float]], theme: Theme) -> None:
    for index, (name, values) in enumerate(curves.items()):
        color = theme.modalities[index % len(theme.modalities)]
        _plot(axes, name, values, color, _LINE_STYLES[index % len(_LINE_STYLES)])


def _plot_runs(axes: Axes, curves: Mapping[str, tuple], theme: Theme) -> None:
    styles = ("-", *_LINE_STYLES[:2])
    for index, (name, (x, y)) in enumerate(curves.items()):
        color = theme.runs[index % len(theme.runs)]
        _plot(axes, name, y, color, styles[index % len(styles)], x=x)


def epoch_axis(axes: Axes, num_epochs: int) -> None:
    """Makes the axis to the right one of so many epochs, from 0."""
    axes.set_xlim(-0.5, num_epochs - 0.5)
    axes.xaxis.set_major_locator(
        ticker.MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
    axes.set_xlabel("epoch")


def _legend_columns(names: Iterable[str]) -> int:
    longest = max(map(len, names))
    return 3 if longest < 12 else 2 if longest < 20 else 1


def _height_with_legend(names: Collection[str]) -> float:
    return 2.9 + 0.18 * -(-len(names) // _legend_columns(names))


def legend(axes: Axes, theme: Theme, columns: int | None = None, of_figure: bool = False) -> None:
    """Writes what is what above the axes, from their left edge or that of the figure."""
    handles, names = axes.get_legend_handles_labels()
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    if of_figure:
        place = {"loc": "outside upper left"}
    written = (axes.figure if of_figure else axes).legend(
        handles, [name if len(name) <= 40 else name[:39] + "…" for name in names],
        ncols=columns or _legend_columns(names), frameon=False, fontsize=9, labelcolor=theme.ink,
        handlelength=2.2, columnspacing=1.0, **place,
    )  # fmt: skip
    # A dollar sign in a name is a dollar sign, not markup.
    for text in written.get_texts():
        text.set_parse_math(False)
