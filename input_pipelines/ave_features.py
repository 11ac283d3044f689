"""AVE's published features: VGGish of the sound and VGG-19 maps of the frames, one a second.

Where to get them: https://github.com/YapengTian/AVE-ECCV18 links the archives of features, and its
folder `data` has the lists. The folder it expects:

  <data_dir>/audio_feature.h5     [4143, 10, 128]
  <data_dir>/visual_feature.h5    [4143, 10, 7, 7, 512], 7.7 GB, read row by row
  <data_dir>/train_order.h5, val_order.h5, test_order.h5
  <data_dir>/Annotations.txt

and for weak supervision with 178 more videos in which nothing happens:

  <data_dir>/audio_feature_noisy.h5, visual_feature_noisy.h5

Features are under the key `avadataset`, orders, which are row numbers, under `order`. Row n belongs
to line n of Annotations.txt, `Category&VideoID&Quality&StartTime&EndTime`, with a header or without
one: its event lasts from the start to just before the end, in whole seconds, and the rest is
background. Classes are the categories in the order of their first lines.

`labels_closs.h5` (1 where there is an event), `mil_labels.h5` (the video's class) and `labels.h5`
(every second's class, the largest of its numbers) may be there too, and must then say the same as
the lines. `right_labels.h5`, with which PSP was published, is `labels.h5` after corrections that
nothing describes: it is not used, and a warning says in how many rows it differs.
"""

import collections
from typing import NamedTuple

import h5py
import numpy as np
from absl import logging

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.feature_sequences import FeatureSequences, Joined

ANNOTATIONS = "Annotations.txt"
FEATURES = {"audio": "audio_feature.h5", "visual": "visual_feature.h5"}
BACKGROUND_FEATURES = {"audio": "audio_feature_noisy.h5", "visual": "visual_feature_noisy.h5"}
ORDERS = {"train": "train_order.h5", "validation": "val_order.h5", "test": "test_order.h5"}
CORRECTED_LABELS = "right_labels.h5"
FEATURE_KEY, ORDER_KEY = "avadataset", "order"
_RANKS = {"audio": 3, "visual": 5}


class Event(NamedTuple):
    """What a line of Annotations.txt says: `category` from second `start` to just before `end`."""

    place: str
    category: str
    video_id: str
    start: int
    end: int


def open_features(data_dir: files.Path, *, background_videos: bool = False) -> FeatureSequences:
    """Opens the files; features stay on the disk until they are read.

    Args:
      data_dir: Folder described above, on this machine.
      background_videos: Whether the videos without an event are added, at the end of the train
        split.

    Returns:
      The videos, in the order of Annotations.txt, with the splits train, validation and test; of
      videos without an event the name is background-1 and so on. A video's name is that of its id,
      with -2, -3 where the id is of several lines.

    Raises:
      FileNotFoundError: where files are missing; all of them are named.
      ValueError: where the folder is not on this machine, a file is not what is described above, or
        two files do not fit each other.
    """
    if files.is_remote(data_dir):
        raise ValueError(
            f"Feature files must be on this machine. Received: data_dir={str(data_dir)!r}."
        )
    root = files.absolute(data_dir)
    _require_files(root, background_videos)
    arrays = {name: _feature_array(root, file, name) for name, file in FEATURES.items()}
    events = read_events(root)
    for name, array in arrays.items():
        if array.shape[0] != len(events):
            raise ValueError(
                f"Features must have a row for every line of {ANNOTATIONS}. Received: "
                f"{FEATURES[name]} of shape {array.shape}, {len(events)} lines."
            )
    _require_one_length(arrays, FEATURES)
    num_segments = arrays["audio"].shape[1]
    class_names = tuple(dict.fromkeys(event.category for event in events))
    labels = segment_labels(events, class_names, num_segments)
    _compare_labels(root, labels, events, class_names)
    splits = {split: _read_order(root, file, len(events)) for split, file in ORDERS.items()}
    _check_orders(splits, len(events))
    video_ids = _video_ids(events)
    if background_videos:
        arrays = _with_background(root, arrays)
        num_added = arrays["audio"].shape[0] - len(events)
        added = np.arange(len(events), len(events) + num_added)
        splits["train"] = np.concatenate([splits["train"], added])
        silent = np.full((num_added, num_segments), len(class_names), np.int32)
        labels = np.concatenate([labels, silent])
        video_ids += tuple(f"background-{number}" for number in range(1, num_added + 1))
    return FeatureSequences(arrays, labels, splits, class_names, video_ids)


