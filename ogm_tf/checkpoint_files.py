"""Folders that appear whole or not at all, and say when they have been damaged."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from absl import logging

_CHECKSUMS = "SHA256SUMS"
_NAME = re.compile(r"epoch-(\d+)-step-(\d+)")
_DAMAGED = "damaged-"


class Position(NamedTuple):
    """Where training stands: whole epochs done, and steps done of the next."""

    epoch: int
    step: int

    def __str__(self):
        return f"epoch {self.epoch}, step {self.step}"


class CheckpointFiles:
    """The checkpoints of one training: `epoch-0003-step-000120/` and so on.

    A checkpoint is written under a temporary name, flushed to the disk and renamed: the rename is
    the one moment at which it comes to be. Its file SHA256SUMS lists every other file, in the form
    that `sha256sum --check` reads.

    Args:
      folder: Of the checkpoints.
      keep: How many stay, >= 1.

    Raises:
      ValueError: where `keep` is below 1.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise ValueError(f"`keep` must be >= 1. Received: keep={keep!r}.")
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def path(self, position: Position) -> pathlib.Path:
        """Returns the folder of a checkpoint."""
        return self.folder / f"epoch-{position.epoch:04d}-step-{position.step:06d}"

    def positions(self) -> list[Position]:
        """Returns where the checkpoints stand, whole or damaged, in order."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(Position(int(m[1]), int(m[2])) for m in matches if m)

    def newest(self) -> Position | None:
        """Returns where the newest whole checkpoint stands; None where there is no checkpoint.

        Raises:
          ValueError: where there are checkpoints and every one of them is damaged.
        """
        positions = self.positions()
        for position in reversed(positions):
            try:
                _verify(self.path(position))
                return position
            except (OSError, ValueError) as error:
                logging.warning("A checkpoint is damaged, and is passed over: %s", error)
        if positions:
            raise ValueError(
                "A checkpoint must be whole for the training to go on; move the folder away to "
                f"begin anew. Received: {self.folder}, whose checkpoints are all damaged."
            )
        return None

    def sweep(self, newest: Position | None) -> None:
        """Removes what killed writers left, or did not remove, and puts damaged checkpoints aside.

        Args:
          newest: Whole checkpoint; those after it are renamed to `damaged-...`, or they would be
            taken for newer than those to come.
        """
        if not self.folder.is_dir():
            return
        for path in self.folder.glob(".epoch-*"):
            shutil.rmtree(path)
        for position in self.positions():
            if newest is None or position > newest:
                aside = self.folder / f"{_DAMAGED}{self.path(position).name}"
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(self.path(position), aside)
        self._remove_old()

    @contextlib.contextmanager
    def writing(self, position: Position) -> Iterator[pathlib.Path]:
        """Gives a temporary folder for the files of a checkpoint, and makes it one at the end."""
        path = self.path(position)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            yield partial
            _seal(partial)
            if path.exists():
                self._remove(path)
            os.replace(partial, path)
            flush(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._remove_old()

    def _remove_old(self) -> None:
        for old in self.positions()[: -self.keep]:
            self._remove(self.path(old))

    def _remove(self, path: pathlib.Path) -> None:
        # A folder of which a part is removed must not have the name of a checkpoint.
        removed = path.with_name(f".{path.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        os.replace(path, removed)
        shutil.rmtree(removed)


def reason(error: Exception) -> str:
    """Returns an error's sentence, without what TensorFlow puts around it or a full stop."""
    text = getattr(error, "message", str(error))
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", text).strip()
    return text.rstrip(".") or type(error).__name__


def _seal(folder: pathlib.Path) -> None:
    """Writes the checksums of a folder's files and flushes everything to the disk."""
    paths = sorted(folder.iterdir())
    sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in paths)
    # The last line vouches for the lines before it.
    sums += f"# {hashlib.sha256(sums.encode()).hexdigest()}\n"
    (folder / _CHECKSUMS).write_text(sums)
    for path in (*paths, folder / _CHECKSUMS, folder):
        flush(path)


def _verify(folder: pathlib.Path) -> None:
    """Raises ValueError or OSError where a folder is not what `_seal` left."""
    lines = (folder / _CHECKSUMS).read_bytes().decode(errors="replace").splitlines(keepends=True)
    expected = hashlib.sha256("".join(lines[:-1]).encode()).hexdigest()
    if not lines or lines[-1] != f"# {expected}\n":
        raise ValueError(f"{folder / _CHECKSUMS} must end with its own checksum.")
    for line in lines[:-1]:
        checksum, name = line.rstrip("\n").split("  ", 1)
        if _sha256(folder / name) != checksum:
            raise ValueError(f"{folder / name} must have the checksum {checksum}.")


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: pathlib.Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
