"""The part of a page that says why the weak modality starves: figures, tables, sentences."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from ogm_tf.analysis.embedding import themed
from ogm_tf.analysis.figures import blank_figure, legend
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.tables import Table
from ogm_tf.analysis.themes import LIGHT, Theme

_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# More would make the picture large and no clearer.
_MAX_POINTS = 300


class Bin(NamedTuple):
    """Clips of which the stronger modality is about as sure: how many, and their mean gradient."""

    low: float
    high: float
    num_clips: int
    mean: float | None


def bins(clips: Mapping[str, Sequence[float]]) -> list[Bin]:
    """Returns mean gradients over fifths of probability, None where there is no clip.

    Args:
      clips: Of `imbalance_results.analyze`.
    """
    probabilities = np.asarray(clips["strong_probability"])
    gradients = np.asarray(clips["weak_gradient"])
    found = []
    for low, high in zip(_EDGES[:-1], _EDGES[1:], strict=True):
        # A clip of probability 1 belongs to the last.
        inside = (probabilities >= low) & ((probabilities < high) | (high == 1))
        mean = float(gradients[inside].mean()) if inside.any() else None
        found.append(Bin(low, high, int(inside.sum()), mean))
    return found


def what_if_figure(
    found: Mapping[str, Any], *, top: float | None = None, theme: Theme = LIGHT
) -> Figure:
    """Draws what reaches the weaker encoder against how loud the stronger modality is.

    Args:
      found: Of `imbalance_results.analyze`.
      top: Of the axis; None fits it.
      theme: Colours.
    """
    curves, stronger, weaker = found["what_if"], found["stronger"], found["weaker"]
    figure, (axes,) = blank_figure(theme, height=3.1)
    lines = {
        "all clips": ("all", _color(found, theme), "-"),
        f"{stronger} right": ("right", theme.ink, "--"),
        f"{stronger} wrong": ("wrong", theme.muted, ":"),
    }
    for name, (key, color, style) in lines.items():
        if curves[key] is not None:
            axes.plot(
                curves["scales"], curves[key], label=name, color=color, linestyle=style,
                linewidth=1.8, marker="o", markersize=3,
            )  # fmt: skip
    axes.axvline(1, color=theme.muted, linewidth=1)
    axes.set_xlim(curves["scales"][0], curves["scales"][-1])
    axes.xaxis.set_major_locator(ticker.MultipleLocator(0.5))
    axes.set_ylim(0, top)
    axes.set_xlabel(f"how loud {stronger} is (0: silent, 1: as trained)")
    axes.set_ylabel(f"what {weaker} is told")
    legend(axes, theme)
    return figure


def starving_figure(
    found: Mapping[str, Any], *, top: float | None = None, theme: Theme = LIGHT
) -> Figure:
    """Draws every clip: the weaker encoder's gradient against how sure the stronger modality is.

    Args:
      found: Of `imbalance_results.analyze`.
      top: Of the axis; None fits it.
      theme: Colours.
    """
    clips, stronger, weaker = found["clips"], found["stronger"], found["weaker"]
    points = np.array([clips["strong_probability"], clips["weak_gradient"]])
    shown = np.linspace(0, points.shape[1] - 1, min(points.shape[1], _MAX_POINTS)).astype(int)
    figure, (axes,) = blank_figure(theme, height=3.1)
    axes.plot(
        *points[:, shown], label="a clip",
        color=theme.muted, linestyle="", marker="o", markersize=3, alpha=0.55,
    )  # fmt: skip
    name = "mean of a fifth"
    for low, high, _, mean in bins(clips):
        if mean is not None:
            color = _color(found, theme)
            axes.plot([low, high], [mean, mean], label=name, color=color, linewidth=3)
            name = None
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(0, top)
    axes.set_xlabel(f"probability of the true class by {stronger} alone")
    axes.set_ylabel(f"gradient of the {weaker} encoder")
    legend(axes, theme)
    return figure


def section(runs: Mapping[str, Mapping[str, Any]]) -> Section:
    """Returns the part of a page about some runs.

    Args:
      runs: What `imbalance_results.analyze` found of each, by its name, with the `split`.
    """
    # The same axes for every run, so that they can be compared.
    tops = [
        1.05 * max(max(values) for found in runs.values() for values in _curves(found)) or None,
        1.05 * max(max(found["clips"]["weak_gradient"]) for found in runs.values()) or None,
    ]
    return Section(
        "Why the weak modality starves",
        "imbalance",
        "imbalance.html",
        {
            "table": _runs_table(runs),
            "runs": [
                {
                    "name": name,
                    "kind": f"{found['fusion']} fusion, {found['split']} clips",
                    "sentences": sentences(found),
                    "figures": _figures(name, found, tops),
                    "tables": _own_tables(found),
                }
                for name, found in runs.items()
            ],
        },
    )


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Returns what is seen of one run, in words made of its numbers alone."""
    stronger, weaker, curves = found["stronger"], found["weaker"], found["what_if"]
    ahead, behind = (found["all"]["modalities"][name] for name in (stronger, weaker))
    said = (
        f"{_capital(stronger)} is ahead: alone it gives the true class a probability of "
        f"{ahead['probability']:.2f}, {weaker} alone {behind['probability']:.2f}."
    )
    if ahead["share"] is not None:
        said += (
            f" Of what lifts the true class above the others, {_percent(ahead['share'])} come from "
            f"{stronger} and {_percent(behind['share'])} from {weaker}."
        )
    told = [said]
    silent, as_trained, loud = (_at(curves, scale) for scale in (0, 1, 2))
    if as_trained:
        told.append(
            f"With {stronger} silent, the {weaker} encoder would be told "
            f"{silent / as_trained:.2f} times as much as it is; with {stronger} twice as loud, "
            f"{loud / as_trained:.2f} times as much."
        )
    filled = [own for own in bins(found["clips"]) if own.num_clips]
    low, high = filled[0], filled[-1]
    if low is not high and low.mean:
        told.append(
            f"On the {high.num_clips} clips to whose true class {stronger} alone gives "
            f"{_range(high)}, the {weaker} encoder’s gradient is {high.mean / low.mean:.2f} times "
            f"what it is on the {low.num_clips} to which it gives {_range(low)}."
        )
    return told


