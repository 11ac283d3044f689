"""Writes a trained run as a SavedModel that answers raw sound and pictures.

  python -m launchers.export --run_dir=runs/mine --output_dir=models/mine/1
  python -m launchers.export --run_dir=runs/mine --output_dir=models/mine --next_version

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
    output_dir: str = setting(
        dataclasses.MISSING,
        "Folder for the SavedModel, not there yet. TensorFlow Serving wants a number as its name, "
        "and serves the highest of the folder above.",
    )
    next_version: bool = setting(
        False, "--output_dir is the folder above, and gets the number after its highest, or 1."
    )
    part: str | None = setting(
        None,
        "What is exported; by default the network of a run of train, the audio encoder of a run of "
        "pretrain.",
        choices=PARTS,
    )
    tflite: bool = setting(
        False,
        "Write the network's signature of features for TensorFlow Lite, too, to "
        f"{serving.TFLITE_FILE} in the SavedModel.",
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
    if settings.tflite and part != "network":
        raise ValueError(f"--tflite is of --part=network alone. Received: part={part!r}.")
    output_dir = _destination(settings)
    if part == "network":
        _export_network(folder, output_dir, settings.tflite)
    else:
        _export_audio_encoder(folder, output_dir)


def _destination(settings: ExportSettings) -> pathlib.Path:
    """Returns the folder to write, which is not there yet."""
    given = pathlib.Path(settings.output_dir)
    if settings.next_version:
        if (given / "saved_model.pb").exists():
            raise FileExistsError(
                "With --next_version, --output_dir must be the folder above the SavedModels. "
                f"Received: output_dir={settings.output_dir!r}, a SavedModel."
            )
        versions = [int(child.name) for child in given.glob("*") if child.name.isdecimal()]
        return given / str(max(versions, default=0) + 1)
    if given.exists():
        raise FileExistsError(
            "--output_dir must not exist yet, or, with --next_version, be the folder above the "
            f"SavedModels. Received: output_dir={settings.output_dir!r}."
        )
    return given


def _export_network(folder: RunFolder, output_dir: pathlib.Path, tflite: bool) -> None:
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
        sample_rate_hz=clip_settings.audio.sample_rate_hz,
        tflite=tflite,
    )
    logging.info(
        "Wrote %s, for sound at %d Hz; docs/serving.md says how to ask it.",
        output_dir,
        clip_settings.audio.sample_rate_hz,
    )


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
