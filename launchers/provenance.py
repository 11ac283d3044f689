"""How something was made: the command that makes it again, the code, and the machine."""

import datetime
import os
import pathlib
import shlex
import subprocess
from typing import Any

import tensorflow as tf

from launchers.settings import LauncherSettings, as_flags
from ogm_tf.version import __version__

_SOURCES = pathlib.Path(__file__).resolve().parents[1]
# What a run's numbers come from. Results and notes beside it do not make the code another.
_PACKAGES = ("ogm_tf", "input_pipelines", "launchers")
_KNOWN_FILE = "ogm_tf/version.py"
_GIT_TIMEOUT_S = 20


def command(launcher: str, settings: LauncherSettings) -> str:
    """Returns the line for a shell that runs a launcher with these settings.

    Args:
      launcher: Its name, such as "train".
      settings: Of it.
    """
    return shlex.join(["python", "-m", f"launchers.{launcher}", *as_flags(settings)])


def describe(launcher: str, settings: LauncherSettings) -> dict[str, Any]:
    """Returns how something is being made now, of values that JSON holds.

    Args:
      launcher: Name of the launcher.
      settings: Of it.

    Returns:
      `command`; `folder` that relative paths in it start from; `time`, UTC, ISO 8601; versions
      `ogm_tf`, `tensorflow` and `commit`, a hash or None, with `is_modified`: see `commit`; number
      of processor `cores` and `gpus`.
    """
    commit_hash, is_modified = commit(_SOURCES)
    return {
        "command": command(launcher, settings),
        "folder": os.getcwd(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "ogm_tf": __version__,
        "commit": commit_hash,
        "is_modified": is_modified,
        "tensorflow": tf.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "gpus": len(tf.config.list_physical_devices("GPU")),
    }


def commit(sources: pathlib.Path) -> tuple[str | None, bool]:
    """Returns the commit of a source tree, and whether its packages differ from it.

    Args:
      sources: Folder of the packages.

    Returns:
      The hash, and whether something was changed or added since; (None, False) where git does not
      know these files: they were installed, or there is no git.
    """
    # Another project's checkout, with these packages installed somewhere in it, is not theirs.
    if _git(sources, "ls-files", "--error-unmatch", _KNOWN_FILE) is None:
        return None, False
    head = _git(sources, "rev-parse", "HEAD")
    changes = _git(sources, "status", "--porcelain", "--", *_PACKAGES)
    return head, bool(head and changes)


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """Returns what git says, or None where it fails."""
    try:
        done = subprocess.run(
            # A run must not wait for, or hold, the lock of the user's own git.
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
