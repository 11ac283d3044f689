"""The files of a folder of features while they are written, row after row."""

import contextlib
import csv
import dataclasses
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from input_pipelines import files
from input_pipelines.listing import SPLITS

LABELS = "labels"
VIDEOS_FILE = "videos.csv"
PICTURES_FOLDER = "pictures"
_LOCK_FILE = ".lock"
_FLOATS = ("float16", "float32")


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """One video.

    Args:
      video_id: Unique in its folder.
      split: "train", "validation" or "test".
      labels: Class of every segment, int `[T]` in [0, C]; C is background.
      inputs: `{"audio": [T, ...], "visual": [T, ...]}`, float16 or float32; all videos alike.
      picture: A JPEG file of T frames side by side, one a segment; None for none.
    """

    video_id: str
    split: str
    labels: np.ndarray
    inputs: Mapping[str, np.ndarray]
    picture: bytes | None = None


class FeatureWriter:
    """Writes videos into a folder; a context that closes its files.

    Args:
      folder: Empty, on this machine.
      num_classes: Events C, without background.
    """

    def __init__(self, folder: pathlib.Path, num_classes: int):
        self._folder = folder
        self._num_classes = num_classes
        self._arrays: dict[str, _ArrayFile] = {}
        self._videos: dict[str, str] = {}
        self._context = contextlib.ExitStack()

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_) -> None:
        self._context.close()

    def add(self, video: Video) -> None:
        """Adds a row."""
        labels = np.asarray(video.labels)
        rows = {LABELS: labels.astype(np.int32)}
        rows |= {name: np.asarray(own) for name, own in video.inputs.items()}
        self._check(video, labels, rows)
        if not self._arrays:
            for name, row in rows.items():
                file = self._context.enter_context(open(self._folder / f"{name}.npy", "wb"))
                self._arrays[name] = _ArrayFile(file, row.shape, row.dtype)
        for name, row in rows.items():
            self._arrays[name].append(row)
        if video.picture is not None:
            pictures = self._folder / PICTURES_FOLDER
            pictures.mkdir(exist_ok=True)
            (pictures / f"{len(self._videos)}.jpg").write_bytes(video.picture)
        self._videos[video.video_id] = video.split

    def finish(self) -> dict[str, Any]:
        """Ends all files, and returns what was written."""
        if not self._videos:
            raise ValueError("There must be a video to write. Received: none.")
        for array in self._arrays.values():
            array.finish()
        with open(self._folder / VIDEOS_FILE, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("video_id", "split"))
            writer.writerows(self._videos.items())
        return {
            "num_videos": len(self._videos),
            "arrays": {
                name: {"shape": list(array.shape), "dtype": array.dtype.name}
                for name, array in self._arrays.items()
                if name != LABELS
            },
        }

    def _check(self, video: Video, labels: np.ndarray, rows: dict[str, np.ndarray]) -> None:
        place = f"video_id={video.video_id!r}"
        if not video.video_id or video.video_id in self._videos:
            raise ValueError(f"Videos must have names, all different. Received: {place}.")
        if video.split not in SPLITS:
            raise ValueError(
                f"`split` must be one of {', '.join(SPLITS)}. Received: split={video.split!r} of "
                f"{place}."
            )
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            raise ValueError(
                f"`labels` must be int [T]. Received: {labels.dtype} {labels.shape} of {place}."
            )
        if labels.min() < 0 or labels.max() > self._num_classes:
            raise ValueError(
                f"Labels must be in [0, {self._num_classes}], of which the last is background. "
                f"Received: labels={labels.tolist()} of {place}."
            )
        if len(rows) == 1 or len(rows) != 1 + len(video.inputs):
            raise ValueError(
                f"There must be inputs, none of them named {LABELS!r}. "
                f"Received: inputs={list(video.inputs)} of {place}."
            )
        for name in video.inputs:
            row = rows[name]
            if row.dtype.name not in _FLOATS or row.ndim < 2 or len(row) != len(labels):
                raise ValueError(
                    f"Features must be {' or '.join(_FLOATS)} [T, ...] of the {len(labels)} "
                    f"segments that have labels. Received: {name} {row.dtype} {row.shape} of "
                    f"{place}."
                )
            if not np.all(np.isfinite(row)):
                raise ValueError(
                    f"Features must be finite, also as {row.dtype}. Received: {name} of {place}."
                )
        found = {name: (row.shape, row.dtype) for name, row in rows.items()}
        first = {name: (array.shape, array.dtype) for name, array in self._arrays.items()}
        if first and found != first:
            raise ValueError(
                f"All videos must be alike, as the first: {_described(first)}. "
                f"Received: {_described(found)} of {place}."
            )


class _ArrayFile:
    """A `.npy` file whose number of rows is known only at its end."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype):
        self.shape = shape
        self.dtype = dtype.newbyteorder("<")
        self._file = file
        self._num_rows = 0
        self._write_header()
        self._header_bytes = file.tell()

    def append(self, row: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(row, self.dtype).tobytes())
        self._num_rows += 1

    def finish(self) -> None:
        # NumPy leaves room in the header for the first axis to grow.
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._header_bytes:
            raise RuntimeError(
                f"The header must keep its {self._header_bytes} bytes. "
                f"Received: {self._file.tell()} bytes for {self._num_rows} rows."
            )
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self._num_rows, *self.shape),
            },
        )


@contextlib.contextmanager
def partial_folder(output_dir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives an empty folder to write in, which is renamed at the end: complete or not at all.

    Args:
      output_dir: Name it gets; absent or empty.

    Raises:
      RuntimeError: where another run of this machine writes the same folder.
    """
    partial = output_dir.with_name(f".{output_dir.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with open(partial / _LOCK_FILE, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(
                f"Another run is writing this folder. Received: output_dir={str(output_dir)!r}."
            ) from error
        try:
            # Of a run that was killed.
            for name in files.names_in(partial):
                if name != _LOCK_FILE:
                    files.remove(partial / name)
            yield partial
            # With its lock: without one, another run would take the folder and empty it.
            os.rename(partial, output_dir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        (output_dir / _LOCK_FILE).unlink()


def _described(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> str:
    return ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in arrays.items())
