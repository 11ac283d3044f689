"""What `OGMModel` refuses: networks without modalities, losses that take no logits, and so on."""

import inspect
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


def require_encoders(encoders: Any, fusion: Any) -> None:
    if not isinstance(encoders, Mapping) or len(encoders) < 2:
        received = list(encoders) if isinstance(encoders, Mapping) else encoders
        raise ValueError(
            "`encoders` must be a dictionary of at least two modalities. "
            f"Received: encoders={received!r}."
        )
    for name, encoder in encoders.items():
        if not isinstance(encoder, keras.layers.Layer):
            raise ValueError(
                "Every encoder must be a keras.Model or a layer. "
                f"Received: {type(encoder).__name__} for {name!r}."
            )
    if not isinstance(fusion, keras.layers.Layer):
        raise ValueError(
            "`fusion` must be a layer such as ogm_tf.fusion.Concat(num_classes=6). "
            f"Received: fusion={fusion!r}."
        )


def require_accumulate_steps(accumulate_steps: Any) -> None:
    is_integer = isinstance(accumulate_steps, numbers.Integral)
    if not is_integer or isinstance(accumulate_steps, bool) or accumulate_steps < 1:
        raise ValueError(
            "`accumulate_steps` must be an integer >= 1. "
            f"Received: accumulate_steps={accumulate_steps!r}."
        )


def require_adding_up(fusion: Any) -> None:
    """Refuses a head that must not get features of zeros.

    A head of the user's own that does not say what it does is taken for one that adds up.
    """
    if not getattr(fusion, "adds_up", True):
        raise ValueError(
            "OPM drops whole features, and needs a head that adds up what each modality says, such "
            f"as Concat or Sum. Received: {type(fusion).__name__}, in which one modality's answer "
            "goes through the other's feature."
        )


def require_logits(loss: Any) -> None:
    """Refuses a loss that takes probabilities: the scores are softmaxes of logits."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    from_logits = None
    if isinstance(loss, keras.losses.Loss):
        from_logits = loss.get_config().get("from_logits")
    elif callable(loss):
        parameter = inspect.signature(loss).parameters.get("from_logits")
        from_logits = None if parameter is None else parameter.default
    if from_logits is False:
        name = getattr(loss, "name", None) or getattr(loss, "__name__", repr(loss))
        raise ValueError(
            "The loss must take logits: pass it with from_logits=True. "
            f"Received: {name} with from_logits=False."
        )


def require_reduction(loss: Any, accumulate_steps: int) -> None:
    """Refuses a loss that is no number, or that is no mean where means over batches are taken."""
    reduction = getattr(loss, "reduction", None)
    if reduction == keras.losses.Reduction.NONE:
        raise ValueError(
            "The loss must be one number a batch: leave out its `reduction`. "
            f"Received: {loss.name} with reduction={reduction!r}."
        )
    if reduction == keras.losses.Reduction.SUM and accumulate_steps > 1:
        raise ValueError(
            "A loss that is a sum over rows does not accumulate over batches: leave out its "
            f"`reduction`. Received: {loss.name} with reduction={reduction!r}, "
            f"accumulate_steps={accumulate_steps}."
        )


def require_one_replica(strategy: tf.distribute.Strategy) -> None:
    if strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "`jit_compile=True` works on one device only. Received: jit_compile=True under a "
            f"strategy of {strategy.num_replicas_in_sync} replicas."
        )


def by_modality(inputs: Any, names: Sequence[str]) -> dict[str, tf.Tensor]:
    """Returns a model's inputs by modality, or refuses them."""
    if isinstance(inputs, Mapping):
        missing = [name for name in names if name not in inputs]
        if missing:
            raise ValueError(
                f"Inputs must have the modalities {names}. Received: {sorted(inputs)}."
            )
        return {name: inputs[name] for name in names}
    if not isinstance(inputs, Sequence) or len(inputs) != len(names):
        received = f"{len(inputs)} tensors" if isinstance(inputs, Sequence) else "one tensor"
        raise ValueError(
            f"Inputs must be a dictionary of the modalities {names}, or a list in that order. "
            f"Received: {received}."
        )
    return dict(zip(names, inputs, strict=True))
