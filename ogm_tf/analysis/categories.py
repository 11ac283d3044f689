"""What modulation changes in every category: accuracies, gains, and which modality gains more.

Runs without and with modulation are compared in pairs of the same seed and the same clips (Peng et
al., CVPR 2022, supplement, Figure 1).
"""

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ogm_tf.analysis import intervals


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What one run says of N clips.

    Args:
      labels: The right classes, integers `[N]`.
      predicted: The classes said, `[N]`, by "fused" and each modality, in this order.
    """

    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]

    def accuracies(self, num_classes: int) -> np.ndarray:
        """Returns the accuracy in every class, `[C, P]`; NaN where there is no clip."""
        counts = np.bincount(self.labels, minlength=num_classes)
        shares = []
        for own in self.predicted.values():
            right = np.bincount(self.labels[own == self.labels], minlength=num_classes)
            shares.append(np.where(counts > 0, right / np.maximum(counts, 1), np.nan))
        return np.stack(shares, axis=1)


@dataclasses.dataclass(frozen=True)
class WeakerGain:
    """Which of a category's modalities gained more, on the mean over the categories.

    Args:
      weaker: Mean gain of the weaker modality's accuracy.
      stronger: Mean gain of the stronger one's.
      low: Lower end of the 95 % interval of `weaker - stronger`; NaN where there is none.
      high: Its upper end.
      num_categories: That have a weaker and a stronger modality, of each pair of runs.
      is_over_seeds: Whether the interval is one over seeds; else over the categories of one seed.
    """

    weaker: float
    stronger: float
    low: float
    high: float
    num_categories: tuple[int, ...]
    is_over_seeds: bool

    @property
    def difference(self) -> float:
        """How much more the weaker one gained."""
        return self.weaker - self.stronger


class Comparison:
    """Runs without and with modulation, paired by seed, in every category that has clips.

    S pairs of runs, C categories, P parts: "fused" and then the modalities.

    Args:
      title: Of the modulation.
      seeds: One a pair.
      before: The run of each pair without modulation.
      after: The one with it.
      class_names: Of all classes.

    Attributes:
      parts: Names of the P parts.
      categories: Names of the C categories.
      num_clips: Of each category, in the mean over the pairs, float `[C]`.
      before: Accuracies without modulation, `[S, C, P]`.
      after: Accuracies with it, `[S, C, P]`.

    Raises:
      ValueError: where there is no pair, or the runs of a pair saw other clips or have other parts.
    """

    def __init__(
        self,
        title: str,
        seeds: Sequence[int],
        before: Sequence[Answers],
        after: Sequence[Answers],
        class_names: Sequence[str],
    ):
        parts = [tuple(run.predicted) for run in (*before, *after)]
        if not len(seeds) == len(before) == len(after) > 0 or len(set(parts)) != 1:
            raise ValueError(
                "A comparison needs pairs of runs with the same parts. Received: "
                f"{len(before)} and {len(after)} runs of {len(seeds)} seeds, parts={parts}."
            )
        for seed, one, other in zip(seeds, before, after, strict=True):
            if not np.array_equal(one.labels, other.labels):
                raise ValueError(
                    f"The runs of a pair must answer the same clips. Received: seed={seed}, of "
                    f"{len(one.labels)} and {len(other.labels)} clips whose classes differ."
                )
        self.title, self.seeds, self.parts = title, tuple(seeds), parts[0]
        count = len(class_names)
        clips = np.stack([np.bincount(run.labels, minlength=count) for run in before])
        # A category that some pair has no clip of has no mean over the pairs.
        known = (clips > 0).all(axis=0)
        self.categories = [name for name, own in zip(class_names, known, strict=True) if own]
        self.num_clips = clips.mean(axis=0)[known]
        self.before, self.after = (
            np.stack([run.accuracies(count)[known] for run in runs]) for runs in (before, after)
        )

    @property
    def gains(self) -> np.ndarray:
        """What each pair gains, `[S, C, P]`."""
        return self.after - self.before

    @functools.cached_property
    def order(self) -> np.ndarray:
        """Numbers of the categories, by the mean gain of the fused network, greatest first."""
        return np.argsort(-self.gains[..., 0].mean(axis=0), kind="stable")

    @functools.cached_property
    def dominant(self) -> list[str]:
        """Of each category, the modality whose branch is best without modulation; "" in a tie."""
        modalities = self.before[..., 1:].mean(axis=0)
        best = modalities.max(axis=1, keepdims=True)
        is_best = np.isclose(modalities, best, rtol=0, atol=1e-9)
        return [self.parts[1 + own.argmax()] if own.sum() == 1 else "" for own in is_best]

    def interval(self, of: str, category: int, part: int) -> tuple[float, float]:
        """Returns a 95 % interval, NaN where there is none.

        Over several seeds it is Student's, of the mean of "before", "after" or "gain". With one
        seed there is none of a gain, and of the others it is Wilson's, over the category's clips.

        Args:
          of: "before", "after" or "gain".
          category: Its number.
          part: Its number.
        """
        values = {"before": self.before, "after": self.after, "gain": self.gains}[of]
        values = values[:, category, part]
        if len(self.seeds) > 1:
            return intervals.student(values)
        if of == "gain":
            return math.nan, math.nan
        num_clips = round(self.num_clips[category])
        return intervals.wilson(round(values[0] * num_clips), num_clips)

    def weaker_gain(self) -> WeakerGain:
        """Says whether the weaker or the stronger modality of a category gains more.

        Which one is weaker is told, for every pair, by the other pairs' runs without modulation:
        told by its own, chance that made a branch weak there would count as its gain here. With one
        pair there are no others.

        The pairs tell each other, so that what they say is correlated: by (2 S - 3)^-1/2 / pi where
        the modalities are equally good and chance varies all runs alike, and by less elsewhere. The
        interval over S pairs is as wide as that asks for.

        Returns:
          The gains; NaN where some pair has no category with a weaker modality.
        """
        num_pairs = len(self.seeds)
        pairs, categories = [], []
        for own in range(num_pairs):
            others = [pair for pair in range(num_pairs) if pair != own] or [own]
            reference = self.before[others, :, 1:].mean(axis=0)
            gains = self.gains[own, :, 1:]
            differ = np.ptp(reference, axis=1) > 1e-9
            rows = np.flatnonzero(differ)
            both = np.stack(
                [
                    gains[rows, reference[rows].argmin(axis=1)],
                    gains[rows, reference[rows].argmax(axis=1)],
                ],
                axis=1,
            )
            categories.append(len(rows))
            pairs.append(both)
        counts, is_over_seeds = tuple(categories), num_pairs > 1
        if not all(counts):
            return WeakerGain(math.nan, math.nan, math.nan, math.nan, counts, is_over_seeds)
        means = np.stack([both.mean(axis=0) for both in pairs])
        spread = means if is_over_seeds else pairs[0]
        correlation = 1 / (math.pi * math.sqrt(2 * num_pairs - 3)) if is_over_seeds else 0.0
        low, high = intervals.student(spread[:, 0] - spread[:, 1], correlation)
        weaker, stronger = means.mean(axis=0)
        return WeakerGain(float(weaker), float(stronger), low, high, counts, is_over_seeds)


def to_csv(comparisons: Iterable[Comparison]) -> str:
    """Returns all accuracies, gains and intervals as CSV, a row a category."""
    lines: list[list[object]] = []
    header: list[str] = []
    for comparison in comparisons:
        kind = "seeds (Student)" if len(comparison.seeds) > 1 else "clips (Wilson)"
        header = ["modulation", "seeds", "intervals_over", "category", "clips", "dominant"]
        for part in comparison.parts:
            for of in ("before", "after", "gain"):
                header += [f"{part}_{of}", f"{part}_{of}_low", f"{part}_{of}_high"]
        for category in comparison.order:
            line = [
                comparison.title,
                " ".join(map(str, comparison.seeds)),
                kind,
                comparison.categories[category],
                f"{comparison.num_clips[category]:g}",
                comparison.dominant[category],
            ]
            for part in range(len(comparison.parts)):
                for of, values in (
                    ("before", comparison.before),
                    ("after", comparison.after),
                    ("gain", comparison.gains),
                ):
                    ends = comparison.interval(of, category, part)
                    numbers = (values[:, category, part].mean(), *ends)
                    line += ["" if math.isnan(value) else f"{value:.6f}" for value in numbers]
            lines.append(line)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(lines)
    return file.getvalue()
