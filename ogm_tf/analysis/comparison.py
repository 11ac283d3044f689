"""The numbers of some runs: tables of the runs and of their methods over seeds, and a CSV file."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ogm_tf.analysis import paired, summaries
from ogm_tf.analysis.headlines import Terms
from ogm_tf.analysis.seed_groups import SeedGroup, paired_differences, paired_with_plain
from ogm_tf.analysis.summaries import RunSummary


def run_table(
    runs: Sequence[RunSummary], modalities: Sequence[str], terms: Terms
) -> dict[str, Any]:
    """Returns a table of runs.

    Args:
      runs: In the order they are shown.
      modalities: Names of what is balanced.
      terms: How the page calls what runs are judged by.

    Returns:
      `columns`, and `groups`: for each split its title and rows of a run, its cells (text, whether
      it is the split's highest), the strength of its method and its seed.
    """
    columns = _columns(modalities, terms)
    groups = []
    for split in summaries.split_names(runs):
        shown = [run for run in runs if split in run.metrics]
        cells = _cells([[run.metric(split, metric) for metric in columns] for run in shown])
        rows = [
            (run, own, run.strength or "–", str(run.config.get("seed", "–")))
            for run, own in zip(shown, cells, strict=True)
        ]
        groups.append((summaries.split_title(split), rows))
    return {"columns": list(columns.values()), "groups": groups}


def seed_table(
    groups: Sequence[SeedGroup], modalities: Sequence[str], terms: Terms
) -> dict[str, Any]:
    """Returns a table of methods over their seeds.

    Args:
      groups: In the order they are shown.
      modalities: Names of what is balanced.
      terms: How the page calls what runs are judged by.

    Returns:
      `columns`, and `groups`: for each split its title and rows of a title, cells (text, what
      follows it, whether it is the split's highest mean), how many seeds, and whether it is the
      difference between two methods.
    """
    columns = _columns(modalities, terms)
    tables = []
    for split in summaries.split_names([run for group in groups for run in group.runs]):
        known = [group.known(split) for group in groups]
        known = [group for group in known if group is not None]
        means = _cells([[group.metric(split, metric) for metric in columns] for group in known])
        rows = [
            (
                group.title,
                [
                    (text, _deviation(group.values(split, metric)), is_highest)
                    for metric, (text, is_highest) in zip(columns, own, strict=True)
                ],
                len(group.runs),
                False,
            )
            for group, own in zip(known, means, strict=True)
        ]
        for group in known:
            pair = paired_with_plain(group, known)
            if pair is not None:
                cells = [_difference_cell(*pair, split, metric) for metric in columns]
                title = f"{group.title} − {pair[0].title}"
                rows.append((title, cells, len(pair[0].runs), True))
        if rows:
            tables.append((summaries.split_title(split), rows))
    return {"columns": list(columns.values()), "groups": tables}


def comparison_csv(runs: Sequence[RunSummary]) -> str:
    """Returns one row for each run and split, with every metric there is."""
    metrics = {name: None for run in runs for split in run.metrics.values() for name in split}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["run", "modulation", "alpha", "strength", "seed", "best_epoch", "split", *metrics]
    )
    for run in runs:
        settings = [run.modulation or "none", run.alpha, run.strength, run.config.get("seed")]
        for split in sorted(run.metrics, key=summaries.split_names(runs).index):
            values = [run.metric(split, name) for name in metrics]
            values = [value if math.isfinite(value) else "" for value in values]
            writer.writerow([run.name, *settings, run.best_epoch, split, *values])
    return text.getvalue()


def number(value: float) -> str:
    """Returns a number of a table; a dash where it is not known."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _columns(modalities: Sequence[str], terms: Terms) -> Mapping[str, str]:
    """Returns titles of the columns by metric."""
    columns = {"accuracy": terms.whole} | {f"{name}_accuracy": name for name in modalities}
    return columns | ({"mean_average_precision": "mAP"} if terms.has_ranking else {})


def _cells(rows: Sequence[Sequence[float]]) -> list[list[tuple[str, bool]]]:
    """Returns each number as it is printed, and whether it is the highest of its column."""
    if not rows:
        return []
    # As printed: a lead that is rounded away is none.
    values = np.round(np.array(rows, float), 3)
    # Below all there can be: a column of which nothing is known has no highest.
    highest = np.nanmax(np.vstack([values, np.full(values.shape[1], -1.0)]), axis=0)
    return [
        [
            (number(value), bool(len(rows) > 1 and rounded == best))
            for value, rounded, best in zip(row, own, highest, strict=True)
        ]
        for row, own in zip(rows, values, strict=True)
    ]


def _deviation(values: Sequence[float]) -> str:
    own = paired.deviation(values)
    return "" if own is None else f"± {own:.3f}"


def _difference_cell(
    plain: SeedGroup, group: SeedGroup, split: str, metric: str
) -> tuple[str, str, bool]:
    differences = paired_differences(plain, group, split, metric)
    if not differences:
        return "–", "", False
    mean, _, limits = paired.difference(differences).replace("-", "−").partition(" ")
    return mean, limits, False
