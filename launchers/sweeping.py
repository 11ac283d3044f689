"""What a sweep runs, and what its numbers say: settings, plan, choice of alpha, tables."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from launchers.settings import setting
from launchers.training import (
    COMMON_MODULATIONS,
    METHOD_RULE,
    TrainSettings,
    has_alpha,
    is_method,
    unowned_settings,
)
from ogm_tf.analysis import paired
from ogm_tf.analysis.tables import Table

# Metrics by the titles of their columns; a modality's follow.
FUSED = {"fused": "accuracy"}


class Job(NamedTuple):
    """One run of a sweep; `alpha` is None where there is none."""

    method: str
    alpha: float | None
    seed: int

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{title(self.method, self.alpha).replace(' ', '_')}_seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class SweepSettings(TrainSettings):
    """Settings of `sweep`: those of the runs, of which three become lists."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of the runs, the table and the report.")
    methods: tuple[str, ...] = setting(
        COMMON_MODULATIONS, "Balancings of the modalities, with commas.",
        rule=f"different ones, each {METHOD_RULE}",
        holds=lambda value: (
            _are_different([frozenset(own.split("+")) for own in value])
            and all(map(is_method, value))
        ),
    )  # fmt: skip
    alphas: tuple[float, ...] = setting(
        (0.1, 0.3, 0.8), "Strengths to choose from, with commas, in place of --alpha.",
        rule="different numbers >= 0",
        holds=lambda value: _are_different(value) and all(0 <= a < math.inf for a in value),
    )  # fmt: skip
    seeds: tuple[int, ...] = setting(
        (0, 1, 2), "Seeds of every method, with commas.",
        rule="different ones in [0, 2**31)",
        holds=lambda value: _are_different(value) and all(0 <= seed < 2**31 for seed in value),
    )  # fmt: skip
    report: bool = setting(True, "Whether the chosen runs are compared on a page.")

    def __post_init__(self):
        super().__post_init__()
        for name, instead in (("modulation", "methods"), ("seed", "seeds")):
            value = getattr(self, name)
            if value != TrainSettings.__dataclass_fields__[name].default:
                raise ValueError(
                    f"Every run has a --{name} of its own; give --{instead}. "
                    f"Received: {name}={value!r}."
                )
        if self.strategy == "multi_worker":
            raise ValueError(
                "A sweep starts its runs on one machine. Received: strategy='multi_worker'."
            )

    def all_methods(self):
        return {name for method in self.methods for name in method.split("+")}

    def jobs(self) -> list[Job]:
        """Returns all runs: of the first seed every method and alpha, then of the next."""
        return [
            Job(method, alpha, seed)
            for seed in self.seeds
            for method in self.methods
            for alpha in (self.alphas if has_alpha(method) else (None,))
        ]

    def run_dir(self, job: Job) -> pathlib.Path:
        """Returns the folder of a run."""
        return pathlib.Path(self.output_dir) / job.name

    def train_settings(self, job: Job) -> TrainSettings:
        """Returns the settings of a run."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(TrainSettings)
        }
        own = {"modulation": job.method, "seed": job.seed, "output_dir": str(self.run_dir(job))}
        if job.alpha is not None:
            own["alpha"] = job.alpha
        # A run has the settings of its own methods alone.
        return TrainSettings(**values | unowned_settings(job.method.split("+")) | own)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run gave: metrics by split, and how long it took."""

    metrics: Mapping[str, Mapping[str, float]]
    minutes: float


def title(method: str, alpha: float | None) -> str:
    """Returns how tables call the runs of a method and an alpha."""
    return method if alpha is None else f"{method} alpha{alpha!r}".removesuffix(".0")


def group(jobs: Sequence[Job]) -> dict[tuple[str, float | None], list[Job]]:
    """Returns the runs of every method and alpha, in the order of the seeds."""
    groups: dict[tuple[str, float | None], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.method, job.alpha), []).append(job)
    return groups


def choose(jobs: Sequence[Job], results: Mapping[Job, Result]) -> dict[str, list[Job]]:
    """Returns the runs of the best alpha of every method.

    That is the alpha of the highest fused accuracy on the validation split, mean over the seeds;
    of equal ones the smallest. One of which a run is missing is not chosen, and a method that has
    no other is left out.
    """
    best: dict[str, tuple[float, float, list[Job]]] = {}
    for (method, alpha), members in group(jobs).items():
        if not all(job in results for job in members):
            continue
        accuracies = [results[job].metrics["validation"]["accuracy"] for job in members]
        # Sums of equal shares in another order differ in their last bit.
        rank = round(math.fsum(accuracies) / len(members), 9), -(alpha or 0.0)
        if method not in best or rank > best[method][:2]:
            best[method] = (*rank, members)
    return {method: members for method, (_, _, members) in best.items()}


