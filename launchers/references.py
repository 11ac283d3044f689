"""Trains, beside a run, the same network on each modality alone: what that modality could do.

  python -m launchers.references --run_dir=runs/ogm_ge

Each reference is a run of `train` with the run's own settings and seed, without modulation, and
with zeros in place of every other modality: the same encoder from the same initial weights, on the
same clips in the same order. The encoders of zeros answer zeros from the first step to the last
(their convolutions have no bias), so what is left of the network is one encoder and its linear
head, which is why it need not be another network.

The references are the folders alone_<modality> in the run's folder, or in --output_dir. The same
command goes on where it was stopped. `launchers.report` finds them in the folders of the runs it
compares and beside them; runs that differ in their modulation alone share them.
"""

import dataclasses
import pathlib

import keras
from absl import logging

from input_pipelines.index import read_index
from launchers import alone_runs, train
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, setting


@dataclasses.dataclass(frozen=True)
class ReferencesSettings(LauncherSettings):
    """Settings of `references`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run of `train`, finished or not.")
    output_dir: str | None = setting(
        None, "Folder of the references' folders; by default that of the run."
    )


def run(settings: ReferencesSettings) -> dict[str, dict[str, dict[str, float]]]:
    """Trains what is missing; returns each modality's metrics of every split.

    Raises:
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the reference is saved.
    """
    folder = RunFolder(pathlib.Path(settings.run_dir))
    config = folder.read_config()
    if folder.launcher != "train" or config["remove_modality"]:
        raise ValueError(
            "References are of a run of `train` that has all its modalities. Received: "
            f"{folder.path}, a run of {folder.launcher}, "
            f"remove_modality={config.get('remove_modality')!r}."
        )
    modalities = read_index(folder.records_dir).settings.modalities
    results = {}
    for modality in modalities:
        output_dir = alone_runs.path_in(settings.output_dir or folder.path, modality)
        logging.info("Training on %s alone, in %s.", modality, output_dir)
        results[modality] = train.run(alone_runs.settings(config, modality, modalities, output_dir))
        keras.backend.clear_session()
    for modality, metrics in results.items():
        for split, values in metrics.items():
            logging.info("%s alone, %s: accuracy %.3f", modality, split, values["accuracy"])
    return results


if __name__ == "__main__":
    launch(ReferencesSettings, run)
