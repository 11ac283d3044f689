"""One page about runs that say when in a video an event is, and which.

    runs = [RunSummary("agva", "none", config, history, metrics, best_epoch=17), ...]
    event_report.write_event_report("reports/mine", runs, examples, ("audio", "visual"), names)

It looks as `report`'s, and shows videos along their time: frames, where the networks look, the
right answer, and what runs and modalities say of every segment.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ogm_tf.analysis import clips, embedding, map_pictures, run_page
from ogm_tf.analysis.headlines import Terms
from ogm_tf.analysis.map_pictures import ATTENTION
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import RunSummary, split_names, split_title
from ogm_tf.analysis.tables import Table

FUSED = "fused"
SEGMENTS = Terms(
    whole=FUSED,
    whole_part="the fused network",
    named_part="the {name} branch",
    whole_level="the fused network answers {value:.2f} of the segments",
    named_level="the {name} branch {value:.2f}",
    unit="segments",
)
# Of a longer video, segments evenly spread have pictures.
_MAX_PICTURES = 10
# Without frames, a map is drawn on a grey of this value, so many pixels a place.
_GREY, _PIXELS = 128, 24
_PARTS = {
    "event_accuracy": "segments with an event",
    "background_accuracy": "background segments",
    "all_event_accuracy": "the event everywhere",
}


@dataclasses.dataclass(frozen=True)
class EventExample:
    """One video of T segments, and what the runs make of it.

    Args:
      video_id: Its name.
      labels: The right class of every segment, integers `[T]`.
      segment_s: Length of a segment, seconds.
      probabilities: For each run, by "fused" and each modality, `[T, C]` over the classes.
      frames: One a segment, uint8 `[T, H, W, 3]`, or None.
      maps: For each run, how it spreads its attention over a segment's picture, `[T, h, w]`.
    """

    video_id: str
    labels: np.ndarray
    segment_s: float
    probabilities: Mapping[str, Mapping[str, np.ndarray]]
    frames: np.ndarray | None = None
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def check(
        self, run_names: Sequence[str], modalities: Sequence[str], class_names: Sequence[str]
    ) -> None:
        """Checks shapes and names.

        Raises:
          ValueError: where something has another shape or name.
        """
        num_segments = len(self.labels)
        answers = (num_segments, len(class_names))
        for name in (*self.probabilities, *self.maps):
            if name not in run_names:
                raise ValueError(
                    f"Video {self.video_id!r} must name a run of {', '.join(run_names)}. "
                    f"Received: {name}."
                )
        for name, own in self.probabilities.items():
            shapes = {part: np.shape(values) for part, values in own.items()}
            if shapes != {part: answers for part in (FUSED, *modalities)}:
                raise ValueError(
                    f"Video {self.video_id!r} must have probabilities [T, C] = {answers} of "
                    f"{', '.join((FUSED, *modalities))}. Received: {shapes} of run {name}."
                )
        pictures = {} if self.frames is None else {"frames": (self.frames, 4)}
        pictures |= {f"map of {name}": (values, 3) for name, values in self.maps.items()}
        for name, (values, rank) in pictures.items():
            shape = np.shape(values)
            if len(shape) != rank or shape[0] != num_segments or 0 in shape:
                raise ValueError(
                    f"Video {self.video_id!r} must have a picture for each of its {num_segments} "
                    f"segments. Received: {name} of shape {shape}."
                )


def write_event_report(
    output_dir: str | os.PathLike,
    runs: Sequence[RunSummary],
    examples: Sequence[EventExample],
    modalities: Sequence[str],
    class_names: Sequence[str],
    network: str,
    tables: Sequence[Table] = (),
    sections: Sequence[Section] = (),
) -> pathlib.Path:
    """Writes `index.html`, which needs nothing else, and `comparison.csv`.

    Args:
      output_dir: Folder, made where it is missing.
      runs: At least one, in the order they are shown. Metrics may have, beside those of
        `RunSummary`, `event_accuracy`, `background_accuracy` and `all_event_accuracy`.
      examples: Videos to show; what would make the page too large is left out as in `report`.
      modalities: Their names.
      class_names: Of all classes, background as the last.
      network: Name of the network.
      tables: To follow the comparison.
      sections: More parts.

    Returns:
      Path of `index.html`. Both files appear whole or not at all.

    Raises:
      ValueError: where there is no run, two share a name, or a run or an example does not fit.
    """
    runs, examples = list(runs), list(examples)
    run_page.check_runs(runs, modalities, class_names, SEGMENTS)
    run_names = [run.name for run in runs]
    for example in examples:
        example.check(run_names, modalities, class_names)
    maps = [values for example in examples for values in example.maps.values()]
    limit = _limit(maps)

    def videos_within(max_bytes: int) -> list[dict[str, Any]]:
        views = (_view(example, run_names, modalities, class_names, limit) for example in examples)
        return clips.keep(views, len(examples), max_bytes)

    return run_page.write_page(
        output_dir,
        "events.html",
        runs,
        modalities,
        class_names,
        SEGMENTS,
        videos_within,
        len(examples),
        [*_parts_table(runs), *tables],
        sections,
        title=f"Events in videos by {network}: which, and when?",
        background=class_names[-1],
        has_weak=any(run.config.get("supervision") == "weak" for run in runs),
        key=_key(maps, limit) if maps else (),
        limit=f"{limit:.2g}",
    )


def _parts_table(runs: Sequence[RunSummary]) -> list[Table]:
    """Returns a table of where the right segments are, of the first split that has been asked."""
    for split in split_names(runs):
        shown = [run for run in runs if math.isfinite(run.metric(split, "event_accuracy"))]
        if not shown:
            continue
        rows = []
        for run in shown:
            values = [run.metric(split, name) for name in _PARTS]
            rows.append(
                (run.name, *(f"{value:.3f}" if math.isfinite(value) else "–" for value in values))
            )
        note = (
            f"Accuracy of the fused network on the {split_title(split)}, apart for segments with "
            "an event and for background. The last column is not of the run: it is what one "
            "reaches, on all segments, who names each video’s right event in every segment. To "
            "find out when it is, a network must do better than that."
        )
        return [Table("Events and background", ("Run", *_PARTS.values()), tuple(rows), note)]
    return []


def _limit(maps: Sequence[np.ndarray]) -> float:
    """Returns the largest value of all maps: one scale, so that they compare."""
    values = np.concatenate([[0.0], *map(np.ravel, maps)])
    return float(np.max(values[np.isfinite(values)])) or 1.0


def _key(maps: Sequence[np.ndarray], limit: float) -> tuple[str, str]:
    even = {1 / values[0].size for values in maps}
    marks = {"even": even.pop()} if len(even) == 1 else {}
    return embedding.themed(
        lambda theme: map_pictures.key_figure(limit, ATTENTION, theme=theme, **marks)
    )


def _view(
    example: EventExample,
    run_names: Sequence[str],
    modalities: Sequence[str],
    class_names: Sequence[str],
    limit: float,
) -> dict[str, Any]:
    """Returns what the template shows of a video: rows of as many cells as segments."""
    labels = np.asarray(example.labels)
    num_segments, background = len(labels), len(class_names) - 1
    starts = [f"{number * example.segment_s:g}" for number in range(num_segments)]
    places = np.linspace(0, num_segments - 1, min(num_segments, _MAX_PICTURES)).round()
    places = {int(place) for place in places}
    frames = None
    if example.frames is not None:
        frames = [
            _cell(example.frames[place], f"Frame at {start} s of video {example.video_id}")
            if place in places
            else None
            for place, start in enumerate(starts)
        ]
    runs = []
    for name in run_names:
        if name not in example.probabilities:
            continue
        attention = None
        if name in example.maps:
            attention = [
                _attention(example, name, place, start, limit) if place in places else None
                for place, start in enumerate(starts)
            ]
        rows = [
            (part, _answers(example.probabilities[name][part], labels, class_names))
            for part in (FUSED, *modalities)
        ]
        num_right = sum(answer["is_right"] for answer in rows[0][1])
        runs.append({"name": name, "attention": attention, "rows": rows, "num_right": num_right})
    events = [class_names[index] for index in dict.fromkeys(labels) if index != background]
    return {
        "id": example.video_id,
        "title": ", ".join(events) or class_names[background],
        "starts": starts,
        "frames": frames,
        "truth": _spans(labels, class_names),
        "runs": runs,
    }


def _spans(labels: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the right answer as stretches of one class."""
    spans: list[dict[str, Any]] = []
    for label in labels:
        name = class_names[label]
        if spans and spans[-1]["name"] == name:
            spans[-1]["length"] += 1
        else:
            spans.append({"name": name, "length": 1, "is_event": label != len(class_names) - 1})
    return spans


def _answers(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    found = []
    for own, label in zip(np.asarray(probabilities), labels, strict=True):
        answer = int(own.argmax())
        score = float(own[label])
        found.append(
            {
                "name": class_names[answer],
                "is_right": answer == label,
                "is_event": answer != len(class_names) - 1,
                "percent": f"{score:.0%}" if math.isfinite(score) else "–",
            }
        )
    return found


def _attention(
    example: EventExample, run_name: str, place: int, start: str, limit: float
) -> tuple[str, str]:
    values = np.asarray(example.maps[run_name][place])
    if example.frames is None:
        height, width = values.shape
        frame = np.full((_PIXELS * height, _PIXELS * width, 3), _GREY, np.uint8)
    else:
        frame = example.frames[place]
    where = map_pictures.greatest(values)
    text = f"Attention of run {run_name} at {start} s of video {example.video_id}: {where}"
    return _cell(map_pictures.overlay(frame, values, limit, ATTENTION), text)


def _cell(picture: np.ndarray, text: str) -> tuple[str, str]:
    return embedding.picture_to_data_uri(picture), text
