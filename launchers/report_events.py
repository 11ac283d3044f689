"""The report of runs of `localize`: what it shows beside the report of `train`'s."""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipelines.feature_sequences import FeatureSequences
from launchers.features import open_features, read_picture, segment_seconds
from launchers.runs import RunFolder
from launchers.timelines import BACKGROUND
from ogm_tf.analysis import event_report
from ogm_tf.analysis.event_report import EventExample
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import RunSummary
from ogm_tf.localization import EventModel
from ogm_tf.localization.event_model import MODALITIES

# Takes runs, their best models by name, and more parts of the page; returns the page's path.
Write = Callable[[Sequence[RunSummary], Mapping[str, EventModel], Sequence[Section]], pathlib.Path]


def prepare(
    output_dir: str,
    folders: Sequence[RunFolder],
    configs: Sequence[Mapping[str, Any]],
    split: str,
    num_examples: int,
) -> Write:
    """Opens the runs' features and returns what writes the page about runs and their models.

    Args:
      output_dir: Folder of the page.
      folders: Of the runs.
      configs: Their settings.
      split: Of the example videos.
      num_examples: Of them, at most.

    Raises:
      ValueError: where the runs' features are not of the same videos and classes.
    """
    opened = [
        open_features(config["features_dir"], config["background_videos"]) for config in configs
    ]
    for folder, features in zip(folders, opened, strict=True):
        if _asked(features, split) != _asked(opened[0], split):
            raise ValueError(
                f"Runs are compared on the same {split} videos, segments and classes. Received: "
                f"{folders[0].path} and {folder.path}, whose features differ."
            )
    places = [config["features_dir"] for config in configs]
    return functools.partial(_write, output_dir, places, opened, split, num_examples)


def _asked(features: FeatureSequences, split: str) -> tuple[Any, ...]:
    """Returns what runs are asked for in a split."""
    rows = features.splits.get(split, ())
    videos = [(features.video_ids[row], *features.labels[row].tolist()) for row in rows]
    return features.class_names, videos


def _write(
    output_dir: str,
    places: Sequence[str],
    opened: Sequence[FeatureSequences],
    split: str,
    num_examples: int,
    summaries: Sequence[RunSummary],
    models: Mapping[str, EventModel],
    sections: Sequence[Section],
) -> pathlib.Path:
    features = opened[0]
    rows = features.splits.get(split, ())
    chosen = choose(rows, features, lambda row: _frames(places, opened, row), num_examples)
    return event_report.write_event_report(
        output_dir,
        summaries,
        [_example(row, places, opened, models) for row in chosen],
        MODALITIES,
        [*features.class_names, BACKGROUND],
        summaries[0].config["model"].upper(),
        sections=sections,
    )


def choose(
    rows: Sequence[int],
    features: FeatureSequences,
    frames: Callable[[int], Any],
    num_examples: int,
) -> list[int]:
    """Returns the videos that tell most: with frames, with a beginning or an end, of all classes.

    Args:
      rows: Of the videos to choose from.
      features: Their labels.
      frames: Returns those of a row, or None.
      num_examples: How many, at most.
    """
    chosen: list[int] = []
    shown: list[int] = []
    left = [(row, frames(row) is None) for row in map(int, rows)]
    for _ in range(min(num_examples, len(left))):

        def value(entry):
            row, has_none = entry
            labels = features.labels[row]
            return has_none, len(set(labels)) == 1, shown.count(int(labels.min()))

        best = min(left, key=value)
        left.remove(best)
        chosen.append(best[0])
        # The event, background being the last of the classes.
        shown.append(int(features.labels[best[0]].min()))
    return chosen


def _example(
    row: int,
    places: Sequence[str],
    opened: Sequence[FeatureSequences],
    models: Mapping[str, EventModel],
) -> EventExample:
    """Returns a video, a row of the first run's features, with what every run says of it."""
    first = opened[0]
    video_id = first.video_ids[row]
    probabilities, maps = {}, {}
    for features, (name, model) in zip(opened, models.items(), strict=True):
        own_row = features.video_ids.index(video_id)
        values = features.read(np.array([own_row]))
        inputs = dict(zip(features.arrays, map(tf.constant, values), strict=True))
        logits, parts = model.segment_logits(inputs, unimodal=True)
        probabilities[name] = {
            part: tf.nn.softmax(tf.cast(own[0], tf.float32)).numpy()
            for part, own in {event_report.FUSED: logits, **parts}.items()
        }
        maps[name] = tf.cast(model.attention_map(inputs)[0], tf.float32).numpy()
    return EventExample(
        video_id=video_id,
        labels=first.labels[row],
        segment_s=segment_seconds(places[0]),
        probabilities=probabilities,
        frames=_frames(places, opened, row),
        maps=maps,
    )


def _frames(
    places: Sequence[str], opened: Sequence[FeatureSequences], row: int
) -> np.ndarray | None:
    """Returns a frame of each segment, uint8 `[T, H, W, 3]`, of the first run's features."""
    picture = read_picture(places[0], row)
    if picture is None:
        return None
    strip = tf.io.decode_jpeg(picture, channels=3).numpy()
    num_segments = opened[0].labels.shape[1]
    if strip.shape[1] % num_segments:
        raise ValueError(
            f"The picture of a video must be {num_segments} frames side by side. "
            f"Received: row {row} of {places[0]}, {strip.shape[1]} pixels wide."
        )
    return np.stack(np.split(strip, num_segments, axis=1))
