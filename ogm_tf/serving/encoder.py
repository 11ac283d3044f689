"""An encoder as a SavedModel that describes raw sounds."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from ogm_tf.representation.pooling import feature_model, pooled
from ogm_tf.serving import inputs, saved_models
from ogm_tf.serving.precision import in_float32

EMBEDDING_FILE = f"{saved_models.EXTRA_FOLDER}/embedding.json"


def export_encoder(
    encoder: keras.Model,
    path: str | os.PathLike,
    front_end: inputs.FrontEnd,
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
    saved_models.require_absent(path)
    sound = inputs.raw("audio", front_end)
    model = in_float32(feature_model(encoder))
    found = dict(about or {})

    def answer(raw):
        embedding = pooled(model(sound.convert(raw), training=False))
        found["embedding_width"] = embedding.shape[-1]
        return {"embedding": embedding}

    with saved_models.whole(path) as partial:
        saved_models.write(partial, model, {"serving_default": (answer, [sound.received])})
        file = partial / EMBEDDING_FILE
        file.parent.mkdir()
        file.write_text(json.dumps(found, indent=2) + "\n")
    return found
