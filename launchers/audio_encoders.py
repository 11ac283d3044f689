"""The audio encoder of a run of `train` or of `pretrain`, and what it takes."""

import keras

from input_pipelines.settings import ClipSettings
from launchers import run_encoders
from launchers.runs import RunFolder


def sound_settings(folder: RunFolder) -> ClipSettings:
    """Returns how a run's records make sound its input; see `run_encoders.input_settings`."""
    return run_encoders.input_settings(folder, "audio")


def load(folder: RunFolder, settings: ClipSettings) -> keras.Model:
    """Returns the best model's encoder of sound; see `run_encoders.load`."""
    return run_encoders.load(folder, settings, "audio")
