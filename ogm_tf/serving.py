"""From a trained model to a SavedModel that takes raw sound and pictures."""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ogm_tf.model import OGMModel

FrontEnd = Callable[[tf.Tensor], tf.Tensor]

RAW_INPUTS = {
    "audio": tf.TensorSpec([None, None], tf.float32, name="waveform"),
    "visual": tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames"),
}


def export(
    model: OGMModel,
    path: str | os.PathLike,
    front_ends: Mapping[str, FrontEnd],
    class_names: Sequence[str],
) -> None:
    """Writes a SavedModel that answers raw inputs, in float32, without custom operations.

    Its `serving_default` takes `waveform`, float32 `[B, samples]` in [-1, 1] of any length, and
    `frames`, uint8 `[B, N, H, W, 3]` of any size, and returns `probabilities` `[B, C]`, `label`
    string `[B]`, and `<modality>_probabilities` `[B, C]` for every modality.

    Args:
      model: A model that has been called or trained.
      path: Folder to write, which must not exist yet. It appears whole or not at all.
      front_ends: For every modality a function from its raw input to the model's, of TensorFlow
        operations. A modality other than "audio" and "visual" declares its raw input by an
        attribute `raw_input` of the function, a named `tf.TensorSpec`.
      class_names: Of the C classes, in the order of the logits.

    Raises:
      ValueError: where a front end or a class name is missing or too much, or the model has no
        weights yet.
      FileExistsError: where the folder exists.
    """
    path = pathlib.Path(path)
    names = list(model.branches)
    if sorted(front_ends) != sorted(names):
        raise ValueError(
            f"`front_ends` must have the model's modalities {names}. "
            f"Received: {sorted(front_ends)}."
        )
    if not model.built:
        raise ValueError(
            "The model must have weights: call or train it first. "
            f"Received: the unbuilt model {model.name!r}."
        )
    if path.exists():
        raise FileExistsError(f"`path` must not exist yet. Received: path={str(path)!r}.")
    raw_inputs = [_raw_input(name, front_ends[name]) for name in names]
    model = in_float32(model)
    labels = tf.constant(list(class_names))

    def answer(*raw):
        inputs = {name: front_ends[name](value) for name, value in zip(names, raw, strict=True)}
        logits, unimodal = model(inputs, training=False, unimodal=True)
        if logits.shape[-1] != len(class_names):
            raise ValueError(
                f"`class_names` must name the model's {logits.shape[-1]} classes. "
                f"Received: {len(class_names)} names."
            )
        outputs = {
            "probabilities": tf.nn.softmax(logits),
            "label": tf.gather(labels, tf.argmax(logits, axis=-1)),
        }
        for name, part in unimodal.items():
            outputs[f"{name}_probabilities"] = tf.nn.softmax(part)
        return outputs

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", answer, input_signature=raw_inputs)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        archive.write_out(str(partial))
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def in_float32(model: OGMModel) -> OGMModel:
    """Returns the model itself, or, where it computes in another precision, a float32 copy.

    Args:
      model: A model with weights.
    """
    config = model.get_config()
    float32_config = _with_float32(config)
    if float32_config == config:
        return model
    copy = type(model).from_config(float32_config)
    copy.build_from_config(model.get_build_config())
    copy.set_weights(model.get_weights())
    return copy


def _raw_input(name: str, front_end: FrontEnd) -> tf.TensorSpec:
    spec = getattr(front_end, "raw_input", RAW_INPUTS.get(name))
    if not isinstance(spec, tf.TensorSpec) or not spec.name:
        raise ValueError(
            f"The front end of {name!r} must declare its input as `raw_input`, a named "
            f"tf.TensorSpec. Received: raw_input={spec!r}."
        )
    return spec


def _with_float32(config: Any) -> Any:
    """Returns a Keras configuration with every precision policy replaced by float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "Policy":
            return "float32"
        return {
            key: "float32" if key == "dtype" and _is_reduced(value) else _with_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_with_float32(value) for value in config)
    return config


def _is_reduced(dtype: Any) -> bool:
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    return dtype in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
