"""Encoders that describe segments of clips: of runs, of `.keras` files, of `keras.applications`."""

import dataclasses
import hashlib
import pathlib
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from input_pipelines.index import Index
from input_pipelines.settings import ClipSettings
from launchers import run_encoders
from launchers.extracting import KINDS
from launchers.runs import RunFolder
from ogm_tf.encoders import map_model
from ogm_tf.representation.pooling import feature_model, pooled

# By the names users know: lower case, with or without underscores.
APPLICATIONS = {
    name.lower(): build
    for name, build in vars(keras.applications).items()
    if name[0].isupper() and callable(build)
}


@dataclasses.dataclass(frozen=True)
class SegmentEncoder:
    """What describes one modality of a segment.

    Args:
      front_end: Window and front end of that modality alone.
      encode: From float32 `[B, *front_end.shapes[modality]]` to float32 `[B, *shape]`.
      shape: `[D]` of sound, `[h, w, C]` of pictures.
      about: Where it comes from, for a reader.
    """

    front_end: ClipSettings
    encode: Callable[[tf.Tensor], tf.Tensor]
    shape: tuple[int, ...]
    about: dict[str, Any]


def load(
    modality: str,
    name: str,
    index: Index,
    window_s: float,
    weights: str | None = None,
) -> SegmentEncoder:
    """Returns an encoder.

    Args:
      modality: "audio" or "visual".
      name: One of `KINDS`.
      index: Of the records the segments are of.
      window_s: Seconds that an encoder gets which is not of a run.
      weights: A file of weights, for one of `keras.applications`.

    Raises:
      FileNotFoundError: where a run, its records or a file is missing.
      ValueError: where there is no such encoder, or it cannot take what it would get.
    """
    path = pathlib.Path(name)
    application = APPLICATIONS.get(name.lower().replace("_", ""))
    is_application = modality == "visual" and application is not None and not path.exists()
    if (weights is not None) != is_application:
        raise ValueError(
            "--visual_weights must come with a name of keras.applications, and only with one: "
            "weights are never downloaded. "
            f"Received: {modality}_encoder={name!r}, visual_weights={weights!r}."
        )
    if not path.exists() and not is_application:
        raise FileNotFoundError(
            f"--{modality}_encoder must be {KINDS[modality]}. "
            f"Received: {modality}_encoder={name!r}, which is not there."
        )
    if path.is_dir():
        return _of_run(RunFolder(path), modality, index.settings.audio.sample_rate_hz)
    own = {"window_s": window_s, "modalities": (modality,)}
    if is_application:
        return _of_application(
            application, dataclasses.replace(index.settings, **own), name, weights
        )
    if path.suffix != ".keras":
        raise ValueError(
            f"--{modality}_encoder must be {KINDS[modality]}. "
            f"Received: {modality}_encoder={name!r}."
        )
    return _of_file(path, modality, dataclasses.replace(index.input_settings, **own))


def _of_run(folder: RunFolder, modality: str, sample_rate_hz: int) -> SegmentEncoder:
    front_end = run_encoders.input_settings(folder, modality)
    rate = front_end.audio.sample_rate_hz
    if modality == "audio" and rate != sample_rate_hz:
        raise ValueError(
            f"An encoder must get sound of the rate it was trained on: prepare the records with "
            f"--sample_rate_hz={rate}. Received: {folder.path} of {rate} Hz, records of "
            f"{sample_rate_hz} Hz."
        )
    encoder = run_encoders.load(folder, front_end, modality)
    about = {"run": str(folder.path), "sha256": _sha256(folder.best_model)}
    return _encoder(encoder, front_end, modality, about)


def _of_file(path: pathlib.Path, modality: str, front_end: ClipSettings) -> SegmentEncoder:
    try:
        encoder = keras.models.load_model(path, compile=False)
    except (OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"A .keras file must be a model that Keras can load. Received: {path} ({error})."
        ) from error
    return _encoder(encoder, front_end, modality, {"file": str(path), "sha256": _sha256(path)})


def _of_application(
    build: Callable[..., keras.Model], front_end: ClipSettings, name: str, weights: str
) -> SegmentEncoder:
    if not pathlib.Path(weights).is_file():
        raise FileNotFoundError(
            "--visual_weights must be a file of this machine. "
            f"Received: visual_weights={weights!r}."
        )
    # These networks say themselves what they do to pixels from 0 to 255.
    pixels = {"normalization": "fixed", "mean": (0.0,) * 3, "deviation": (1 / 255,) * 3}
    front_end = dataclasses.replace(front_end, video=dataclasses.replace(front_end.video, **pixels))
    shape = front_end.shapes["visual"][1:]
    try:
        network = build(include_top=False, weights=weights, input_shape=shape)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--visual_weights must be those of {name} without its top, for frames of shape "
            f"{shape}. Received: visual_weights={weights!r} ({error})."
        ) from error
    preprocess = sys.modules[build.__module__].preprocess_input
    inputs = keras.Input(shape)
    encoder = keras.Model(inputs, network(preprocess(inputs)), name=name)
    about = {"application": name, "sha256": _sha256(pathlib.Path(weights))}
    return _encoder(encoder, front_end, "visual", about)


def _encoder(
    encoder: keras.Model, front_end: ClipSettings, modality: str, about: dict[str, Any]
) -> SegmentEncoder:
    expected = front_end.shapes[modality]
    taken = encoder.input_shape
    taken = tf.TensorShape(taken[1:] if isinstance(taken, tuple) else None)
    fits = taken.rank is not None and taken.is_compatible_with(expected)
    # One that takes single pictures gets the frames one by one.
    is_of_pictures = modality == "visual" and not fits and taken.rank == 3
    if not fits and not (is_of_pictures and taken.is_compatible_with(expected[1:])):
        raise ValueError(
            f"An encoder must take what the records' settings make of a window of "
            f"{front_end.window_s:g} s; see --window_s. Received: {encoder.name} of input "
            f"{encoder.input_shape}, {modality} of shape {expected}."
        )
    if modality == "audio":
        network = feature_model(encoder)
    else:
        network = map_model(encoder)

    def encode(inputs: tf.Tensor) -> tf.Tensor:
        if is_of_pictures:
            # Not all at once: a frame of VGG-19 takes tens of megabytes.
            frames = tf.unstack(inputs, axis=1)
            maps = [tf.cast(network(frame, training=False), tf.float32) for frame in frames]
            return tf.add_n(maps) / len(maps)
        features = tf.cast(network(inputs, training=False), tf.float32)
        if modality == "audio":
            return pooled(features)
        # Maps that keep time.
        return tf.reduce_mean(features, axis=1) if features.shape.rank == 5 else features

    shape = tuple(encode(tf.zeros([1, *expected])).shape[1:])
    if modality == "visual" and len(shape) != 3:
        raise ValueError(
            "An encoder of pictures must give a map [h, w, C]. "
            f"Received: {encoder.name}, which gives {list(shape)}."
        )
    return SegmentEncoder(front_end, encode, shape, {**about, "window_s": front_end.window_s})


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
