"""The folder that `prepare` writes to: one run at a time, of one set of arguments."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from absl import logging

from input_pipelines import files
from input_pipelines.listing import SPLITS
from input_pipelines.shards import PROGRESS_FOLDER

ARGUMENTS_FILE = "arguments.json"
_LOCK_FILE = ".prepare.lock"
_SHARD = rf"({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.tfrecord"
_UNFINISHED = re.compile(rf"({_SHARD}|index\.json)\.\w+\.tmp")


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Makes the folder where it is missing and keeps other runs of this machine out of it."""
    if files.is_remote(folder):
        files.make_folder(folder)
        yield
        return
    made = [path for path in _with_parents(folder) if not os.path.exists(path)]
    os.makedirs(folder, exist_ok=True)
    lock_path = files.join(folder, _LOCK_FILE)
    try:
        with open(lock_path, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RuntimeError(
                    f"Another run is writing to this folder. Received: output_dir={folder!r}."
                ) from error
            try:
                yield
            finally:
                files.remove(lock_path)
    finally:
        # Folders this run made and left empty go again.
        for path in made:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _with_parents(folder: str) -> Iterator[str]:
    while True:
        yield folder
        if (above := os.path.dirname(folder)) == folder:
            return
        folder = above


def start(output_dir: str, wanted: dict[str, Any]) -> None:
    """Begins a run, or goes on with one of the same arguments."""
    progress_dir = files.join(output_dir, PROGRESS_FOLDER)
    arguments = files.join(progress_dir, ARGUMENTS_FILE)
    was_begun = files.is_file(arguments)
    # Without a finished shard there is nothing to go on with.
    goes_on = any(name.endswith(".tfrecord.json") for name in files.names_in(progress_dir))
    if goes_on:
        require_same(json.loads(files.read_text(arguments)), wanted, output_dir)
    names = files.names_in(output_dir)
    shards = [name for name in names if re.fullmatch(_SHARD, name)]
    if shards and not was_begun:
        raise ValueError(
            "This folder has shards of records without an index and of no unfinished run; choose "
            f"another output_dir or remove them. Received: output_dir={output_dir!r} with "
            f"{', '.join(shards[:3])}."
        )
    unfinished = [name for name in names if _UNFINISHED.fullmatch(name)]
    for name in unfinished if goes_on else [*unfinished, *shards]:
        logging.info("Removing %s of an unfinished run.", name)
        files.remove(files.join(output_dir, name))
    if not goes_on:
        files.make_folder(progress_dir)
        files.write_text(arguments, json.dumps(_plain(wanted), indent=1))


def require_same(found: dict[str, Any], wanted: dict[str, Any], output_dir: str) -> None:
    """Refuses a folder whose records were made, or begun, with other arguments."""
    old, new = _flat(_plain(found)), _flat(_plain(wanted))
    different = [
        f"{name} ({old.get(name)!r} there, {new.get(name)!r} wanted)"
        if name != "clips_sha256"
        else "clips_sha256 (the list of clips, or of missing media, has changed)"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if different:
        raise ValueError(
            "This folder has records made with other arguments; choose another output_dir or "
            f"remove them. Received: output_dir={output_dir!r}, {', '.join(different)}."
        )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Returns what JSON would give back."""
    return json.loads(json.dumps(values, default=dataclasses.asdict))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
