"""The runs of `references`: one modality alone, trained as a run of all of them."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.analysis.summaries import MODULATION_SETTINGS, SETTINGS_THAT_TRAIN_NOTHING

# What does not matter to one modality alone, nor to how it is trained.
_OF_THE_METHOD = (*MODULATION_SETTINGS, "probe_every_epochs", "probe_clips")


def path_in(folder: str | os.PathLike, modality: str) -> pathlib.Path:
    """Returns the folder of the reference of a modality, in a folder of references."""
    return pathlib.Path(folder) / f"alone_{modality}"


def expected_config(
    config: Mapping[str, Any], modality: str, modalities: Sequence[str]
) -> dict[str, Any]:
    """Returns the settings of the reference of a run, as its config.json has them.

    It is trained on one machine: several ones would have to be started for each.

    Args:
      config: Of the run.
      modality: The one that is left.
      modalities: Of the run's records.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(TrainSettings)}
    others = ",".join(name for name in modalities if name != modality)
    expected = {
        **config,
        **{name: defaults[name] for name in _OF_THE_METHOD},
        "remove_modality": others,
    }
    if expected.get("strategy") == "multi_worker":
        expected["strategy"] = "mirrored"
    return expected


def settings(
    config: Mapping[str, Any],
    modality: str,
    modalities: Sequence[str],
    output_dir: str | os.PathLike,
) -> TrainSettings:
    """Returns the settings that train the reference of a run.

    Args:
      config: Of the run.
      modality: The one that is left.
      modalities: Of the run's records.
      output_dir: Folder of the reference.

    Raises:
      ValueError: where the run has settings that `train` has not, or values it refuses.
    """
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    if unknown := sorted(config.keys() - known):
        raise ValueError(
            "The settings of a run must be those of this version's `train`. Received: "
            f"{', '.join(f'{name}={config[name]!r}' for name in unknown)}."
        )
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in expected_config(config, modality, modalities).items()
    }
    return TrainSettings(**{**values, "output_dir": str(output_dir)})


def find(
    config: Mapping[str, Any],
    modality: str,
    modalities: Sequence[str],
    folders: Sequence[pathlib.Path],
) -> RunFolder | None:
    """Returns the finished reference of a run, of its own settings, in the first folder with one.

    Args:
      config: Of the run.
      modality: The one that is left.
      modalities: Of the run's records.
      folders: To look in.
    """
    wanted = expected_config(config, modality, modalities)
    for name in SETTINGS_THAT_TRAIN_NOTHING:
        wanted.pop(name, None)
    for folder in folders:
        reference = RunFolder(path_in(folder, modality))
        if reference.config_path.exists() and reference.read_metrics():
            found = reference.read_config()
            # One of a later version may have settings that the run has not.
            if all(found.get(name) == value for name, value in wanted.items()):
                return reference
    return None
