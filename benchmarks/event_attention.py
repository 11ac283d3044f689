r"""Does the attention find the sounding object in the built-in videos of events?

  python -m benchmarks.event_attention --data_dir=data/events --run_dirs=runs/events_agva

Of the test split's segments with an event, the share whose attention is highest in the quarter of
the frame in which the object is that is heard, and how much of the attention lies in it. Who looks
everywhere alike has a quarter of both.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from benchmarks import comparison
from input_pipelines import feature_sequences
from input_pipelines.event_plans import PLACES_A_SIDE, EventVideoSettings, draw_plan
from launchers.features import open_features
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, setting

_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class EventAttentionSettings(LauncherSettings):
    """Settings of the comparison."""

    data_dir: str = setting(dataclasses.MISSING, "Folder of `prepare --dataset=synthetic_events`.")
    run_dirs: tuple[str, ...] = setting(
        dataclasses.MISSING, "Runs of `localize` on features of these videos, with commas.",
        rule="at least one", holds=lambda value: len(value) > 0,
    )  # fmt: skip


def run(settings: EventAttentionSettings) -> None:
    """Prints the table."""
    stored = json.loads(pathlib.Path(settings.data_dir, "settings.json").read_text("utf-8"))
    del stored["format_version"]
    stored["event_segments"] = tuple(stored["event_segments"])
    videos = EventVideoSettings(**stored)
    rows = [[pathlib.Path(path).name, *_measure(path, videos)] for path in settings.run_dirs]
    print(comparison.markdown(["run", "highest there", "lies there"], rows))


def quarters(maps: np.ndarray, places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each map is highest in a quarter of it, and how much of it lies there.

    Args:
      maps: >= 0, of sum 1 each, `[N, h, w]`, h and w even.
      places: Of each map the quarter, from 0 to 3, row by row, `[N]`.

    Returns:
      bool `[N]` and float `[N]`.
    """
    num_maps, height, width = maps.shape
    side = PLACES_A_SIDE
    parts = maps.reshape(num_maps, side, height // side, side, width // side)
    parts = parts.transpose(0, 1, 3, 2, 4).reshape(num_maps, side**2, -1)
    own = parts[np.arange(num_maps), places]
    return own.max(axis=-1) == maps.max(axis=(1, 2)), own.sum(axis=-1)


def _measure(run_dir: str, videos: EventVideoSettings) -> list[str]:
    folder = RunFolder(pathlib.Path(run_dir))
    model, features = folder.load_best(), open_features(folder.read_config()["features_dir"])
    attend = tf.function(model.attention_map)
    data = feature_sequences.eval_dataset(features, "test", _BATCH_SIZE)
    maps = np.concatenate([attend(inputs).numpy() for inputs, _, _ in data.dataset])
    rows = features.splits["test"]
    is_event = features.labels[rows] != features.num_classes - 1
    places = []
    for row, own in zip(rows, is_event, strict=True):
        split, index = features.video_ids[row].split("-")
        plan = draw_plan(videos, split, int(index))
        places += [plan.places[plan.label]] * own.sum()
    is_highest, share = quarters(maps[: len(rows)][is_event], places)
    return [f"{is_highest.mean():.3f}", f"{share.mean():.3f}"]


if __name__ == "__main__":
    launch(EventAttentionSettings, run)
