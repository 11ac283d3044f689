r"""Names what media files show: label and probabilities, of a run's network and each modality.

  python -m launchers.predict --run_dir=runs/mine --inputs=video.mp4,folder \
      --output_file=answers.jsonl

Folders are searched for videos, however deep; files may also follow the flags, as in
`--run_dir=runs/mine -- *.mp4`. Of every file the network gets what evaluation gives it of a clip in
its records: the same settings and limits, the middle window; no noise is added. Prints a table; to
--output_file goes a line of JSON a file:

  {"path": ..., "label": ..., "probabilities": {class: ...},
   "modalities": {"audio": {"label": ..., "probabilities": {class: ...}}, ...}}

While it is written, by one program at a time, it is named <output_file>.partial, and that keeps the
answers so far where the program is stopped; the same command starts over. Files that cannot be read
are named at the end, with the reason, and the exit code is 1.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import media_batches
from input_pipelines.index import Index, read_index
from input_pipelines.progress import progress_bar
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, not_negative, positive, setting
from ogm_tf import OGMModel

# Longer paths move the answers beside them to the right.
_MAX_PATH_WIDTH = 60
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class PredictSettings(LauncherSettings):
    """Settings of `predict`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run of `train`.")
    inputs: tuple[str, ...] = setting((), "Media files, and folders of them, with commas.")
    output_file: str | None = setting(None, "File for the answers as lines of JSON; else none.")
    batch_size: int = positive(32, "Files at a time.")
    num_workers: int | None = not_negative(
        None, "Processes that decode; by default one a core; 0: this one alone."
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.inputs:
            raise ValueError("--inputs must name at least one file or folder. Received: none.")


def run(settings: PredictSettings) -> None:
    """Answers for every file, in the table and in `output_file`.

    Raises:
      RuntimeError: at the end, where files could not be read; it names them.
    """
    folder = RunFolder(pathlib.Path(settings.run_dir))
    index = _read_index(folder)
    paths = media_batches.find_videos(settings.inputs)
    unreadable = {}
    with _json_lines(settings.output_file) as write:
        answer = _answerer(folder.load_best(), index.class_names)
        table = _Table(paths, index)
        batches = media_batches.read_batches(
            paths,
            index,
            settings.batch_size,
            num_workers=settings.num_workers,
            removed=folder.read_config()["remove_modality"],
        )
        with progress_bar("predict", len(paths), unit="file") as bar, contextlib.closing(batches):
            # Not through a bar that is drawn once in a while: it would be drawn at every line.
            show = bar.write if sys.stderr.isatty() else print
            show(table.header)
            for batch in batches:
                for path, problem in batch.problems.items():
                    logging.warning("Damaged, but read: %s: %s", path, problem)
                unreadable |= batch.unreadable
                answers = answer(batch.paths, batch.inputs) if batch.paths else []
                write(answers)
                for row in map(table.row, answers):
                    show(row)
                bar.update(len(batch.paths) + len(batch.unreadable))
    if unreadable:
        lines = [f"\n  {path}: {reason}" for path, reason in unreadable.items()]
        raise RuntimeError(
            f"All files must be readable. Received: {len(unreadable)} of {len(paths)} that are "
            f"not:{''.join(lines)}"
        )


def _read_index(folder: RunFolder) -> Index:
    """Returns the index of a run's records.

    Raises:
      ValueError: where it is not a run of which files can be asked.
    """
    if folder.launcher != "train":
        raise ValueError(
            "A run must be of `train` to name the class of a clip. "
            f"Received: {folder.path}, a run of {folder.launcher}."
        )
    index = read_index(folder.records_dir)
    if set(index.settings.modalities) != {"audio", "visual"}:
        raise ValueError(
            "A media file has sound and pictures; the run must have been trained on both and "
            f"nothing else. Received: modalities={list(index.settings.modalities)}."
        )
    return index


def _answerer(
    model: OGMModel, class_names: Sequence[str]
) -> Callable[[Sequence[str], Mapping[str, tf.Tensor]], list[dict[str, Any]]]:
    """Returns what gives a batch's answers, as they are written."""
    forward = tf.function(
        lambda inputs: model(inputs, training=False, unimodal=True), reduce_retracing=True
    )

    def named(probabilities: np.ndarray) -> dict[str, Any]:
        values = {
            name: round(float(value), _DIGITS)
            for name, value in zip(class_names, probabilities, strict=True)
        }
        return {"label": class_names[int(probabilities.argmax())], "probabilities": values}

    def answer(paths, inputs):
        fused, parts = forward(inputs)
        if fused.shape[-1] != len(class_names):
            raise ValueError(
                "The records of the run must be those it was trained on: it knows "
                f"{fused.shape[-1]} classes. Received: {len(class_names)} in the records."
            )
        found = {
            name: tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()
            for name, logits in {"": fused, **parts}.items()
        }
        return [
            {
                "path": path,
                **named(found[""][row]),
                "modalities": {name: named(found[name][row]) for name in parts},
            }
            for row, path in enumerate(paths)
        ]

    return answer


class _Table:
    """Rows of answers, one at a time, in columns of one width."""

    def __init__(self, paths: Sequence[str], index: Index):
        self._modalities = index.settings.modalities
        self._path_width = min(max(map(len, paths)), _MAX_PATH_WIDTH)
        self._label_width = max(map(len, index.class_names))
        titles = [title.ljust(self._label_width + 6) for title in ("fused", *self._modalities)]
        self.header = "  ".join(["file".ljust(self._path_width), *titles]).rstrip()

    def row(self, answer: Mapping[str, Any]) -> str:
        """Returns the line of one file."""
        cells = [answer["path"].ljust(self._path_width)]
        for said in (answer, *(answer["modalities"][name] for name in self._modalities)):
            probability = said["probabilities"][said["label"]]
            cells.append(f"{said['label'].ljust(self._label_width)} {probability:.3f}")
        # What in a file's name is no UTF-8 cannot be printed as it is.
        return "  ".join(cells).encode(errors="backslashreplace").decode()


@contextlib.contextmanager
def _json_lines(output_file: str | None) -> Iterator[Callable[[Iterable[dict[str, Any]]], None]]:
    """Gives what writes answers; the file gets its name when all of them are there.

    Raises:
      OSError: where it cannot be written.
      RuntimeError: where another program is writing it.
    """
    if output_file is None:
        yield lambda answers: None
        return
    path = pathlib.Path(output_file)
    if path.is_dir():
        raise IsADirectoryError(f"--output_file must be a file. Received: {output_file}, a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    num_lines = 0
    with open(partial, "a") as file:
        if not _is_held(file, partial):
            raise RuntimeError(
                "--output_file must be written by one program at a time. "
                f"Received: {output_file}, in use."
            )
        file.truncate(0)

        def write(answers):
            nonlocal num_lines
            for answer in answers:
                file.write(json.dumps(answer) + "\n")
                num_lines += 1
            file.flush()

        try:
            yield write
            os.fsync(file.fileno())
        except BaseException:
            if num_lines:
                logging.info("The first %d answers are in %s.", num_lines, partial)
            else:
                partial.unlink()
            raise
        os.replace(partial, path)
    logging.info("Wrote %d answers to %s.", num_lines, path)


def _is_held(file: TextIO, path: pathlib.Path) -> bool:
    """Locks an opened file as long as it is open, and returns whether that worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, who held it may have renamed it.
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


if __name__ == "__main__":
    launch(PredictSettings, run, rest="inputs")
