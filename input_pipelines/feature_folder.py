"""A folder of feature sequences: videos as they are written once and read row by row.

| file | what |
|---|---|
| `<modality>.npy` | float16 or float32 `[N, T, ...]`: of each of T segments of each of N videos |
| `labels.npy` | int32 `[N, T]`: each segment's class; C, the number of classes, is background |
| `videos.csv` | `video_id,split` of the N videos, in their order |
| `pictures/<row>.jpg` | of some videos, a frame of each segment side by side |
| `features.json` | classes, length of a segment, shapes, and where the features come from |

The folder appears whole or not at all. Features of any size are written without being held in
memory, and are mapped, not read, when the folder is opened.
"""

import csv
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipelines import files
from input_pipelines.feature_files import (
    LABELS,
    PICTURES_FOLDER,
    VIDEOS_FILE,
    FeatureWriter,
    Video,
    partial_folder,
)
from input_pipelines.feature_sequences import FeatureSequences
from input_pipelines.listing import SPLITS

FORMAT_VERSION = 1
FEATURES_FILE = "features.json"
# How many videos of the test split have a picture, and how high its frames are at most.
MAX_PICTURES = 24
MAX_PICTURE_HEIGHT = 96


@dataclasses.dataclass(frozen=True)
class About:
    """What `features.json` says.

    Args:
      class_names: The C events, without background.
      segment_s: Length of a segment, seconds.
      settings: Where the features come from, as their writer gave it.
      num_videos: N.
      shapes: `{"audio": (T, ...), "visual": (T, ...)}`.
      dtypes: `{"audio": "float32", ...}`.
    """

    class_names: tuple[str, ...]
    segment_s: float
    settings: dict[str, Any]
    num_videos: int
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]

    @property
    def num_segments(self) -> int:
        """Segments T of a video."""
        return next(iter(self.shapes.values()))[0]


def is_folder(path: files.Path) -> bool:
    """Returns whether there is such a folder, finished."""
    return files.is_file(files.join(path, FEATURES_FILE))


def write_features(
    output_dir: files.Path,
    videos: Iterable[Video],
    *,
    class_names: Sequence[str],
    segment_s: float,
    settings: Mapping[str, Any],
) -> About:
    """Writes a folder of features, one video after the other: complete or not at all.

    A folder that holds features of the same classes, segments and settings is left as it is, and
    no video is asked for.

    Args:
      output_dir: On this machine; absent, empty, or written before.
      videos: At least one; they become the rows, in their order.
      class_names: The C events, without background.
      segment_s: Length of a segment, seconds > 0.
      settings: Where the features come from: what JSON can hold.

    Returns:
      What there is in the folder.

    Raises:
      ValueError: where the folder holds something else, or is not on this machine; where a video
        is not like the first one, has the name of another, a label that is no class, or features
        that are not finite; where there is no video.
      RuntimeError: where another run writes the same folder.
    """
    if files.is_remote(output_dir):
        raise ValueError(
            f"Features must be on this machine. Received: output_dir={str(output_dir)!r}."
        )
    class_names = tuple(class_names)
    if not class_names or len(set(class_names)) != len(class_names):
        raise ValueError(
            f"`class_names` must be at least one, all different. Received: {class_names}."
        )
    if not 0 < segment_s < math.inf:
        raise ValueError(f"`segment_s` must be > 0. Received: segment_s={segment_s!r}.")
    wanted = {
        "class_names": list(class_names),
        "segment_s": float(segment_s),
        "settings": json.loads(json.dumps(dict(settings))),
    }
    output_dir = pathlib.Path(files.absolute(output_dir))
    if _is_finished(output_dir, wanted):
        return read_about(output_dir)
    with partial_folder(output_dir) as partial:
        with FeatureWriter(partial, len(class_names)) as writer:
            for video in videos:
                writer.add(video)
            arrays = writer.finish()
        stored = {"format_version": FORMAT_VERSION, **wanted, **arrays}
        files.write_text(partial / FEATURES_FILE, json.dumps(stored, indent=1) + "\n")
    return read_about(output_dir)


def videos_of(
    features: FeatureSequences, pictures: Mapping[int, bytes] | None = None
) -> Iterator[Video]:
    """Yields the videos of all splits as `write_features` takes them, float32.

    Args:
      features: The videos; those that are in no split are left out.
      pictures: JPEG files by row.
    """
    names = list(features.arrays)
    for split, rows in features.splits.items():
        for row in map(int, rows):
            inputs = [found[0] for found in features.read(np.array([row]))]
            yield Video(
                video_id=features.video_ids[row],
                split=split,
                labels=features.labels[row],
                inputs=dict(zip(names, inputs, strict=True)),
                picture=(pictures or {}).get(row),
            )


