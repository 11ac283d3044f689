"""Media files as evaluation sees clips of records, without records in between."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from input_pipelines import files, records, workers
from input_pipelines.clips import Loader
from input_pipelines.datasets.layouts import VIDEO_SUFFIXES
from input_pipelines.index import Index
from input_pipelines.listing import Clip


class MediaBatch(NamedTuple):
    """Some files, in the order they were given.

    Args:
      paths: Those that were read.
      inputs: By modality float32 `[B, ...]`, a row for each of `paths`; empty where there are none.
      problems: What is wrong with those that are damaged, but were read all the same, by path.
      unreadable: Why a file was not read, by path.
    """

    paths: list[str]
    inputs: dict[str, tf.Tensor]
    problems: dict[str, str]
    unreadable: dict[str, str]


def find_videos(inputs: Sequence[files.Path]) -> list[str]:
    """Returns the paths of files, and of all videos in folders and the folders below.

    Args:
      inputs: Files, of any kind, and folders. Of folders, hidden files are left out, and files
        that do not end like videos.

    Returns:
      As the inputs are written and in their order; in a folder by name; every file once.

    Raises:
      FileNotFoundError: where an input is missing.
      ValueError: where there is no video in a folder.
    """
    missing = [os.fspath(path) for path in inputs if not files.exists(path)]
    if missing:
        raise FileNotFoundError(
            f"Every input must be a file or a folder. Received: {', '.join(map(repr, missing))}."
        )
    found: dict[str, str] = {}
    for path in map(os.fspath, inputs):
        inside = _walk(path, set()) if files.is_folder(path) else iter([path])
        first = next(inside, None)
        if first is None:
            raise ValueError(
                f"A folder must have videos in it or below ({' '.join(VIDEO_SUFFIXES)}). "
                f"Received: {path!r}."
            )
        for media in itertools.chain([first], inside):
            found.setdefault(files.absolute(media), media)
    return list(found.values())


def read_batches(
    paths: Sequence[str],
    index: Index,
    batch_size: int,
    *,
    num_workers: int | None = None,
    removed: str | None = None,
) -> Iterator[MediaBatch]:
    """Decodes files as `preparation` does and gives them as `dataset.eval_dataset` would.

    Every file is one clip, from its beginning to its end or the records' `max_duration_s`. What is
    held at a time does not grow with their number.

    Args:
      paths: What `find_videos` gives.
      index: Of the records whose settings, limits and statistics count.
      batch_size: Files of a batch, >= 1; those that cannot be read leave their batch smaller.
      num_workers: Processes that decode; None: as many as there are processors; 0: none but this
        one, which a file may then take along.
      removed: Modality whose input is all zeros; None for none.

    Yields:
      Batches, in which every file is once, in their order.

    Raises:
      ValueError: where the records' normalisation has not been measured.
    """
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0))
    load = _loader(index, removed)
    clips = (_clip(number, path) for number, path in enumerate(paths))
    outcomes = workers.decode_in_order(
        clips, index.settings, index.limits, min(num_workers, len(paths))
    )
    with contextlib.closing(outcomes):
        for start in range(0, len(paths), batch_size):
            read, encoded, problems, unreadable = [], [], {}, {}
            for number in range(start, min(start + batch_size, len(paths))):
                path, outcome = paths[number], next(outcomes)
                if outcome.decoded is None:
                    unreadable[path] = outcome.reason.removeprefix(f"{files.name(path)}: ")
                    continue
                read.append(path)
                clip = _clip(number, path)
                encoded.append(records.encode_example(clip, 0, outcome.decoded, index.settings))
                if outcome.decoded.problems:
                    problems[path] = "; ".join(outcome.decoded.problems)
            yield MediaBatch(read, load(encoded) if read else {}, problems, unreadable)


def _walk(folder: str, above: set[str]) -> Iterator[str]:
    """Yields the paths of videos by name; links that lead to a folder above are left out."""
    own = folder if files.is_remote(folder) else os.path.realpath(folder)
    if own in above:
        return
    for name in files.names_in(folder):
        path = files.join(folder, name)
        if name.startswith("."):
            continue
        # Without asking what they are: on an object store each question is a request.
        if files.suffix(name) in VIDEO_SUFFIXES:
            yield path
        elif files.is_folder(path):
            yield from _walk(path, above | {own})


def _clip(number: int, path: str) -> Clip:
    # Neither its name nor its label is looked at; paths may not be UTF-8, as names have to be.
    return Clip(str(number), "test", "unknown", files.absolute(path))


def _loader(index: Index, removed: str | None) -> Callable[[list[bytes]], dict[str, tf.Tensor]]:
    """Returns what turns the records of a batch into the model's inputs."""
    load = Loader(index.input_settings, seed=0, training=False, removed=removed)
    specs = {name: tf.TensorSpec(shape) for name, shape in index.settings.shapes.items()}
    # Of evaluation without noise, the number decides nothing.
    number = tf.constant(0, tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def load_all(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.map_fn(lambda one: load(number, one)[0], encoded, fn_output_signature=specs)

    return lambda encoded: load_all(tf.constant(encoded))
