"""The figures of one run, as a page and TensorBoard show them."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ogm_tf.analysis import figures
from ogm_tf.analysis.headlines import Terms
from ogm_tf.analysis.summaries import RunSummary
from ogm_tf.analysis.themes import LIGHT, Theme


def accuracy(
    run: RunSummary,
    modalities: Sequence[str],
    terms: Terms,
    *,
    chance: float | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws the accuracies of a run per epoch.

    Args:
      run: Checked to have the columns that are drawn.
      modalities: Names of what is balanced.
      terms: How they are called.
      chance: Accuracy of guessing, or None for no line.
      theme: Colours.
    """
    _, whole, branches = accuracy_curves(run, modalities)
    return figures.accuracy_figure(
        whole,
        branches,
        whole_name=terms.whole,
        chance=chance,
        best_epoch=run.best_epoch,
        theme=theme,
    )


def modulation(
    run: RunSummary,
    modalities: Sequence[str],
    terms: Terms,
    *,
    ratio_limits: tuple[float, float] | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Draws how far each modality is ahead, and what modulation does about it, per epoch.

    Args:
      run: Checked to have the columns that are drawn.
      modalities: Names of what is balanced.
      terms: Which columns are drawn.
      ratio_limits: Of the ratio's axis, so that runs can be compared; None fits it to the run.
      theme: Colours.
    """
    curves = balance_curves(run, modalities, terms)
    return figures.modulation_figure(
        curves["ratio"],
        curves["coefficient"],
        scores=curves.get("score"),
        window=run.window,
        ratio_limits=ratio_limits,
        theme=theme,
    )


def accuracy_curves(
    run: RunSummary, modalities: Sequence[str]
) -> tuple[str, Sequence[float], dict[str, Sequence[float]]]:
    """Returns "validation" or "training", and accuracies per epoch on it: of all, and of each name.

    They are of training where the history does not have all of them of validation.
    """
    columns = ["accuracy", *(f"{name}_accuracy" for name in modalities)]
    split, prefix = "validation", "val_"
    if any(f"{prefix}{column}" not in run.history for column in columns):
        split, prefix = "training", ""
    whole, *parts = (run.history[f"{prefix}{column}"] for column in columns)
    return split, whole, dict(zip(modalities, parts, strict=True))


def balance_curves(
    run: RunSummary, modalities: Sequence[str], terms: Terms
) -> dict[str, dict[str, Sequence[float]]]:
    """Returns ratio, coefficient and perhaps score of each modality per epoch."""
    return {
        kind: {name: run.history[f"{name}_{kind}"] for name in modalities}
        for kind in terms.curves[1:]
    }
