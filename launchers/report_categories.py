"""Categories in a report of runs of `train`: runs that differ in the seed alone, in pairs."""

import collections
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from launchers import predictions
from launchers.predictions import Predictions
from launchers.runs import RunFolder
from ogm_tf.analysis.categories import Answers, Comparison
from ogm_tf.analysis.category_section import category_section
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import (
    MODULATION_SETTINGS,
    SETTINGS_THAT_TRAIN_NOTHING,
    RunSummary,
)

# What runs of one group may differ in.
_OF_ONE_RUN = ("seed", *SETTINGS_THAT_TRAIN_NOTHING)
_LAST = ("ogm", "ogm_ge")


def sections(
    folders: Sequence[RunFolder],
    runs: Sequence[RunSummary],
    class_names: Sequence[str],
    split: str,
) -> list[Section]:
    """Returns the part of a page about categories; none where there is nothing to compare.

    Args:
      folders: Of the runs.
      runs: Without and with modulation.
      class_names: Of their records.
      split: Whose clips are looked at.
    """
    groups = pair_by_seed(runs)
    if not groups:
        _tell_why(runs)
        return []
    paths = {run.name: folder.predictions(split) for folder, run in zip(folders, runs, strict=True)}
    said = {
        name: predictions.read(path, class_names) for name, path in paths.items() if path.exists()
    }
    comparisons, notes = [], []
    for title, pairs in groups.items():
        silent = {run.name for pair in pairs.values() for run in pair if run.name not in said}
        pairs = {
            seed: pair
            for seed, pair in pairs.items()
            if silent.isdisjoint(run.name for run in pair)
        }
        if silent:
            names = ", ".join(sorted(silent))
            notes.append(
                f"Left out of {title}, with their pairs, for `evaluate` has not asked them of the "
                f"{split} split: {names}."
            )
            logging.warning("Not among the report's categories: no %s of %s.",
                            folders[0].predictions(split).name, names)  # fmt: skip
        same = {
            seed: (said[before.name], said[after.name])
            for seed, (before, after) in pairs.items()
            if said[before.name].clip_ids == said[after.name].clip_ids
        }
        if others := sorted(set(pairs) - set(same)):
            notes.append(
                f"Left out of {title}, for their two runs answered other clips: seeds "
                f"{', '.join(map(str, others))}."
            )
        if same:
            before, after = zip(*same.values(), strict=True)
            comparisons.append(
                Comparison(title, list(same), _answers(before), _answers(after), class_names)
            )
    return [category_section(comparisons, split, notes)] if comparisons else []


def pair_by_seed(
    runs: Sequence[RunSummary],
) -> dict[str, dict[int, tuple[RunSummary, RunSummary]]]:
    """Returns runs without and with modulation whose other settings are equal, by seed.

    Args:
      runs: Of any settings.

    Returns:
      For each modulation, OGM-GE the last, `{seed: (without, with)}` by ascending seed; it is
      called by its strength as well where there are several. Modulated runs that have no partner
      are left out.
    """
    plain: dict[str, dict[int, RunSummary]] = collections.defaultdict(dict)
    modulated: dict[tuple[str, str], dict[int, RunSummary]] = collections.defaultdict(dict)
    for run in runs:
        others = _key(run.config, (*_OF_ONE_RUN, *MODULATION_SETTINGS))
        seed = run.config.get("seed", 0)
        if run.is_modulated:
            modulated[others, _key(run.config, _OF_ONE_RUN)].setdefault(seed, run)
        else:
            plain[others].setdefault(seed, run)
    found = []
    for (others, _), by_seed in modulated.items():
        partners = plain.get(others, {})
        if seeds := sorted(partners.keys() & by_seed.keys()):
            found.append({seed: (partners[seed], by_seed[seed]) for seed in seeds})

    def first(pairs):
        return next(iter(pairs.values()))[1]

    found.sort(key=lambda pairs: (*_LAST, first(pairs).modulation).index(first(pairs).modulation))
    return dict(zip(_titles([first(pairs) for pairs in found]), found, strict=True))


def _tell_why(runs: Sequence[RunSummary]) -> None:
    """Logs what keeps plain and modulated runs, where there are both, from making a pair."""
    pairs = [(one, other) for one in runs for other in runs
             if other.is_modulated and not one.is_modulated]  # fmt: skip
    if pairs:
        one, other = min(pairs, key=lambda pair: pair[0].num_differences(pair[1]))
        logging.warning(
            "No categories in the report: no two runs differ in their modulation alone. The "
            "closest, %s and %s, differ in %s as well.",
            one.name, other.name, ", ".join(one.differences(other)),
        )  # fmt: skip


def _titles(runs: Iterable[RunSummary]) -> list[str]:
    """Returns different titles of some modulations, each as short as it may be."""
    runs = list(runs)
    for make in (
        lambda run: run.modulation_title,
        lambda run: ", ".join(filter(None, [run.modulation_title, run.strength])),
        lambda run: f"{run.modulation_title} ({run.name})",
    ):
        titles = [make(run) for run in runs]
        if len(set(titles)) == len(titles):
            break
    return titles


def _key(config: Mapping[str, Any], ignored: Sequence[str]) -> str:
    return json.dumps(
        {
            name: value
            for name, value in config.items()
            if name not in ignored and value is not None
        },
        sort_keys=True,
    )


def _answers(found: Iterable[Predictions]) -> list[Answers]:
    return [Answers(own.labels, own.predicted) for own in found]
