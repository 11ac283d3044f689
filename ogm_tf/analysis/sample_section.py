"""The part of a page about single clips: how sure each run becomes of them over its epochs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ogm_tf.analysis import clips, figures
from ogm_tf.analysis.embedding import themed
from ogm_tf.analysis.samples import Curves, Pick
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import ClipExample, RunSummary

_MAX_SOUND_BYTES = 600_000


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A clip to show.

    Args:
      pick: Which, and why.
      example: What it sounds and looks like; what runs say of it is not shown.
    """

    pick: Pick
    example: ClipExample


def sample_section(
    samples: Sequence[Sample],
    curves: Mapping[str, Curves],
    runs: Sequence[RunSummary],
    num_classes: int,
    how_picked: str,
) -> Section:
    """Returns the part of a page about single clips.

    Args:
      samples: At least one.
      curves: Of each run by name, of the samples' clips in their order.
      runs: To show, in their order.
      num_classes: Of which guessing takes one.
      how_picked: Which clips these are, in a sentence.
    """
    max_samples = clips.samples_each(len(samples), 2 * _MAX_SOUND_BYTES, _MAX_SOUND_BYTES)
    views = []
    for number, sample in enumerate(samples):
        view = clips.clip_view(sample.example, (), (), max_samples)
        panels = [_panel(run, curves[run.name], number, num_classes) for run in runs]
        views.append({"clip": view, "reason": sample.pick.reason, "panels": panels})
    return Section(
        title="Samples over the epochs",
        anchor="samples",
        template="samples.html",
        values={"samples": views, "how_picked": how_picked},
    )


def _panel(run: RunSummary, curves: Curves, number: int, num_classes: int) -> dict[str, Any]:
    values = dict(zip(curves.names, curves.confidence[:, number].T.tolist(), strict=True))
    fused = values.pop(curves.names[0])
    images = themed(
        lambda theme: figures.accuracy_figure(
            fused,
            values,
            chance=1 / num_classes,
            best_epoch=run.best_epoch,
            quantity="probability of the true class",
            theme=theme,
        )
    )
    ends = ", ".join(f"{name} {own[-1]:.2f}" for name, own in {"fused": fused, **values}.items())
    return {
        "title": run.modulation_title,
        "run": run.name,
        "images": images,
        "text": f"Probability of the true class of clip {curves.clip_ids[number]} per epoch of run "
        f"{run.name}. At the end: {ends}.",
    }
