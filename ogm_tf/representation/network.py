"""What the three networks have in common: their form, their presets, and checks of their sizes."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Network(NamedTuple):
    """An audio-visual network that tells matching pairs of sound and picture from others.

    Attributes:
      encoders: `{"audio": keras.Model, "visual": keras.Model}`: what modulation balances. Their
        outputs may be maps.
      fusion: A layer that takes the list of the encoders' outputs, audio first, and returns logits
        `[P, 2]` of P pairs, of which index 1 stands for a match.
      inputs: `{"audio": shape, "visual": shape}` of one pair, without the batch axis.
    """

    encoders: dict[str, keras.Model]
    fusion: keras.layers.Layer
    inputs: dict[str, tuple[int, ...]]


def choose_sizes(
    presets: Mapping[str, Mapping[str, Any]], preset: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the preset's sizes, with those given in place of its own.

    Args:
      presets: Sizes by name of the preset.
      preset: Which.
      given: Sizes to replace; None keeps the preset's.

    Raises:
      ValueError: where there is no such preset.
    """
    if preset not in presets:
        raise ValueError(
            f"`preset` must be one of {', '.join(presets)}. Received: preset={preset!r}."
        )
    return {**presets[preset], **{k: v for k, v in given.items() if v is not None}}


def require_sizes(name: str, values: Any, length: int | None = None) -> tuple[int, ...]:
    """Returns the values as a tuple, having checked that they are integers >= 1.

    Raises:
      ValueError: where they are not, or are not `length` many.
    """
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
    sizes = tuple(values) if is_sequence else (values,)
    fits = len(sizes) >= 1 if length is None else len(sizes) == length
    if not fits or not all(_is_size(size) for size in sizes):
        many = "" if length == 1 else "all " if length is None else f"{length} "
        rule = "an integer >= 1" if length == 1 else f"{many}integers >= 1"
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={values!r}.")
    return tuple(int(size) for size in sizes)


def require_features(
    fusion: keras.layers.Layer, shapes: Any, ranks: tuple[int, int], form: str
) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Returns the shapes of the audio and the visual features, having checked them.

    Args:
      fusion: Whom to name in the error.
      shapes: What `build` got.
      ranks: Of the audio and of the visual features, batch axis included.
      form: How the features should look, for the error.

    Raises:
      ValueError: where they are not two, of these ranks, and known but for the batch axis.
    """
    # One tensor's shape is no list of shapes.
    is_list = isinstance(shapes, list | tuple) and not any(_is_size(shape) for shape in shapes)
    shapes = [tf.TensorShape(shape) for shape in shapes] if is_list else []
    fits = tuple(shape.rank for shape in shapes) == ranks
    if not fits or not all(shape[1:].is_fully_defined() for shape in shapes):
        raise ValueError(
            f"{type(fusion).__name__} takes [audio, visual] features of shapes {form}. "
            f"Received: features of shapes {[str(shape) for shape in shapes]}."
        )
    audio, visual = (tuple(shape) for shape in shapes)
    return audio, visual


def _is_size(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1
