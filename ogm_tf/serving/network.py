"""A network that names classes as a SavedModel, with a signature for every kind of client."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from ogm_tf.model import OGMModel
from ogm_tf.model_checks import by_modality
from ogm_tf.serving import inputs, saved_models
from ogm_tf.serving.precision import in_float32

CLASS_NAMES_FILE = "assets/class_names.txt"
TFLITE_FILE = f"{saved_models.EXTRA_FOLDER}/features.tflite"


def export(
    model: OGMModel,
    path: str | os.PathLike,
    front_ends: Mapping[str, inputs.FrontEnd],
    class_names: Sequence[str],
    sample_rate_hz: int | None = None,
    tflite: bool = False,
) -> None:
    """Writes a SavedModel that answers raw inputs, in float32, without custom operations.

    Its signatures take batches of any size B from 1:

    - `serving_default`: `waveform`, float32 `[B, samples]` in [-1, 1] of any length, and `frames`,
      uint8 `[B, N, H, W, 3]` of any size.
    - `features`: what the front ends would make of them, `[B, ...]` by the modality's name.
    - `encoded`: `audio_wav`, bytes of 16-bit WAV files `[B]` at the given sample rate, and
      `frames_jpeg`, bytes of JPEG files `[B, N]`.
    - `raw_<modality>`: the raw input of one modality, where the others are missing.

    They return `probabilities` `[B, C]`, `label` string `[B]`, and, where all modalities are there,
    `<modality>_probabilities` `[B, C]` for each. Of one modality they are the softmax of its own
    logits. (A network of your own whose logits of a modality look at another gets zeros for that.)
    Inputs that are empty, of different numbers of clips, or NaN as sound, are an error of the
    request that says so.
    The class names are written to `assets/class_names.txt`, a line each.

    Args:
      model: A model that has been called or trained.
      path: Folder to write, which must not exist yet. It appears whole or not at all. TensorFlow
        Serving wants a number as its name, and serves the highest in the folder above.
      front_ends: For every modality a function from its raw input to the model's, of TensorFlow
        operations. A modality other than "audio" and "visual" declares its raw input by an
        attribute `raw_input` of the function, a named `tf.TensorSpec`.
      class_names: Of the C classes, in the order of the logits, each on one line.
      sample_rate_hz: Of the waveforms. Without it, or with a raw input that is neither a waveform
        nor frames, there is no signature `encoded`.
      tflite: Whether to write the signature `features` for TensorFlow Lite, too, to
        `assets.extra/features.tflite`.

    Raises:
      ValueError: where a front end or a class name is missing or too much, a class name is not one
        line, or the model has no weights yet.
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
    class_names = list(class_names)
    for name in class_names:
        if name.splitlines() != [name]:
            raise ValueError(f"A class name must be one line. Received: {name!r}.")
    saved_models.require_absent(path)
    raw = {name: inputs.raw(name, front_ends[name]) for name in names}
    model = in_float32(model)
    signatures = _signatures(model, raw, class_names, sample_rate_hz)
    with saved_models.whole(path) as partial, tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / pathlib.Path(CLASS_NAMES_FILE).name
        file.write_text("".join(f"{name}\n" for name in class_names), "utf-8")
        saved_models.write(partial, model, signatures, {"class_names": file})
        if tflite:
            converter = tf.lite.TFLiteConverter.from_saved_model(
                str(partial), signature_keys=["features"]
            )
            file = partial / TFLITE_FILE
            file.parent.mkdir()
            file.write_bytes(converter.convert())


def _signatures(
    model: OGMModel,
    raw: dict[str, inputs.ServedInput],
    class_names: list[str],
    sample_rate_hz: int | None,
) -> dict[str, saved_models.Signature]:
    names = list(raw)
    features = [raw[name].features for name in names]
    shapes = _fitting_shapes(model, features)
    labels = tf.constant(class_names)

    def named(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        if logits.shape[-1] != len(class_names):
            raise ValueError(
                f"`class_names` must name the model's {logits.shape[-1]} classes. "
                f"Received: {len(class_names)} names."
            )
        return {
            "probabilities": tf.nn.softmax(logits),
            "label": tf.gather(labels, tf.argmax(logits, axis=-1)),
        }

    # Traced once, for the signatures that have all modalities.
    @tf.function(input_signature=features)
    def answer(*values):
        values = _of_one_batch(dict(zip(names, values, strict=True)))
        logits, unimodal = model(values, training=False, unimodal=True)
        parts = {f"{name}_probabilities": tf.nn.softmax(part) for name, part in unimodal.items()}
        return named(logits) | parts

    def alone(name: str) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        def answer_alone(value):
            batch_size = tf.shape(value)[0]
            values = {
                other: tf.zeros([batch_size, *shapes[other]], spec.dtype)
                for other, spec in zip(names, features, strict=True)
            }
            values[name] = raw[name].convert(value)
            # Of the other encoders nothing is left in the graph but the reading of variables.
            return named(model(values, training=False, unimodal=True)[1][name])

        return answer_alone

    def converted(served: list[inputs.ServedInput]) -> saved_models.Signature:
        def convert_and_answer(*received):
            pairs = zip(served, received, strict=True)
            return answer(*(one.convert(value) for one, value in pairs))

        return convert_and_answer, [one.received for one in served]

    signatures = {"serving_default": converted([raw[name] for name in names])}
    signatures["features"] = (answer, features)
    encoded = _encoded(raw, sample_rate_hz)
    if encoded:
        signatures["encoded"] = converted(encoded)
    for name in names:
        signatures[f"raw_{name}"] = (alone(name), [raw[name].received])
    return signatures


def _of_one_batch(values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the inputs, which must be of the same number of clips, and of one at least.

    Some fusions would answer for every pair of clips, and others break somewhere inside.
    """
    sizes = tf.stack([tf.shape(value)[0] for value in values.values()])
    names = ", ".join(values)
    rule = f"Inputs must be of the same clips, at least one. Received: {{}} clips of {names}."
    is_one_batch = tf.reduce_all(sizes == sizes[0]) & (sizes[0] > 0)
    return inputs.required(values, is_one_batch, rule, sizes)


def _fitting_shapes(model: OGMModel, features: list[tf.TensorSpec]) -> dict[str, list[int]]:
    """Returns for every modality a shape, without the batch, of an input the model takes."""
    names = [spec.name for spec in features]
    # A front end's sizes may be unknown; those of the model's first call are numbers.
    built = (model.get_build_config() or {}).get("input_shape")
    found = by_modality(built or [spec.shape for spec in features], names)
    return {name: [size or 1 for size in found[name][1:]] for name in names}


def _encoded(
    raw: dict[str, inputs.ServedInput], sample_rate_hz: int | None
) -> list[inputs.ServedInput]:
    """Returns the inputs as bytes of files, or nothing where one has no such form."""
    if sample_rate_hz is None or any(
        one.received != inputs.RAW_INPUTS.get(name) for name, one in raw.items()
    ):
        return []
    forms = {"audio": lambda one: inputs.wav(one, sample_rate_hz), "visual": inputs.jpeg}
    return [forms[name](one) for name, one in raw.items()]
