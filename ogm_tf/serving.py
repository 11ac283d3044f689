"""From a trained model, or an encoder of it, to a SavedModel that takes raw sound and pictures."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ogm_tf.model import OGMModel
from ogm_tf.representation.pooling import feature_model, pooled

FrontEnd = Callable[[tf.Tensor], tf.Tensor]

RAW_INPUTS = {
    "audio": tf.TensorSpec([None, None], tf.float32, name="waveform"),
    "visual": tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames"),
}
# In the folder that TensorFlow Serving's convention leaves to whoever writes a SavedModel.
EMBEDDING_FILE = "assets.extra/embedding.json"


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
    _require_absent(path)
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

    with _whole(path) as partial:
        _write(partial, model, answer, raw_inputs)


def export_encoder(
    encoder: keras.Model,
    path: str | os.PathLike,
    front_end: FrontEnd,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a SavedModel that describes raw sounds, in float32, without custom operations.

    Its `serving_default` takes `waveform`, float32 `[B, samples]` in [-1, 1] of any length, and
    returns `embedding`, float32 `[B, D]`: what
    `ogm_tf.representation.pooling.embedding_model(encoder)` says of what the front end makes of
    the waveform. Its file `assets.extra/embedding.json` holds what a user has to know of it.

    Args:
      encoder: An audio encoder with weights. One of another modality needs a front end that
        declares its raw input by an attribute `raw_input`, a named `tf.TensorSpec`.
      path: Folder to write, which must not exist yet. It appears whole or not at all.
      front_end: From the raw input to the encoder's, of TensorFlow operations. It decides what is
        done to waveforms that are shorter or longer than what the encoder takes.
      about: What else the file says, such as the sample rate; values that JSON can hold.

    Returns:
      What the file says: `about`, and D as `embedding_width`.

    Raises:
      ValueError: where the encoder has no weights yet, or its output no channels.
      FileExistsError: where the folder exists.
    """
    path = pathlib.Path(path)
    if not encoder.built:
        raise ValueError(
            "The encoder must have weights: call or train it first. "
            f"Received: the unbuilt encoder {encoder.name!r}."
        )
    _require_absent(path)
    raw_input = _raw_input("audio", front_end)
    model = in_float32(feature_model(encoder))
    found = dict(about or {})

    def answer(raw):
        embedding = pooled(model(front_end(raw), training=False))
        found["embedding_width"] = embedding.shape[-1]
        return {"embedding": embedding}

    with _whole(path) as partial:
        _write(partial, model, answer, [raw_input])
        file = partial / EMBEDDING_FILE
        file.parent.mkdir()
        file.write_text(json.dumps(found, indent=2) + "\n")
    return found


def in_float32(model: keras.Model) -> keras.Model:
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


def _require_absent(path: pathlib.Path) -> None:
    if path.exists():
        raise FileExistsError(f"`path` must not exist yet. Received: path={str(path)!r}.")


@contextlib.contextmanager
def _whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary folder's name beside `path`, and renames the folder at the end."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(
    path: pathlib.Path, model: keras.Model, answer: Callable, raw_inputs: list[tf.TensorSpec]
) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", answer, input_signature=raw_inputs)
    archive.write_out(str(path))


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
