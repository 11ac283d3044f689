"""How the runs of a report, and the report itself, were made, as the last part of its page."""

import itertools
import json
import shlex
import types
from collections.abc import Mapping, Sequence
from typing import Any

from launchers import provenance
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings
from ogm_tf.analysis.sections import Section


def section(
    folders: Sequence[RunFolder],
    settings: LauncherSettings,
    found: Mapping[str, str] = types.MappingProxyType({}),
    references: Sequence[RunFolder] = (),
) -> Section:
    """Returns the part of the page.

    Args:
      folders: Of the runs.
      settings: Of `report`.
      found: Names of files of what is found of a run's best model, in its folder, and how the page
        calls it.
      references: Runs of one modality alone that the page tells of.
    """
    made = []
    for folder in folders:
        made.append(_made(folder.path.name, folder.read_starts()))
        made += [
            _made(f"{folder.path.name}, {title}", [start])
            for file, title in found.items()
            if (start := _read(folder, file))
        ]
    for own in references:
        made.append(_made(f"{own.path.parent.name}/{own.path.name}", own.read_starts()))
    made.append(_made("This page", [provenance.describe("report", settings)]))
    note = (
        "Each command makes the same again, given the same data and code. Relative paths in it "
        "start from the folder named below it. Not listed are the making of the data that runs "
        "learned from, evaluations after training, and other probes."
    )
    return Section(
        "How this was made", "made", "provenance.html", {"note": note, "made": made}, is_last=True
    )


def _read(folder: RunFolder, file: str) -> dict[str, Any] | None:
    """Returns how what was found of a run's best model was made, where it is known."""
    try:
        found = json.loads((folder.path / file).read_text())
        is_current = found["best_epoch"] == folder.read_state().get("best_epoch")
        return found.get("made") if is_current else None
    # The part of the page that shows it says what is wrong with it.
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _made(name: str, starts: Sequence[Mapping[str, Any]]) -> tuple[str, list[str], list[str]]:
    """Returns what the template shows: name, words of the command, lines."""
    if not starts:
        return name, [], ["Not recorded: the run's folder says nothing of it."]
    command = [shlex.quote(word) for word in shlex.split(starts[-1]["command"])]
    lines = [f"In {starts[-1]['folder']}."]
    # A run that goes on may do so with another version, or on another machine.
    for means, group in itertools.groupby(starts, _means):
        first, *more = group
        line = f"{_moment(first)}: {means}."
        if more:
            times = "once" if len(more) == 1 else f"{len(more)} times, at last"
            line += f" Went on {times} {_moment(more[-1])}."
        lines.append(line)
    return name, command, lines


def _moment(start: Mapping[str, Any]) -> str:
    """Returns when, and from where in training, where that is not its beginning."""
    time = start["time"].removesuffix("+00:00").replace("T", " ")
    place = start.get("epoch", 0), start.get("step", 0)
    return f"{time} UTC" + (", from epoch {}, step {}".format(*place) if any(place) else "")


def _means(start: Mapping[str, Any]) -> str:
    """Returns with what code and on what something was made."""
    code = f"ogm_tf {start['ogm_tf']}"
    if start["commit"] is not None:
        code += f" of commit {start['commit'][:12]}{', modified' if start['is_modified'] else ''}"
    counts = [
        f"{start[name]} {title}{'' if start[name] == 1 else 's'}"
        for name, title in (("devices", "device"), ("gpus", "GPU"), ("cores", "core"))
        if name in start
    ]
    return f"{code}; TensorFlow {start['tensorflow']}; {', '.join(counts)}"
