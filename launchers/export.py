"""Writes a trained run as a SavedModel that answers raw sound and pictures.

python -m launchers.export --run_dir=runs/mine --output_dir=models/mine/1
"""

import dataclasses
import pathlib

from absl import logging

from input_pipelines import audio, video
from input_pipelines.index import read_index
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, setting
from ogm_tf import serving


@dataclasses.dataclass(frozen=True)
class ExportSettings(LauncherSettings):
    """Settings of `export`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run that `train` wrote.")
    output_dir: str = setting(dataclasses.MISSING, "Folder for the SavedModel, not there yet.")


def run(settings: ExportSettings) -> None:
    """Exports a run's best model with the front ends of its records."""
    folder = RunFolder(pathlib.Path(settings.run_dir))
    index = read_index(folder.read_config()["records_dir"])
    clip_settings = index.input_settings
    if set(clip_settings.modalities) != {"audio", "visual"}:
        raise ValueError(
            "A server answers sound and pictures; the run must have been trained on both and "
            f"nothing else. Received: modalities={list(clip_settings.modalities)}."
        )
    output_dir = pathlib.Path(settings.output_dir)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    serving.export(
        folder.load_best(),
        output_dir,
        front_ends={
            "audio": audio.front_end(clip_settings),
            "visual": video.front_end(clip_settings),
        },
        class_names=index.class_names,
    )
    logging.info("Wrote %s.", output_dir)


if __name__ == "__main__":
    launch(ExportSettings, run)
