"""What `launchers.analyze` found of some runs, as a part of their report."""

import json
from collections.abc import Sequence
from typing import Any

from absl import logging

from launchers.runs import RunFolder
from ogm_tf.analysis import imbalance_figures
from ogm_tf.analysis.sections import Section

FILE = "imbalance.json"
_NEEDED = {
    "all", "batches", "best_epoch", "classes", "clips", "fusion", "modalities", "num_clips",
    "relative_difference", "split", "stronger", "weaker", "what_if",
}  # fmt: skip


def sections(folders: Sequence[RunFolder]) -> list[Section]:
    """Returns the part of the page about the runs that `analyze` looked at, if there are any.

    What it found of another epoch than the run's best is left out, which is logged.

    Args:
      folders: Of the runs.

    Raises:
      ValueError: where a run's results are not as `analyze` writes them.
    """
    found = {folder.path.name: _read(folder) for folder in folders}
    found = {name: own for name, own in found.items() if own}
    return [imbalance_figures.section(found)] if found else []


def _read(folder: RunFolder) -> dict[str, Any] | None:
    path = folder.path / FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        if not _NEEDED <= found.keys():
            raise KeyError(*sorted(_NEEDED - found.keys()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} must be results that `analyze` wrote. Received: {error!r}."
        ) from error
    best_epoch = folder.read_state().get("best_epoch")
    if found["best_epoch"] == best_epoch:
        return found
    logging.warning(
        "%s is of epoch %s, and the best is %s: run `analyze` again.",
        path, found["best_epoch"], best_epoch,
    )  # fmt: skip
    return None
