"""A part of a page about runs: what each modality could do, what its encoder knows, what it does.

found = RunBranches("none", {"test": {"visual": {"alone": 0.9, "probe": 0.6, "branch": 0.3}}})
report.write_report(..., sections=[branch_section([found], ("audio", "visual"), 6)])
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from ogm_tf.analysis import branch_figures, summaries
from ogm_tf.analysis.branch_figures import KINDS
from ogm_tf.analysis.embedding import themed
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.tables import Table

# Compared, where they are known, in this order.
_SPLITS = ("test", "validation")


@dataclasses.dataclass(frozen=True)
class RunBranches:
    """Accuracies of a run's modalities, each of three kinds, in [0, 1].

    "alone" is the network trained on that modality alone, "probe" a linear classifier of what the
    run's encoder says, "branch" the run's own logits of that modality.

    Args:
      name: Of the run.
      accuracies: By split, modality and kind; what is not known is missing or NaN.
      curves: By modality and kind, one value an epoch on validation clips; NaN is a gap.
    """

    name: str
    accuracies: Mapping[str, Mapping[str, Mapping[str, float]]]
    curves: Mapping[str, Mapping[str, Sequence[float]]] = dataclasses.field(default_factory=dict)

    def accuracy(self, split: str, modality: str, kind: str) -> float:
        """Returns one accuracy, NaN where it is not known."""
        value = self.accuracies.get(split, {}).get(modality, {}).get(kind)
        return math.nan if value is None else float(value)

    def is_known(self, split: str) -> bool:
        """Whether there is more to say of a split than what the branches do."""
        return any(
            math.isfinite(self.accuracy(split, modality, kind))
            for modality in self.accuracies.get(split, {})
            for kind in ("alone", "probe")
        )


def branch_section(
    runs: Sequence[RunBranches], modalities: Sequence[str], num_classes: int
) -> Section | None:
    """Returns the part of the page, or None where nothing is known but what the branches do.

    Args:
      runs: In the order they are shown.
      modalities: Names, in the order they are shown.
      num_classes: Number of classes, of which 1 in so many is guessed.
    """
    splits = [split for split in _SPLITS if any(run.is_known(split) for run in runs)]
    curves = [run for run in runs if any("probe" in own for own in run.curves.values())]
    if not splits and not curves:
        return None
    chance = 1 / num_classes
    return Section(
        "What each modality could do",
        "branches",
        "branches.html",
        {
            "sentences": [said for run in runs for said in _sentences(run, modalities, splits[:1])],
            "bars": [_bars(runs, modalities, split, chance) for split in splits[:1]],
            "curves": [_curves(run, chance) for run in curves],
            "table": _table(runs, modalities, splits),
        },
    )


def _sentences(run: RunBranches, modalities: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Says of the modality that stays furthest below what it could do, in numbers alone."""
    for split in splits:
        gaps = {
            name: run.accuracy(split, name, "alone") - run.accuracy(split, name, "branch")
            for name in modalities
        }
        gaps = {name: gap for name, gap in gaps.items() if math.isfinite(gap)}
        if gaps:
            name = max(gaps, key=gaps.get)
            alone, probe, branch = (_number(run.accuracy(split, name, kind), 2) for kind in KINDS)
            known = "" if probe == "–" else f"a linear probe of its encoder {probe}, and "
            title = summaries.split_title(split)
            return [
                f"{run.name}: the {name} branch answers {branch} of the {title} correctly, "
                f"{known}the same network trained on {name} alone {alone}."
            ]
    return []


def _bars(
    runs: Sequence[RunBranches], modalities: Sequence[str], split: str, chance: float
) -> tuple[str, tuple[str, str], str]:
    """Returns the figure of all runs: (title, images, text)."""
    accuracies = {run.name: run.accuracies.get(split, {}) for run in runs}
    images = themed(
        lambda theme: branch_figures.branch_figure(
            accuracies, modalities, chance=chance, theme=theme
        )
    )
    points = (
        f"{run.name}, {name}: "
        + ", ".join(f"{kind} {_number(run.accuracy(split, name, kind), 2)}" for kind in KINDS)
        for run in runs
        for name in modalities
    )
    title = summaries.split_title(split)
    return (
        f"{title[0].upper()}{title[1:]}",
        images,
        f"Accuracy on the {title}. {'; '.join(points)}.",
    )


def _curves(run: RunBranches, chance: float) -> tuple[str, tuple[str, str], str]:
    """Returns the figure of a run's epochs: (title, images, text)."""
    images = themed(
        lambda theme: branch_figures.probe_curve_figure(run.curves, chance=chance, theme=theme)
    )
    ends = []
    for name, by_kind in run.curves.items():
        known = {kind: [y for y in by_kind.get(kind, ()) if math.isfinite(y)] for kind in KINDS}
        ends.append(
            f"{name}: "
            + ", ".join(f"{kind} ends at {own[-1]:.2f}" for kind, own in known.items() if own)
        )
    text = f"Accuracy on validation clips per epoch of run {run.name}. {'; '.join(ends)}."
    return run.name, images, text


def _table(runs: Sequence[RunBranches], modalities: Sequence[str], splits: Sequence[str]) -> Table:
    rows = []
    for split in splits:
        for run in runs:
            for name in modalities:
                # As printed, so that the differences are those of the numbers beside them.
                own = [round(run.accuracy(split, name, kind), 3) for kind in KINDS]
                if any(map(math.isfinite, own)):
                    lost = (above - below for above, below in itertools.pairwise(own))
                    cells = (*map(_number, own), *map(_signed, lost))
                    rows.append((run.name, name, split, *cells))
    header = ("Run", "Modality", "Split", "Alone", "Probe", "Branch", "Not learned", "Not used")
    return Table("Accuracy of each modality", header, tuple(rows))


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else "–"
