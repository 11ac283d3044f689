"""The audio encoder of a run of `train` or of `pretrain`, and what it takes."""

import dataclasses

import keras
import tensorflow as tf

from input_pipelines.index import read_index
from input_pipelines.settings import ClipSettings
from launchers.runs import RunFolder


def sound_settings(folder: RunFolder) -> ClipSettings:
    """Returns how a run's records make sound its input.

    Raises:
      FileNotFoundError: where there is no run, or its records are gone.
      ValueError: where the run has not learned from sound.
    """
    index = read_index(folder.read_config()["records_dir"])
    modalities = index.settings.modalities
    if "audio" not in modalities:
        raise ValueError(
            "A run must have learned from sound to have an audio encoder. "
            f"Received: {folder.path}, of {', '.join(modalities)}."
        )
    return dataclasses.replace(index.input_settings, modalities=("audio",))


def load(folder: RunFolder, settings: ClipSettings) -> keras.Model:
    """Returns the best model's encoder of sound.

    Args:
      folder: Of the run.
      settings: What `sound_settings` gives.

    Raises:
      FileNotFoundError: where no epoch has finished yet.
      ValueError: where the encoder does not take what these settings make of sound.
    """
    encoder = folder.load_best().encoders.get("audio")
    if encoder is None:
        raise ValueError(
            f"The model of a run must have an encoder named 'audio'. Received: {folder.path}."
        )
    expected = settings.shapes["audio"]
    if not tf.TensorShape(encoder.input_shape[1:]).is_compatible_with(expected):
        raise ValueError(
            f"The records of the run must be those it was trained on: its encoder takes sound of "
            f"shape {encoder.input_shape[1:]}. Received: sound of shape {expected} in the records."
        )
    return encoder
