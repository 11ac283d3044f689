"""Writes a trained run as a SavedModel that answers raw sound and pictures.

  python -m launchers.export --run_dir=runs/mine --output_dir=models/mine/1

Of a run of `train` that is its network, which names classes; of a run of `pretrain`, or with
--part=audio_encoder, the encoder of sound: `waveform` [B, samples] in [-1, 1] to `embedding`
[B, D], to describe sounds of any kind with. Sample rate, window and D are logged and written to
assets.extra/embedding.json. Of longer sounds only the first window counts; shorter ones are
repeated, or their features filled with zeros, as the records' --short_clips says.
"""

import dataclasses
import pathlib

from absl import logging

from input_pipelines import audio, video
from input_pipelines.index import read_index
from input_pipelines.settings import ClipSettings
from launchers import audio_encoders
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, launch, setting
from ogm_tf import serving

PARTS = ("network", "audio_encoder")
SHORTER = {
    "tile": "are repeated up to the window",
    "fill": "get zeros after their features",
}


@dataclasses.dataclass(frozen=True)
class ExportSettings(LauncherSettings):
    """Settings of `export`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run.")
    output_dir: str = setting(dataclasses.MISSING, "Folder for the SavedModel, not there yet.")
    part: str | None = setting(
        None,
        "What is exported; by default the network of a run of train, the audio encoder of a run of "
        "pretrain.",
        choices=PARTS,
    )


def run(settings: ExportSettings) -> None:
    """Exports a run's best model, or its audio encoder, with the front ends of its records."""
    folder = RunFolder(pathlib.Path(settings.run_dir))
    part = settings.part or ("audio_encoder" if folder.is_of_pairs else "network")
    if part == "network" and folder.is_of_pairs:
        raise ValueError(
            "A run of `pretrain` knows no classes; what can be exported of it is "
            f"--part=audio_encoder. Received: part={part!r}, run_dir={settings.run_dir!r}."
        )
    output_dir = pathlib.Path(settings.output_dir)
    if part == "network":
        _export_network(folder, output_dir)
    else:
        _export_audio_encoder(folder, output_dir)


def _export_network(folder: RunFolder, output_dir: pathlib.Path) -> None:
    index = read_index(folder.records_dir)
    clip_settings = index.input_settings
    if set(clip_settings.modalities) != {"audio", "visual"}:
        raise ValueError(
            "A server answers sound and pictures; the run must have been trained on both and "
            f"nothing else. Received: modalities={list(clip_settings.modalities)}."
        )
    model = folder.load_best()
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    serving.export(
        model,
        output_dir,
        front_ends={
            "audio": audio.front_end(clip_settings),
            "visual": video.front_end(clip_settings),
        },
        class_names=index.class_names,
    )
    logging.info("Wrote %s.", output_dir)


def _export_audio_encoder(folder: RunFolder, output_dir: pathlib.Path) -> None:
    clip_settings = audio_encoders.sound_settings(folder)
    encoder = audio_encoders.load(folder, clip_settings)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    about = serving.export_encoder(
        encoder, output_dir, audio.front_end(clip_settings), _about(clip_settings)
    )
    logging.info(
        "Wrote %s: `waveform` [B, samples] at %d Hz to `embedding` [B, %d]. The window is %d "
        "samples: longer waveforms %s, shorter ones %s.",
        output_dir,
        about["sample_rate_hz"],
        about["embedding_width"],
        about["window_samples"],
        about["longer_waveforms"],
        about["shorter_waveforms"],
    )


def _about(settings: ClipSettings) -> dict[str, str | int | float]:
    """Returns what a user of the SavedModel has to know."""
    return {
        "waveform": "float32 [B, samples], mono, in [-1, 1]",
        "sample_rate_hz": settings.audio.sample_rate_hz,
        "window_samples": settings.window_samples,
        "longer_waveforms": "are cut after the window",
        "shorter_waveforms": SHORTER[settings.audio.short_clips],
        "features": settings.audio.features,
        "embedding": "float32 [B, embedding_width]",
    }


if __name__ == "__main__":
    launch(ExportSettings, run)