def progress_table(
    jobs: Sequence[Job], results: Mapping[Job, Result], failed: Sequence[Job]
) -> Table:
    """Returns how far a sweep is, with a row for every method and alpha."""
    rows = []
    for (method, alpha), members in group(jobs).items():
        done = [results[job] for job in members if job in results]
        num_failed = sum(job in failed for job in members)
        accuracies = [result.metrics["validation"]["accuracy"] for result in done]
        rows.append(
            (
                title(method, alpha),
                str(len(done)),
                str(num_failed),
                str(len(members) - len(done) - num_failed),
                paired.spread(accuracies) if done else "–",
                f"{sum(result.minutes for result in done):.1f}",
            )
        )
    minutes = [result.minutes for result in results.values()]
    left = len(jobs) - len(results) - len(failed)
    estimate = f", about {np.mean(minutes) * left:.1f} minutes" if left and minutes else ""
    return Table(
        f"{len(results)} of {len(jobs)} runs done, {len(failed)} failed, {left} left{estimate}",
        ("method", "done", "failed", "left", "validation accuracy", "minutes"),
        tuple(rows),
    )


def summary(
    chosen: Mapping[str, Sequence[Job]],
    results: Mapping[Job, Result],
    columns: Mapping[str, str],
) -> dict[str, Any]:
    """Returns, of the chosen runs of every method, what is in its row of `final_table`, as numbers.

    Args:
      chosen: Of every method, runs of the same seeds.
      results: Of the runs.
      columns: Metrics of the test split by title.
    """
    found = {}
    for method, members in chosen.items():
        values = {name: _values(members, results, "test", name) for name in columns.values()}
        found[method] = {
            "alpha": members[0].alpha,
            "runs": [job.name for job in members],
            "validation_accuracy": _described(_values(members, results, "validation", "accuracy")),
            "test": {name: _described(own) for name, own in values.items()},
        }
        if method != "none" and "none" in chosen:
            found[method]["test_difference_to_none"] = {
                name: {"mean": float(np.mean(own)), "interval_95": paired.interval(own)}
                for name, own in _differences(method, chosen, results, columns).items()
            }
    return found


def final_table(
    chosen: Mapping[str, Sequence[Job]],
    results: Mapping[Job, Result],
    columns: Mapping[str, str],
) -> Table:
    """Returns means and deviations of the chosen runs, and paired differences to "none".

    Args:
      chosen: Of every method, runs of the same seeds.
      results: Of the runs.
      columns: Metrics of the test split by title.
    """
    rows, differences = [], []
    for method, members in chosen.items():
        cells = [_values(members, results, "test", name) for name in columns.values()]
        validation = _values(members, results, "validation", "accuracy")
        alpha = "" if members[0].alpha is None else f"{members[0].alpha:g}"
        rows.append((method, alpha, paired.spread(validation), *map(paired.spread, cells)))
        if method != "none" and "none" in chosen:
            own = _differences(method, chosen, results, columns)
            differences.append(
                (f"{method} - none", "", "", *(paired.difference(v) for v in own.values()))
            )
    return Table(
        "Test accuracy at the alpha that validation chose",
        ("method", "alpha", "validation", *columns),
        (*rows, *differences),
    )


def _values(
    jobs: Sequence[Job], results: Mapping[Job, Result], split: str, name: str
) -> list[float]:
    return [results[job].metrics[split][name] for job in jobs]


def _differences(
    method: str,
    chosen: Mapping[str, Sequence[Job]],
    results: Mapping[Job, Result],
    columns: Mapping[str, str],
) -> dict[str, list[float]]:
    """Returns by metric what each seed's run has more than that without modulation."""
    return {
        name: [
            own - plain
            for own, plain in zip(
                _values(chosen[method], results, "test", name),
                _values(chosen["none"], results, "test", name),
                strict=True,
            )
        ]
        for name in columns.values()
    }


def _described(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": float(np.mean(values)), "deviation": paired.deviation(values)}


def _are_different(values: Sequence[Any]) -> bool:
    return bool(values) and len(set(values)) == len(values)
