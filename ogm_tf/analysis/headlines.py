"""What can be said of some runs in words made of their numbers alone."""

import dataclasses
import math
from collections.abc import Sequence

from ogm_tf.analysis.paired import difference, interval
from ogm_tf.analysis.seed_groups import (
    SeedGroup,
    group_by_seed,
    paired_differences,
    paired_with_plain,
)
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

    Every modulated method is compared with the unmodulated one whose other settings are closest: by
    all answers, and by the branch or group that is weakest without modulation. Where both have runs
    of several seeds in common, their means are compared, and else single runs.

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
    groups = group_by_seed(runs)
    plain = [run for run in runs if not run.is_modulated]
    modulated = [run for run in runs if run.is_modulated]
    if not plain or not modulated:
        return [(_level(group, modalities, split, terms), "") for group in groups]
    titles = [run.modulation_title for run in modulated]
    said = []
    for group in reversed([group for group in groups if group.is_modulated]):
        pair = paired_with_plain(group, groups)
        if pair is not None:
            said.append(_mean_change(*pair, modalities, split, terms))
            continue
        for run in reversed(group.runs):
            other = min(plain, key=run.num_differences)
            unique = titles.count(run.modulation_title) == 1
            title = run.modulation_title if unique else f"{run.modulation_title} ({run.name})"
            said.append(
                (
                    _change(title, other, run, modalities, split, terms),
                    _compared_with(run, other),
                )
            )
    return said


def _compared_with(run: RunSummary, other: RunSummary) -> str:
    text = f"Run {run.name} compared with run {other.name}, which has no modulation"
    if differences := run.differences(other):
        text += f", and differs in {_join(differences)} as well"
    return f"{text}. One run each: this may be chance."


def _is_known(run: RunSummary, split: str) -> bool:
    return math.isfinite(run.metric(split, "accuracy"))


def _level(group: SeedGroup, modalities: Sequence[str], split: str, terms: Terms) -> str:
    parts = [terms.whole_level.format(value=group.metric(split, "accuracy"))]
    for modality in modalities:
        value = group.metric(split, f"{modality}_accuracy")
        if math.isfinite(value):
            parts.append(terms.named_level.format(name=modality, value=value))
    mean = f", in the mean of {len(group.runs)} seeds" if len(group.runs) > 1 else ""
    return f"{group.name}: {_join(parts)} of the {split_title(split)} correctly{mean}."


def _mean_change(
    before: SeedGroup, after: SeedGroup, modalities: Sequence[str], split: str, terms: Terms
) -> tuple[str, str]:
    """Returns what changes between the means of two methods of the same seeds, and how surely."""
    differences = {
        title: paired_differences(before, after, split, metric)
        for title, metric in _compared(before, after, modalities, split, terms).items()
    }
    is_sure = all(interval(values)[0] > 0 for values in differences.values())
    num_seeds = len(after.runs)
    sentence = _change(
        after.title, before, after, modalities, split, terms, f", in the mean of {num_seeds} seeds",
        is_sure,
    )  # fmt: skip
    gains = {title: difference(values).replace("-", "−") for title, values in differences.items()}
    written = _join([f"{title} {gain}" for title, gain in gains.items()])
    with_zero = [
        title for title, values in differences.items()
        if interval(values)[0] <= 0 <= interval(values)[1]
    ]  # fmt: skip
    doubt = ""
    if with_zero:
        those = "That of {} includes" if len(with_zero) == 1 else "Those of {} include"
        doubt = f" {those.format(_join(with_zero))} 0: this may be chance."
    return sentence, (
        f"Compared with {before.title} seed by seed. Mean differences and their 95 % intervals: "
        f"{written}.{doubt}"
    )


def _compared(
    before: RunSummary | SeedGroup,
    after: RunSummary | SeedGroup,
    modalities: Sequence[str],
    split: str,
    terms: Terms,
) -> dict[str, str]:
    """Returns what is compared, in words, and its metric: the weakest of the names, and all."""
    levels = {}
    for name in modalities:
        level, then = (of.metric(split, f"{name}_accuracy") for of in (before, after))
        if math.isfinite(level) and math.isfinite(then):
            levels[name] = level
    weakest = [min(levels, key=levels.get)] if levels else []
    parts = {terms.named_part.format(name=name): f"{name}_accuracy" for name in weakest}
    return parts | {terms.whole_part: "accuracy"}


def _change(
    title: str,
    before: RunSummary | SeedGroup,
    after: RunSummary | SeedGroup,
    modalities: Sequence[str],
    split: str,
    terms: Terms,
    of_what: str = "",
    is_sure: bool = True,
) -> str:
    changes = {
        part: (before.metric(split, metric), after.metric(split, metric))
        for part, metric in _compared(before, after, modalities, split, terms).items()
    }
    # What is said must hold for the numbers as they are printed.
    changes = {name: (f"{a:.2f}", f"{b:.2f}") for name, (a, b) in changes.items()}
    on = f"on the {split_title(split)}{of_what}"
    if is_sure and all(float(b) > float(a) for a, b in changes.values()):
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
