"""What `launchers.probe` found of some runs, as a table of their report."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from launchers.runs import RunFolder
from ogm_tf.analysis.tables import Table


def probe_table(
    folders: Sequence[RunFolder], file_name: str, titles: Mapping[str, str]
) -> list[Table]:
    """Returns a table of what `probe` found of the runs, if it found something of any.

    Args:
      folders: Of the runs.
      file_name: Of the results in a run's folder.
      titles: Of the kinds of features that were probed.

    Raises:
      ValueError: where a run's results are not as `probe` writes them.
    """
    found = {folder.path.name: _read_probe(folder.path / file_name, titles) for folder in folders}
    found = {name: probed for name, probed in found.items() if probed}
    if not found:
        return []
    rows = []
    for name, probed in found.items():
        means = [
            f"{100 * probed['results'][kind]['mean']:.1f} ± "
            f"{100 * probed['results'][kind]['deviation']:.1f}"
            for kind in titles
        ]
        sounds = (probed["dataset"], str(probed["num_clips"]), str(probed["num_classes"]))
        rows.append((name, *means, *sounds, probed["classifier"]))
    table = Table(
        "What the audio encoder knows of other sounds",
        ("Run", *titles.values(), "Dataset", "Clips", "Classes", "Classifier"),
        tuple(rows),
        "Accuracy in percent of a linear classifier on the encoder’s features, mean ± standard "
        "deviation over the folds, beside the same on an encoder of random weights and on the "
        "mean and deviation of each mel band. An encoder that is no better than the random one "
        "has learned nothing of use here.",
    )
    return [table]


def _read_probe(path: pathlib.Path, titles: Mapping[str, str]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        probed = json.loads(path.read_text())
        if set(titles) <= probed["results"].keys():
            return probed
        raise KeyError("results")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be results that `probe` wrote. Received: {error!r}."
        ) from error
