"""One page about pre-training runs, which tell pairs of sound and frames that match from others.

    runs = [RunSummary("avca", "none", config, history, metrics, best_epoch=17), ...]
    pair_report.write_pair_report("reports/mine", runs, examples, SHIFTS, "AVCA")

It looks as `report`'s, and adds where in the frames the networks look.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ogm_tf.analysis import clips, embedding, map_pictures, run_page
from ogm_tf.analysis.headlines import PAIRS
from ogm_tf.analysis.map_pictures import MapKind
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import ClipExample, RunSummary
from ogm_tf.analysis.tables import Table

GROUPS = ("positive", "negative")


@dataclasses.dataclass(frozen=True)
class PairTask:
    """What is told apart.

    Args:
      positive: A match, in a word or two.
      negative: A mismatch.
      description: Both, in a sentence.
    """

    positive: str
    negative: str
    description: str


CORRESPONDENCE = PairTask(
    "match",
    "no match",
    "A positive pair is a frame and the sound of the same moment of a clip; a negative pair is a "
    "frame of one clip and the sound of another.",
)
SYNCHRONIZATION = PairTask(
    "in step",
    "shifted",
    "A positive pair is the frames and the sound of the same moments of a clip; a negative pair "
    "is the same frames with the sound of other moments of that clip.",
)


@dataclasses.dataclass(frozen=True)
class PairExample:
    """One clip's own sound and frames, a positive pair, and what the runs make of it.

    Args:
      clip: With the task's `positive` as label, and as predictions for each run what it answers as
        "fused", with the answer's probability.
      class_name: What is to be seen and heard.
      window_s: What the frames are evenly spread over, seconds.
      maps: For each run, where it looks or finds something, `[t, h, w]`: spread over the frames,
        in time too; no run where the networks have no map.
    """

    clip: ClipExample
    class_name: str
    window_s: float
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def check(self, run_names: Sequence[str], task: PairTask) -> None:
        """Checks shapes and names.

        Raises:
          ValueError: where the clip has no frames, or something has another shape or name.
        """
        self.clip.check(run_names, (task.negative, task.positive))
        if self.clip.frames is None:
            raise ValueError(f"A pair must have frames. Received: {self.clip.clip_id}, without.")
        for name, values in self.maps.items():
            if name not in run_names or np.ndim(values) != 3 or 0 in np.shape(values):
                raise ValueError(
                    f"Maps of clip {self.clip.clip_id!r} must be [t, h, w] of a run of "
                    f"{', '.join(run_names)}. Received: {name}, shape={np.shape(values)}."
                )


def write_pair_report(
    output_dir: str | os.PathLike,
    runs: Sequence[RunSummary],
    examples: Sequence[PairExample],
    task: PairTask,
    network: str,
    map_kind: MapKind | None = None,
    tables: Sequence[Table] = (),
    sections: Sequence[Section] = (),
) -> pathlib.Path:
    """Writes `index.html`, which needs nothing else, and `comparison.csv`.

    Args:
      output_dir: Folder, made where it is missing.
      runs: At least one, of one network and task, in the order they are shown. Their groups are
        "positive" and "negative"; the history has `m_score` of each, too.
      examples: Clips to show; what would make the page too large is left out as in `report`.
      task: What the runs tell apart.
      network: Name of the network.
      map_kind: What the examples' maps are; None where there are none.
      tables: To follow the comparison.
      sections: More parts.

    Returns:
      Path of `index.html`. Both files appear whole or not at all.

    Raises:
      ValueError: where there is no run, two share a name, there are maps of no kind, or a run or an
        example does not fit the task.
    """
    runs, examples = list(runs), list(examples)
    answers = (task.negative, task.positive)
    run_page.check_runs(runs, GROUPS, answers, PAIRS)
    run_names = [run.name for run in runs]
    for example in examples:
        example.check(run_names, task)
    maps = [values for example in examples for values in example.maps.values()]
    if maps and map_kind is None:
        raise ValueError("Maps must have a kind. Received: map_kind=None.")
    limit = _limit(maps)

    def clips_within(max_bytes: int) -> list[dict[str, Any]]:
        max_samples = clips.samples_each(len(examples), max_bytes)
        views = (
            _view(example, run_names, max_samples, limit, map_kind, task) for example in examples
        )
        return clips.keep(views, len(examples), max_bytes)

    return run_page.write_page(
        output_dir,
        "pairs.html",
        runs,
        GROUPS,
        answers,
        PAIRS,
        clips_within,
        len(examples),
        tables,
        sections,
        title=f"Pre-training of {network}: do sound and picture belong together?",
        task=task,
        map_kind=map_kind.name if maps else None,
        key=_key(maps, limit, map_kind, task) if maps else (),
        limit=f"{limit:.2g}",
        map_shape=maps[0].shape if maps else None,
    )


def _limit(maps: Sequence[np.ndarray]) -> float:
    """Returns the size of the largest value of all maps: one scale, so that they compare."""
    sizes = np.abs(np.concatenate([[0.0], *map(np.ravel, maps)]))
    return float(np.max(sizes[np.isfinite(sizes)])) or 1.0


def _key(
    maps: Sequence[np.ndarray], limit: float, kind: MapKind, task: PairTask
) -> tuple[str, str]:
    marks: dict[str, Any] = {"even": 1 / maps[0][0].size}
    if kind.is_signed:
        marks = {"ends": (f"speaks for “{task.negative}”", f"for “{task.positive}”")}
    return embedding.themed(
        lambda theme: map_pictures.key_figure(limit, kind, theme=theme, **marks)
    )


def _view(
    example: PairExample,
    run_names: Sequence[str],
    max_samples: int,
    limit: float,
    kind: MapKind | None,
    task: PairTask,
) -> dict[str, Any]:
    """Returns what the template shows of a clip: a row of frames, one of each map, the sound."""
    frames, clip_id = example.clip.frames, example.clip.clip_id
    places = clips.shown_frames(len(frames))
    each_s = example.window_s / len(frames)
    times = [f"{example.clip.start_s + (place + 0.5) * each_s:.2f} s" for place in places]
    what = f"of clip {clip_id}, class {example.class_name}"
    cells = [
        (map_pictures.enlarged(frames[place]), f"Frame at {time} {what}")
        for place, time in zip(places, times, strict=True)
    ]
    rows = [("Frames", cells)]
    for name in run_names:
        if name not in example.maps:
            continue
        values = np.asarray(example.maps[name])
        steps = map_pictures.steps_of_frames(len(values), len(frames))
        cells = []
        for place, time in zip(places, times, strict=True):
            step = values[steps[place]]
            picture = map_pictures.overlay(frames[place], step, limit, kind)
            where = map_pictures.greatest(step)
            cells.append(
                (picture, f"{kind.name.capitalize()} of run {name} at {time} {what}: {where}")
            )
        rows.append((name, cells))
    bare = dataclasses.replace(example.clip, frames=None)
    return clips.clip_view(bare, run_names, (), max_samples) | {
        "class_name": example.class_name,
        "num_frames": len(frames),
        "rows": [
            (
                name,
                [
                    (embedding.picture_to_data_uri(picture), text, time)
                    for (picture, text), time in zip(cells, times, strict=True)
                ],
            )
            for name, cells in rows
        ],
    }
