"""Runs that differ by their seed alone, taken together as one method."""

import collections
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ogm_tf.analysis.summaries import (
    SETTINGS_THAT_TRAIN_NOTHING,
    RunSummary,
)

# Of settings, what may differ between runs of one method.
_OWN_OF_A_RUN = ("seed", *SETTINGS_THAT_TRAIN_NOTHING)


@dataclasses.dataclass(frozen=True)
class SeedGroup:
    """One method: runs of different seeds that are alike in everything else.

    Args:
      title: The method in words, unique among the groups made with it.
      runs: At least one, each of another seed, in the order of the seeds.
    """

    title: str
    runs: tuple[RunSummary, ...]

    @property
    def name(self) -> str:
        """The method, or, of a single run, its name."""
        return self.title if len(self.runs) > 1 else self.runs[0].name

    @property
    def is_modulated(self) -> bool:
        """Whether any method is on."""
        return self.runs[0].is_modulated

    @property
    def seeds(self) -> tuple[Any, ...]:
        """Of the runs."""
        return tuple(run.config.get("seed") for run in self.runs)

    def values(self, split: str, name: str) -> list[float]:
        """Returns one metric of a split for each run; none where any of them is not known."""
        values = [run.metric(split, name) for run in self.runs]
        return values if all(map(math.isfinite, values)) else []

    def metric(self, split: str, name: str) -> float:
        """Returns the mean of a metric over the runs, NaN where any of them is not known."""
        values = self.values(split, name)
        return math.fsum(values) / len(values) if values else math.nan

    def of_seeds(self, seeds: Iterable[Any]) -> "SeedGroup":
        """Returns the group of the runs of these seeds alone."""
        kept = tuple(run for run in self.runs if run.config.get("seed") in set(seeds))
        return dataclasses.replace(self, runs=kept)

    def known(self, split: str) -> "SeedGroup | None":
        """Returns the group of the runs whose accuracy on a split is known; None: there is none."""
        kept = tuple(run for run in self.runs if math.isfinite(run.metric(split, "accuracy")))
        return dataclasses.replace(self, runs=kept) if kept else None


def group_by_seed(runs: Sequence[RunSummary]) -> list[SeedGroup]:
    """Returns the methods of some runs, in the order in which each first appears.

    A second run of the same settings and seed, and a run without a seed, is a method of its own.

    Args:
      runs: With names that differ.
    """
    groups: dict[tuple[Any, ...], list[RunSummary]] = {}
    seen: collections.Counter[tuple[str, Any]] = collections.Counter()
    for run in runs:
        method, seed = json.dumps(_method(run), sort_keys=True, default=str), run.config.get("seed")
        groups.setdefault((method, seed is None, seen[method, seed]), []).append(run)
        seen[method, seed] += 1
    methods = list(groups.values())
    titles = _titles([group[0] for group in methods])
    return [
        SeedGroup(title, tuple(sorted(group, key=lambda run: run.config.get("seed") or 0)))
        for title, group in zip(titles, methods, strict=True)
    ]


def has_several_seeds(groups: Sequence[SeedGroup]) -> bool:
    """Returns whether any method has runs of more than one seed."""
    return any(len(group.runs) > 1 for group in groups)


def paired_with_plain(
    group: SeedGroup, groups: Sequence[SeedGroup]
) -> tuple[SeedGroup, SeedGroup] | None:
    """Returns the unmodulated method closest to a modulated one, and that one, on common seeds.

    Args:
      group: Modulated.
      groups: Among which the unmodulated one is looked for.

    Returns:
      The unmodulated group and `group`, both of the seeds they have in common; None where the
      closest has less than two in common with it.
    """
    plain = [other for other in groups if not other.is_modulated]
    if not plain or not group.is_modulated:
        return None

    def distance(other):
        # Of runs of the same seed, where there are any.
        return min(one.num_differences(run) for one in other.runs for run in group.runs)

    other = min(plain, key=distance)
    common = sorted(set(other.seeds) & set(group.seeds) - {None})
    if len(common) < 2:
        return None
    return other.of_seeds(common), group.of_seeds(common)


def paired_differences(plain: SeedGroup, group: SeedGroup, split: str, name: str) -> list[float]:
    """Returns what a metric of each run gains on that of the same seed; none where not all know it.

    Args:
      plain: Runs to compare with.
      group: Runs of the same seeds.
      split: Of the metric.
      name: Of the metric.
    """
    before, after = plain.values(split, name), group.values(split, name)
    return [b - a for a, b in zip(before, after, strict=True)] if before and after else []


def _method(run: RunSummary) -> dict[str, Any]:
    """Returns the settings that make a run's method."""
    unused = {*_OWN_OF_A_RUN, *run.unused_settings}
    method = {
        name: value
        for name, value in run.config.items()
        if name not in unused and value is not None
    }
    return {**method, "modulation": run.modulation if run.is_modulated else "none"}


def _titles(runs: Sequence[RunSummary]) -> list[str]:
    """Returns a run's method in words, for each: modulation, and what tells it from the others."""
    methods = [_method(run) for run in runs]

    def tells_apart(name):
        # No method differs from another in what it does not have.
        among = [
            method
            for run, method in zip(runs, methods, strict=True)
            if name not in run.unused_settings
        ]
        return len({json.dumps(method.get(name), default=str) for method in among}) > 1

    names = {name for method in methods for name in method} - {"modulation"}
    told = sorted(filter(tells_apart, names))
    titles = [
        ", ".join(
            [
                run.modulation_title,
                *(f"{name} {method[name]}" for name in told if name in method),
            ]
        )
        for run, method in zip(runs, methods, strict=True)
    ]
    return [
        title if titles.count(title) == 1 else f"{title} ({run.name})"
        for title, run in zip(titles, runs, strict=True)
    ]