def read_events(data_dir: files.Path) -> tuple[Event, ...]:
    """Returns the lines of Annotations.txt but a header.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: where a line is none of the form above, or the file has no line.
    """
    events = []
    for number, line in layouts.read_lines(files.absolute(data_dir), ANNOTATIONS):
        fields = [field.strip() for field in line.split("&")]
        if fields[:2] == ["Category", "VideoID"]:
            continue
        place = f"{ANNOTATIONS}, line {number}"
        times = fields[3:]
        if len(fields) != 5 or not all(fields) or not all(time.isdecimal() for time in times):
            raise ValueError(
                "A line must be `Category&VideoID&Quality&StartTime&EndTime`, in whole seconds. "
                f"Received: {place}: {line!r}."
            )
        events.append(Event(place, fields[0], fields[1], *map(int, times)))
    if not events:
        raise ValueError(f"There must be an event. Received: {ANNOTATIONS} without a line.")
    return tuple(events)


def segment_labels(
    events: tuple[Event, ...], class_names: tuple[str, ...], num_segments: int
) -> np.ndarray:
    """Returns the class of every second, int32 `[N, T]`; background is the number of classes.

    Raises:
      ValueError: where an event ends before it starts, or after the last second.
    """
    labels = np.full((len(events), num_segments), len(class_names), np.int32)
    indices = {name: index for index, name in enumerate(class_names)}
    for row, event in zip(labels, events, strict=True):
        if not event.start <= event.end <= num_segments:
            raise ValueError(
                f"An event must have 0 <= start <= end <= {num_segments}, the seconds there are "
                f"features of. Received: {event.place}: start={event.start}, end={event.end}."
            )
        row[event.start : event.end] = indices[event.category]
    return labels


def _require_files(root: str, background_videos: bool) -> None:
    wanted = [*FEATURES.values(), *ORDERS.values(), ANNOTATIONS]
    if background_videos:
        wanted += BACKGROUND_FEATURES.values()
    missing = [name for name in wanted if not files.is_file(files.join(root, name))]
    if missing:
        raise FileNotFoundError(
            f"AVE's features need {', '.join(wanted)} in one folder. "
            f"Received: data_dir={root!r} without {', '.join(missing)}."
        )


def _open(root: str, name: str, key: str) -> h5py.Dataset:
    try:
        file = h5py.File(files.join(root, name), "r")
    except OSError as error:
        raise ValueError(f"A whole HDF5 file is expected. Received: {name} ({error}).") from error
    if not isinstance(file.get(key), h5py.Dataset):
        raise ValueError(
            f"An HDF5 file must have its data under {key!r}. Received: {name} with {sorted(file)}."
        )
    return file[key]


def _feature_array(root: str, name: str, modality: str) -> h5py.Dataset:
    array = _open(root, name, FEATURE_KEY)
    if array.ndim != _RANKS[modality] or 0 in array.shape or array.dtype.kind != "f":
        form = "[videos, seconds, D]" if modality == "audio" else "[videos, seconds, h, w, D]"
        raise ValueError(
            f"Features must be floating-point {form}. "
            f"Received: {name} of shape {array.shape}, {array.dtype}."
        )
    if array.chunks and array.chunks[0] > 1:
        logging.warning(
            "%s is stored in chunks of %d videos: to read one, all of them are read. "
            "`h5repack -l CONTI` stores it one video after the other.",
            name,
            array.chunks[0],
        )
    return array


def _require_one_length(arrays: dict[str, h5py.Dataset], names: dict[str, str]) -> None:
    if len({array.shape[:2] for array in arrays.values()}) != 1:
        shapes = {names[modality]: array.shape for modality, array in arrays.items()}
        raise ValueError(
            "Both modalities must have as many videos and as many seconds. "
            f"Received: shapes {shapes}."
        )