def as_text(name: str, found: Mapping[str, Any]) -> list[str]:
    """Returns the same for a terminal: the tables, then the sentences."""
    tables = [_runs_table({name: found}), *_own_tables(found)]
    return [*(table.as_text() for table in tables), "\n".join(sentences(found))]


def _figures(
    name: str, found: Mapping[str, Any], tops: Sequence[float | None]
) -> list[tuple[str, tuple[str, str], str]]:
    """Returns figures of a run: (title, images, text)."""
    stronger, weaker, curves = found["stronger"], found["weaker"], found["what_if"]
    points = ", ".join(
        f"{value:.3g} at {scale:g}"
        for scale, value in zip(curves["scales"], curves["all"], strict=True)
    )
    means = ", ".join(
        f"{own.mean:.3g} over {own.num_clips} clips of {_range(own)}"
        for own in bins(found["clips"])
        if own.num_clips
    )
    return [
        (
            f"If {stronger} were quieter or louder",
            themed(lambda theme: what_if_figure(found, top=tops[0], theme=theme)),
            f"Run {name}: gradient that reaches the {weaker} encoder’s output, mean over all "
            f"clips, by how loud {stronger} is: {points}.",
        ),
        (
            f"Clip by clip, by how sure {stronger} is",
            themed(lambda theme: starving_figure(found, top=tops[1], theme=theme)),
            f"Run {name}: mean gradient of the {weaker} encoder: {means}, by the probability that "
            f"{stronger} alone gives to the true class.",
        ),
    ]


def _runs_table(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    modalities = next(iter(runs.values()))["modalities"]
    rows = [
        (
            name,
            str(found["num_clips"]),
            *_cells(found["all"], modalities),
            f"{found['relative_difference']:.0e}",
        )
        for name, found in runs.items()
    ]
    header = ("Run", "Clips", *_header(modalities), "Difference")
    return Table("All clips", header, tuple(rows))


def _own_tables(found: Mapping[str, Any]) -> list[Table]:
    return [_kinds_table(found), _classes_table(found), _batches_table(found)]


def _classes_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (name, str(own["num_clips"]), *_cells(own, found["modalities"]))
        for name, own in found["classes"].items()
    ]
    header = ("Class", "Clips", *_header(found["modalities"]))
    return Table("By class", header, tuple(rows), "Gradients are means over the class’s clips.")


def _batches_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (f"batch {number}", str(own["num_clips"]), *_cells(own, found["modalities"]))
        for number, own in enumerate(found["batches"])
    ]
    header = ("Batch", "Clips", *_header(found["modalities"]))
    note = "Gradients are of a batch’s mean loss: smaller, for those of its clips partly cancel."
    return Table("By batch", header, tuple(rows), note)


def _kinds_table(found: Mapping[str, Any]) -> Table:
    ways = {"formula": "gradients", "autodiff": "automatic_gradients"}
    rows = [
        (name, way, *(f"{value:.6g}" for value in own[key].values()))
        for name, own in found["all"]["modalities"].items()
        for way, key in ways.items()
    ]
    note = "W and b belong to the head, θ to the encoder; φ is the encoder’s output."
    return Table("By what is trained", ("Modality", "By", "W", "b", "φ", "θ"), tuple(rows), note)


def _header(modalities: Sequence[str]) -> tuple[str, ...]:
    shares = (f"{name} share" for name in modalities)
    return ("Shared factor", *shares, *(f"{name} gradient" for name in modalities))


def _cells(own: Mapping[str, Any], modalities: Sequence[str]) -> tuple[str, ...]:
    parts = [own["modalities"][name] for name in modalities]
    shares = ("–" if part["share"] is None else _percent(part["share"]) for part in parts)
    gradients = (f"{part['gradients']['encoder']:.3g}" for part in parts)
    return (f"{own['shared_factor']:.3f}", *shares, *gradients)


def _color(found: Mapping[str, Any], theme: Theme) -> str:
    """Returns the weaker modality's colour, as in the other figures."""
    return theme.modalities[found["modalities"].index(found["weaker"]) % len(theme.modalities)]


def _curves(found: Mapping[str, Any]) -> list[Sequence[float]]:
    curves = (found["what_if"][key] for key in ("all", "right", "wrong"))
    return [curve for curve in curves if curve is not None]


def _at(curves: Mapping[str, Any], scale: float) -> float:
    return float(np.interp(scale, curves["scales"], curves["all"]))


def _range(own: Bin) -> str:
    return f"{own.low:.1f} to {own.high:.1f}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("-", "−")


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
