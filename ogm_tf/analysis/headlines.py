"""What can be said of some runs in words made of their numbers alone."""

import dataclasses
import math
from collections.abc import Sequence

from ogm_tf.analysis.summaries import RunSummary, split_names, split_title


@dataclasses.dataclass(frozen=True)
class Terms:
    """How a page calls what its runs are judged by: all answers, and those of one name.

    Args:
      whole: All answers, as a column or a curve.
      whole_part: All answers, in a sentence.
      named_part: Those of `{name}`, in a sentence.
      whole_level: How good all answers are, in a sentence with `{value}`.
      named_level: How good those of `{name}` are, after `whole_level`.
      unit: What is answered.
      has_ranking: Whether there is a mean average precision, which needs scores of many classes.
      curves: Columns of the history of each name that are drawn: accuracy, ratio, coefficient, and
        perhaps the score that the ratio follows from.
    """

    whole: str
    whole_part: str
    named_part: str
    whole_level: str
    named_level: str
    unit: str
    has_ranking: bool = False
    curves: tuple[str, ...] = ("accuracy", "ratio", "coefficient")


BRANCHES = Terms(
    whole="fused",
    whole_part="the fused network",
    named_part="the {name} branch",
    whole_level="the fused network answers {value:.2f}",
    named_level="the {name} branch {value:.2f}",
    unit="clips",
    has_ranking=True,
)
PAIRS = Terms(
    whole="all pairs",
    whole_part="the accuracy on all pairs",
    named_part="the accuracy on {name} pairs",
    curves=("accuracy", "ratio", "coefficient", "score"),
    whole_level="it answers {value:.2f} of all pairs",
    named_level="{value:.2f} of the {name} pairs",
    unit="pairs",
)


def headlines(
    runs: Sequence[RunSummary], modalities: Sequence[str], terms: Terms = BRANCHES
) -> list[tuple[str, str]]:
    """Says what modulation changed, in words made of the numbers alone.

    Every modulated run is compared with the unmodulated run whose other settings are closest: by
    all answers, and by the branch or group that is weakest without modulation.

    Args:
      runs: At least one.
      modalities: Names of what is balanced.
      terms: How the page calls them.

    Returns:
      Sentences, the most telling first, each with what it was compared with ("" for nothing).
    """
    known = [s for s in split_names(runs) if any(_is_known(run, s) for run in runs)]
    if not known:
        return [("No split has been evaluated yet: there is nothing to compare.", "")]
    split = known[0]
    runs = [run for run in runs if _is_known(run, split)]
    plain = [run for run in runs if not run.is_modulated]
    modulated = [run for run in runs if run.is_modulated]
    if not plain or not modulated:
        return [(_level(run, modalities, split, terms), "") for run in runs]
    titles = [run.modulation_title for run in modulated]
    said = []
    for run in reversed(modulated):
        other = min(plain, key=run.num_differences)
        unique = titles.count(run.modulation_title) == 1
        title = run.modulation_title if unique else f"{run.modulation_title} ({run.name})"
        said.append(
            (
                _change(title, other, run, modalities, split, terms),
                f"Run {run.name} compared with run {other.name}, which has no modulation.",
            )
        )
    return said


def _is_known(run: RunSummary, split: str) -> bool:
    return math.isfinite(run.metric(split, "accuracy"))


def _level(run: RunSummary, modalities: Sequence[str], split: str, terms: Terms) -> str:
    parts = [terms.whole_level.format(value=run.metric(split, "accuracy"))]
    for modality in modalities:
        value = run.metric(split, f"{modality}_accuracy")
        if math.isfinite(value):
            parts.append(terms.named_level.format(name=modality, value=value))
    return f"{run.name}: {_join(parts)} of the {split_title(split)} correctly."


def _change(
    title: str,
    before: RunSummary,
    after: RunSummary,
    modalities: Sequence[str],
    split: str,
    terms: Terms,
) -> str:
    values = {}
    for modality in modalities:
        pair = [run.metric(split, f"{modality}_accuracy") for run in (before, after)]
        if all(map(math.isfinite, pair)):
            values[terms.named_part.format(name=modality)] = pair
    changes = dict([min(values.items(), key=lambda item: item[1][0])]) if values else {}
    changes[terms.whole_part] = [run.metric(split, "accuracy") for run in (before, after)]
    # What is said must hold for the numbers as they are printed.
    changes = {name: (f"{a:.2f}", f"{b:.2f}") for name, (a, b) in changes.items()}
    on = f"on the {split_title(split)}"
    if all(float(b) > float(a) for a, b in changes.values()):
        return (
            f"{title} lifts "
            + _join([f"{n} from {a} to {b}" for n, (a, b) in changes.items()])
            + f" {on}."
        )
    parts = [
        f"{name} stays at {a}" if a == b else f"{name} goes from {a} to {b}"
        for name, (a, b) in changes.items()
    ]
    return f"With {title}, {_join(parts)} {on}."


def _join(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
