"""What `launchers.analyze` found of some runs, as a part of their report."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from launchers.runs import RunFolder
from ogm_tf.analysis import imbalance_figures
from ogm_tf.analysis.sections import Section

FILE = "imbalance.json"
_NEEDED = {
    "all", "batches", "classes", "clips", "fusion", "modalities", "num_clips",
    "relative_difference", "split", "stronger", "weaker", "what_if",
}  # fmt: skip


def sections(folders: Sequence[RunFolder]) -> list[Section]:
    """Returns the part of the page about the runs that `analyze` looked at, if there are any.

    Args:
      folders: Of the runs.

    Raises:
      ValueError: where a run's results are not as `analyze` writes them.
    """
    found = {folder.path.name: _read(folder.path / FILE) for folder in folders}
    found = {name: own for name, own in found.items() if own}
    return [imbalance_figures.section(found)] if found else []


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        if _NEEDED <= found.keys():
            return found
        raise KeyError(*sorted(_NEEDED - found.keys()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} must be results that `analyze` wrote. Received: {error!r}."
        ) from error
