"""What `probe_branches` and `references` found of runs of `train`, as a part of their report."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from input_pipelines.index import Index
from launchers import alone_runs
from launchers.runs import RunFolder
from ogm_tf.analysis.branch_section import RunBranches, branch_section
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import RunSummary

_SPLITS = ("validation", "test")


def sections(
    folders: Sequence[RunFolder], summaries: Sequence[RunSummary], index: Index, file_name: str
) -> list[Section]:
    """Returns what each modality could do, if it is known of any run.

    References of a run are looked for in the runs' folders, its own first, and beside them.

    Args:
      folders: Of the runs.
      summaries: Of the runs.
      index: Of their records.
      file_name: Of what `probe_branches` wrote into a run's folder.

    Raises:
      ValueError: where such a file is not as `probe_branches` writes it.
    """
    modalities = index.settings.modalities
    places = _places(folders)
    runs = [
        _branches(summary, folder, modalities, [folder.path, *places], file_name)
        for summary, folder in zip(summaries, folders, strict=True)
    ]
    section = branch_section(runs, modalities, len(index.class_names))
    return [] if section is None else [section]


def references(folders: Sequence[RunFolder], modalities: Sequence[str]) -> list[RunFolder]:
    """Returns the references of runs that `sections` takes.

    Args:
      folders: Of the runs.
      modalities: Of their records.
    """
    places, found = _places(folders), {}
    for folder in folders:
        for name in modalities:
            own = alone_runs.find(folder.read_config(), name, modalities, [folder.path, *places])
            if own is not None:
                found[own.path] = own
    return list(found.values())


def _places(folders: Sequence[RunFolder]) -> list[pathlib.Path]:
    """Returns where references of some runs are looked for, after a run's own folder."""
    places = [folder.path for folder in folders]
    return places + [path.parent for path in places]


def _branches(
    summary: RunSummary,
    folder: RunFolder,
    modalities: Sequence[str],
    places: Sequence[pathlib.Path],
    file_name: str,
) -> RunBranches:
    probed = _read(folder.path / file_name, summary.best_epoch, modalities)
    accuracies = {split: {name: {} for name in modalities} for split in _SPLITS}
    curves = {}
    for name in modalities:
        reference = alone_runs.find(summary.config, name, modalities, places)
        alone = {} if reference is None else reference.read_metrics()
        for split in _SPLITS:
            own = accuracies[split][name]
            if split in alone:
                own["alone"] = alone[split]["accuracy"]
            if probed and split in probed["num_clips"]:
                own["probe"] = probed["modalities"][name]["probe"][split]
            if split in summary.metrics:
                own["branch"] = summary.metric(split, f"{name}_accuracy")
        columns = {"probe": f"val_{name}_probe_accuracy", "branch": f"val_{name}_accuracy"}
        curves[name] = {
            kind: summary.history[column]
            for kind, column in columns.items()
            if column in summary.history
        }
        if alone and "val_accuracy" in (history := reference.read_history()):
            curves[name]["alone"] = history["val_accuracy"]
    return RunBranches(summary.name, accuracies, curves)


def _read(
    path: pathlib.Path, best_epoch: int | None, modalities: Sequence[str]
) -> dict[str, Any] | None:
    """Returns what was found of a run's best epoch, None where nothing was."""
    if not path.exists():
        return None
    try:
        probed = json.loads(path.read_text())
        for name in modalities:
            if probed["modalities"][name]["probe"].keys() != probed["num_clips"].keys():
                raise KeyError(name)
        is_current = probed["best_epoch"] == best_epoch
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be what `probe_branches` wrote. Received: {error!r}."
        ) from error
    if not is_current:
        logging.warning(
            "%s is of epoch %s, and the best is %s: run `probe_branches` again.",
            path, probed["best_epoch"], best_epoch,
        )  # fmt: skip
    return probed if is_current else None
