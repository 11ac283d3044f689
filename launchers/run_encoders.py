"""The encoders of a run of `train` or of `pretrain`, and what they take."""

import dataclasses

import keras
import tensorflow as tf

from input_pipelines.index import read_index
from input_pipelines.settings import ClipSettings
from launchers.runs import RunFolder
from ogm_tf import OGMModel

_TITLES = {"audio": "sound", "visual": "pictures", "flow": "flow"}


def input_settings(folder: RunFolder, modality: str) -> ClipSettings:
    """Returns how a run's records make one modality its input.

    Args:
      folder: Of the run.
      modality: "audio", "visual" or "flow".

    Raises:
      FileNotFoundError: where there is no run, or its records are gone.
      ValueError: where the run has not learned from records, or from that modality of them.
    """
    index = read_index(folder.records_dir)
    modalities = index.settings.modalities
    if modality not in modalities:
        raise ValueError(
            f"A run must have learned from {_TITLES[modality]} to have an encoder of it. "
            f"Received: {folder.path}, of {', '.join(modalities)}."
        )
    return dataclasses.replace(index.input_settings, modalities=(modality,))


def load(folder: RunFolder, settings: ClipSettings, modality: str) -> keras.Model:
    """Returns the best model's encoder of one modality.

    Args:
      folder: Of the run.
      settings: What `input_settings` gives.
      modality: "audio", "visual" or "flow".

    Raises:
      FileNotFoundError: where no epoch has finished yet.
      ValueError: where the encoder does not take what these settings make of its modality.
    """
    return encoder_of(folder.load_best(), folder, settings, modality)


def encoder_of(
    model: OGMModel, folder: RunFolder, settings: ClipSettings, modality: str
) -> keras.Model:
    """Returns a run's model's encoder of one modality.

    Args:
      model: Of the run.
      folder: Of the run.
      settings: Of the inputs.
      modality: "audio", "visual" or "flow".

    Raises:
      ValueError: where the encoder does not take what these settings make of its modality.
    """
    encoder = model.encoders.get(modality)
    if encoder is None:
        raise ValueError(
            f"The model of a run must have an encoder named {modality!r}. Received: {folder.path}."
        )
    title, expected = _TITLES[modality], settings.shapes[modality]
    if not tf.TensorShape(encoder.input_shape[1:]).is_compatible_with(expected):
        raise ValueError(
            f"The records of the run must be those it was trained on: its encoder takes {title} of "
            f"shape {encoder.input_shape[1:]}. Received: {title} of shape {expected} in the "
            "records."
        )
    return encoder
