"""Files on this machine and on object stores: paths are strings, `gs://bucket/a` like `/data/a`.

What has a scheme (`scheme://`) goes through TensorFlow's filesystems; all else is plain Python, so
that a process which reads local files never loads TensorFlow.
"""

import os
import posixpath
import secrets
import shutil
import typing

Path = str | os.PathLike


def is_remote(path: Path) -> bool:
    """Returns whether a path has a scheme, such as gs://."""
    return "://" in os.fspath(path)


def absolute(path: Path) -> str:
    """Returns the path without `.` and `..`, from the root."""
    path = os.fspath(path)
    if not is_remote(path):
        return os.path.abspath(path)
    scheme, rest = path.split("://", 1)
    return f"{scheme}://{posixpath.normpath('/' + rest).lstrip('/')}"


def is_absolute(path: Path) -> bool:
    """Returns whether a path begins at a root."""
    return is_remote(path) or os.path.isabs(path)


def relative(path: Path, folder: Path) -> str | None:
    """Returns a path as seen from a folder; None where it is not inside of it."""
    path, folder = absolute(path), absolute(folder).rstrip("/")
    return path[len(folder) + 1 :] if path.startswith(folder + "/") else None


def join(folder: Path, *parts: Path) -> str:
    """Returns the path of something inside a folder; an absolute part starts anew."""
    path = os.fspath(folder)
    for part in map(os.fspath, parts):
        path = part if is_absolute(part) else f"{path.rstrip('/')}/{part}" if path else part
    return path


def name(path: Path) -> str:
    """Returns the last part of a path."""
    return os.fspath(path).rstrip("/").rsplit("/", 1)[-1]


def parent(path: Path) -> str:
    """Returns the folder of a path."""
    path = os.fspath(path).rstrip("/")
    return os.path.dirname(path) if not is_remote(path) else path.rsplit("/", 1)[0]


def suffix(path: Path) -> str:
    """Returns the ending in lower case, with its dot; empty where there is none."""
    return os.path.splitext(name(path))[1].lower()


def is_file(path: Path) -> bool:
    """Returns whether there is a file."""
    if is_remote(path):
        return _gfile().exists(os.fspath(path)) and not _gfile().isdir(os.fspath(path))
    return os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """Returns whether there is a folder."""
    return _gfile().isdir(os.fspath(path)) if is_remote(path) else os.path.isdir(path)


def exists(path: Path) -> bool:
    """Returns whether there is a file or a folder."""
    return _gfile().exists(os.fspath(path)) if is_remote(path) else os.path.exists(path)


def size(path: Path) -> int:
    """Returns the bytes of a file."""
    return _gfile().stat(os.fspath(path)).length if is_remote(path) else os.path.getsize(path)


def names_in(folder: Path) -> list[str]:
    """Returns the sorted names of what is in a folder; nothing where there is no such folder."""
    if not is_folder(folder):
        return []
    names = _gfile().listdir(os.fspath(folder)) if is_remote(folder) else os.listdir(folder)
    # Some stores mark folders by a slash.
    return sorted(item.rstrip("/") for item in names)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing."""
    if is_remote(folder):
        _gfile().makedirs(os.fspath(folder))
    else:
        os.makedirs(folder, exist_ok=True)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; nothing where it is missing."""
    if not exists(path):
        return
    if is_remote(path):
        (_gfile().rmtree if is_folder(path) else _gfile().remove)(os.fspath(path))
    elif os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def state(path: Path) -> str:
    """Returns what changes when a file, or what is in a folder, is replaced; empty without any."""
    if not exists(path):
        return ""
    if is_remote(path):
        found = _gfile().stat(os.fspath(path))
        return f"{found.length} {found.mtime_nsec}"
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns}"


def move(source: Path, target: Path) -> None:
    """Renames a file; a file of the new name is replaced."""
    if is_remote(source):
        _gfile().rename(os.fspath(source), os.fspath(target), overwrite=True)
    else:
        os.replace(source, target)


def open_to_read(path: Path) -> typing.BinaryIO:
    """Opens a file of bytes to read and to seek in."""
    if is_remote(path):
        return _gfile().GFile(os.fspath(path), "rb")
    return open(path, "rb")


def read_bytes(path: Path) -> bytes:
    """Returns what a file holds."""
    with open_to_read(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """Returns what a file of UTF-8 holds, without a byte order mark; line ends stay as they are.

    Raises:
      UnicodeDecodeError: where the file is not UTF-8.
    """
    return read_bytes(path).decode("utf-8-sig")


def temporary_name(path: Path) -> str:
    """Returns a name beside `path` to write what will be renamed; nobody else gets the same."""
    return f"{os.fspath(path)}.{secrets.token_hex(8)}.tmp"


def write_text(path: Path, text: str) -> None:
    """Writes a file of UTF-8: complete or not at all."""
    temporary = temporary_name(path)
    try:
        if is_remote(path):
            with _gfile().GFile(temporary, "wb") as file:
                file.write(text.encode())
        else:
            with open(temporary, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        move(temporary, path)
    finally:
        remove(temporary)


def _gfile():
    import tensorflow as tf

    return tf.io.gfile
