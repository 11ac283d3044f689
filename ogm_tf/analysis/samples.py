"""How sure runs become of single clips over their epochs, and which clips are worth a look.

After Peng et al., CVPR 2022, supplement, Figure 2.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """How sure one run was of K clips after each of E epochs.

    Args:
      clip_ids: Names of the clips.
      names: "fused" and the modalities, P in all.
      confidence: Probabilities of the right class, `[E, K, P]`.

    Raises:
      ValueError: where the shapes do not fit, or there is no epoch.
    """

    clip_ids: tuple[str, ...]
    names: tuple[str, ...]
    confidence: np.ndarray

    def __post_init__(self):
        shape = np.shape(self.confidence)
        if len(shape) != 3 or shape[0] < 1 or shape[1:] != (len(self.clip_ids), len(self.names)):
            raise ValueError(
                "Confidence must be [E, K, P], of at least one epoch. Received: shape "
                f"{shape} of {len(self.clip_ids)} clips and the parts {', '.join(self.names)}."
            )

    def of(self, clip_ids: Sequence[str]) -> "Curves":
        """Returns the curves of some of the clips, in their order."""
        places = {clip_id: place for place, clip_id in enumerate(self.clip_ids)}
        chosen = [places[clip_id] for clip_id in clip_ids]
        return Curves(tuple(clip_ids), self.names, self.confidence[:, chosen])

    @property
    def late(self) -> np.ndarray:
        """Means over the last quarter of the epochs, at least one, `[K, P]`; NaN becomes 0."""
        num_epochs = max(1, len(self.confidence) // 4)
        return np.nan_to_num(self.confidence[-num_epochs:]).mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Pick:
    """A clip, and why it is shown."""

    clip_id: str
    reason: str


def common_clips(runs: Sequence[Curves]) -> list[str]:
    """Returns the clips that all of some runs recorded, in the order of the first."""
    others = [set(run.clip_ids) for run in runs[1:]]
    return [clip_id for clip_id in runs[0].clip_ids if all(clip_id in own for own in others)]


def pick(before: Curves, after: Curves, title: str) -> list[Pick]:
    """Returns the clips in which modulation changed most, for better and for worse.

    These are the clip in which the weakest modality rises most, that is the one of the least mean
    confidence before, and those in which the fused network rises and falls most; by `Curves.late`.

    Args:
      before: Of a run without modulation.
      after: Of one with it, of the same clips.
      title: Of the modulation.
    """
    early, late = before.late, after.late
    weakest = 1 + int(early[:, 1:].mean(axis=0).argmin())
    picks: list[Pick] = []
    for part, sign, verb in ((weakest, 1, "raises"), (0, 1, "raises"), (0, -1, "lowers")):
        change = sign * (late[:, part] - early[:, part])
        # Every clip is shown once.
        change[[after.clip_ids.index(picked.clip_id) for picked in picks]] = -np.inf
        best = int(change.argmax())
        # What is said must show in the numbers as they are printed.
        if f"{early[best, part]:.2f}" == f"{late[best, part]:.2f}" or change[best] <= 0:
            continue
        who = "the fused network" if part == 0 else f"the {after.names[part]} branch"
        picks.append(
            Pick(
                after.clip_ids[best],
                f"{title} {verb} {who} most: from {early[best, part]:.2f} to "
                f"{late[best, part]:.2f}",
            )
        )
    return picks


def pick_apart(curves: Curves) -> list[Pick]:
    """Returns the clip in which the modalities of one run differ most, by `Curves.late`."""
    modalities = curves.late[:, 1:]
    best = int(np.ptp(modalities, axis=1).argmax())
    said = [
        f"{name} {value:.2f}"
        for name, value in zip(curves.names[1:], modalities[best], strict=True)
    ]
    return [Pick(curves.clip_ids[best], f"the modalities differ most: {', '.join(said)}")]