def open_folder(path: files.Path) -> FeatureSequences:
    """Opens a folder of features; they stay on the disk until they are read.

    Args:
      path: Folder that `write_features` wrote, on this machine.

    Raises:
      FileNotFoundError: where there is no such folder, or a file of it is missing.
      ValueError: where it is of another version, or a file is not what `features.json` says.
    """
    about = read_about(path)
    shapes = {name: (about.num_videos, *shape) for name, shape in about.shapes.items()}
    arrays = {
        name: _open_array(path, name, shape, about.dtypes[name]) for name, shape in shapes.items()
    }
    label_shape = (about.num_videos, about.num_segments)
    labels = np.array(_open_array(path, LABELS, label_shape, "int32"))
    video_ids, splits = _read_videos(path, about.num_videos)
    return FeatureSequences(
        arrays=arrays,
        labels=labels,
        splits={
            split: np.array([row for row, own in enumerate(splits) if own == split], np.int64)
            for split in SPLITS
            if split in splits
        },
        class_names=about.class_names,
        video_ids=video_ids,
    )


def read_about(path: files.Path) -> About:
    """Returns what `features.json` says.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: where it is damaged or of another version.
    """
    file = files.join(path, FEATURES_FILE)
    if not files.is_file(file):
        raise FileNotFoundError(
            f"There are no finished features here ({FEATURES_FILE} is missing); make them with "
            f"launchers.extract. Received: features_dir={str(path)!r}."
        )
    try:
        values = json.loads(files.read_text(file))
        if (version := values["format_version"]) != FORMAT_VERSION:
            raise ValueError(
                f"These features were made by another version (this one reads {FORMAT_VERSION}); "
                f"extract them again. Received: format_version={version!r}."
            )
        return About(
            class_names=tuple(values["class_names"]),
            segment_s=values["segment_s"],
            settings=values["settings"],
            num_videos=values["num_videos"],
            shapes={name: tuple(own["shape"]) for name, own in values["arrays"].items()},
            dtypes={name: own["dtype"] for name, own in values["arrays"].items()},
        )
    except (AttributeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{FEATURES_FILE} is damaged. Received: {file}, {error!r}.") from error


def read_picture(path: files.Path, row: int) -> bytes | None:
    """Returns the JPEG file of a video, by its row; None where it has none."""
    file = files.join(path, PICTURES_FOLDER, f"{row}.jpg")
    return files.read_bytes(file) if files.is_file(file) else None


def _is_finished(output_dir: pathlib.Path, wanted: dict[str, Any]) -> bool:
    """Returns whether the folder holds what is wanted; raises ValueError where it holds else."""
    if not files.exists(output_dir) or (output_dir.is_dir() and not any(output_dir.iterdir())):
        return False
    if not is_folder(output_dir):
        raise ValueError(
            "`output_dir` must be empty, absent, or hold features. "
            f"Received: output_dir={str(output_dir)!r}."
        )
    about = read_about(output_dir)
    found = {
        "class_names": list(about.class_names),
        "segment_s": about.segment_s,
        "settings": about.settings,
    }
    old, new = ({**values, **values["settings"]} for values in (found, wanted))
    different = [
        f"{name} ({old.get(name)!r} there, {new.get(name)!r} wanted)"
        for name in sorted((old.keys() | new.keys()) - {"settings"})
        if old.get(name) != new.get(name)
    ]
    if different:
        raise ValueError(
            "This folder has features made with other arguments; choose another output_dir or "
            f"remove them. Received: output_dir={str(output_dir)!r}, {', '.join(different)}."
        )
    return True


def _open_array(path: files.Path, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    file = files.join(path, f"{name}.npy")
    if not files.is_file(file):
        raise FileNotFoundError(f"A file of the features is missing. Received: {file!r}.")
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ValueError(f"A whole .npy file is expected. Received: {file!r} ({error}).") from error
    if array.shape != shape or array.dtype.name != dtype:
        raise ValueError(
            f"{name}.npy must be what {FEATURES_FILE} says, {dtype} {shape}. "
            f"Received: {array.dtype} {array.shape}."
        )
    return array


def _read_videos(path: files.Path, num_videos: int) -> tuple[tuple[str, ...], list[str]]:
    """Returns name and split of every row."""
    file = files.join(path, VIDEOS_FILE)
    if not files.is_file(file):
        raise FileNotFoundError(f"A file of the features is missing. Received: {file!r}.")
    rows = list(csv.reader(files.read_text(file).splitlines()))
    if rows[:1] != [["video_id", "split"]] or len(rows) != num_videos + 1:
        raise ValueError(
            f"{VIDEOS_FILE} must have the columns video_id and split, and {num_videos} rows. "
            f"Received: {rows[:1]} and {len(rows) - 1} rows."
        )
    if wrong := [row for row in rows[1:] if len(row) != 2 or row[1] not in SPLITS]:
        raise ValueError(
            f"{VIDEOS_FILE}: split must be one of {', '.join(SPLITS)}. Received: {wrong[0]}."
        )
    return tuple(row[0] for row in rows[1:]), [row[1] for row in rows[1:]]