def _read_order(root: str, name: str, num_videos: int) -> np.ndarray:
    order = _open(root, name, ORDER_KEY)
    if order.ndim != 1 or order.dtype.kind not in "iu":
        raise ValueError(
            "An order must be row numbers, integers [videos]. "
            f"Received: {name} of shape {order.shape}, {order.dtype}."
        )
    rows = order[:].astype(np.int64)
    wrong = rows[(rows < 0) | (rows >= num_videos)]
    if wrong.size:
        raise ValueError(
            f"An order's rows must be in [0, {num_videos}), those of {ANNOTATIONS}. "
            f"Received: {name} with {wrong.size} others, such as {wrong[0]}."
        )
    return rows


def _check_orders(splits: dict[str, np.ndarray], num_videos: int) -> None:
    counts = np.bincount(np.concatenate(list(splits.values())), minlength=num_videos)
    if counts.max() > 1:
        row = int(np.argmax(counts))
        found = [ORDERS[split] for split, rows in splits.items() for _ in np.where(rows == row)[0]]
        raise ValueError(
            "A row must be in one order file, once. "
            f"Received: {np.sum(counts > 1)} rows more often, such as {row} in {', '.join(found)}."
        )
    if not counts.all():
        logging.warning(
            "%d of %d videos are in none of %s, and are not used.",
            np.sum(counts == 0),
            num_videos,
            ", ".join(ORDERS.values()),
        )


def _compare_labels(
    root: str, labels: np.ndarray, events: tuple[Event, ...], class_names: tuple[str, ...]
) -> None:
    """Checks that what else says where or which the events are says the same as the lines."""
    classes = np.array([class_names.index(event.category) for event in events])
    one_hot = np.eye(len(class_names) + 1, dtype=np.float32)
    expected = {
        "labels_closs.h5": (labels != len(class_names)).astype(np.float32),
        "mil_labels.h5": one_hot[classes],
        "labels.h5": one_hot[labels],
        CORRECTED_LABELS: one_hot[labels],
    }
    for name, values in expected.items():
        if not files.is_file(files.join(root, name)):
            continue
        found = _open(root, name, FEATURE_KEY)
        if found.shape != values.shape:
            raise ValueError(
                f"{name} must be of shape {values.shape}, as {ANNOTATIONS} has it. "
                f"Received: shape {found.shape}."
            )
        if values.ndim == 3:
            differs = found[:].argmax(axis=-1) != labels
        else:
            differs = found[:] != values
        wrong = np.flatnonzero(np.any(differs, axis=1))
        if wrong.size and name == CORRECTED_LABELS:
            logging.warning(
                "%s differs from %s, by which the events are, in %d of %d rows; it is not used.",
                name,
                ANNOTATIONS,
                wrong.size,
                len(values),
            )
        elif wrong.size:
            raise ValueError(
                f"{name} and {ANNOTATIONS} must agree. Received: {wrong.size} rows that differ, "
                f"the first of them row {wrong[0]}, {events[wrong[0]].place}."
            )


def _with_background(root: str, arrays: dict[str, h5py.Dataset]) -> dict[str, Joined]:
    added = {name: _feature_array(root, file, name) for name, file in BACKGROUND_FEATURES.items()}
    _require_one_length(added, BACKGROUND_FEATURES)
    for name, array in added.items():
        if array.shape[1:] != arrays[name].shape[1:]:
            raise ValueError(
                f"{BACKGROUND_FEATURES[name]} must have videos of the shape of {FEATURES[name]}'s, "
                f"{arrays[name].shape[1:]}. Received: shape {array.shape}."
            )
    return {name: Joined([arrays[name], added[name]]) for name in arrays}


def _video_ids(events: tuple[Event, ...]) -> tuple[str, ...]:
    """Names the clips as `datasets.ave` does: ids repeat."""
    times_seen = collections.Counter()
    names = []
    for event in events:
        times_seen[event.video_id] += 1
        number = times_seen[event.video_id]
        names.append(event.video_id if number == 1 else f"{event.video_id}-{number}")
    return tuple(names)
