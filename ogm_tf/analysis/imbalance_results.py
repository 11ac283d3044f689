"""What `Imbalance` finds of many clips, as plain numbers: batch by batch, class by class."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ogm_tf.analysis import imbalance
from ogm_tf.analysis.imbalance import Analysis, Gradients, Imbalance

SCALES = tuple(step / 4 for step in range(9))


class _Measured(NamedTuple):
    """What is measured of N clips, one by one or as the batch they are.

    Args:
      labels: `[N]`.
      logits: Each modality's, `[N, C]`.
      closed_form: Norm of every modality's gradients by kind: `[N]`, or one of the mean loss.
      automatic: The same by automatic differentiation.
      largest: Difference between the two of any number of any gradient.
      relative: Norm of the difference of any gradient, divided by the gradient's own.
    """

    labels: Any
    logits: dict[str, Any]
    closed_form: dict[str, dict[str, Any]]
    automatic: dict[str, dict[str, Any]]
    largest: Any
    relative: Any


def analyze(
    take_apart: Imbalance,
    batches: Iterable[tuple[Mapping[str, Any], Any]],
    class_names: Sequence[str],
    scales: Sequence[float] = SCALES,
) -> dict[str, Any]:
    """Takes a network's gradients apart on some clips.

    Every clip is looked at by itself, and every batch as a whole: each is one pass through the
    network and two back, in closed form and by automatic differentiation.

    Args:
      take_apart: Of the network.
      batches: Of (`{modality: [B, ...]}`, integer labels `[B]`), of any sizes.
      class_names: Of all classes.
      scales: How loud the stronger modality is made, in `what_if`.

    Returns:
      Plain values, for JSON:
      * `fusion`, `modalities`, `class_names`, `num_clips`;
      * `stronger`, `weaker`: modalities of highest and lowest mean probability of the true class;
      * `all`: means over the clips: `probability` of the true class; `shared_factor`, the size of
        the true class's entry, 1 - probability; and for each of `modalities`: `true_class_logit`,
        `lead` over the mean of the classes, `share` of the fused lead (None where that is not
        above 0), own `probability`, and `gradients` and `automatic_gradients`, norms of a clip's
        gradients by kind: "kernel" (W), "bias" (b), "feature" (phi), "encoder" (theta);
      * `classes`: the same for each class that has clips, by name;
      * `batches`: the same, but for norms of the gradients of the batch's mean loss, one by one;
      * `largest_difference` between both ways of any number of any gradient, of batches and clips;
        `relative_difference`, the largest norm of the difference of a gradient of a batch, divided
        by the gradient's own;
      * `what_if`: `scales`, and mean norms of the gradient that reaches the weaker encoder's output
        ("feature") for each scale: of `all` clips, of those the stronger modality alone gets
        `right` and of those it gets `wrong` (None where there are none);
      * `clips`: for each, the stronger modality's own `strong_probability` of the true class, and
        the norm of the weaker encoder's gradient, `weak_gradient`.

    Raises:
      ValueError: where there is no clip.
    """
    measure = None
    parts, described = [], []
    for inputs, labels in batches:
        inputs = {name: tf.convert_to_tensor(inputs[name]) for name in take_apart.modalities}
        labels = tf.convert_to_tensor(labels)
        measure = measure or _measure(take_apart, inputs, labels)
        whole = measure(inputs, labels)
        rows = [
            measure({name: value[row : row + 1] for name, value in inputs.items()}, label)
            for row, label in enumerate(tf.split(labels, len(labels)))
        ]
        parts.append(_joined(rows))
        described.append(_describe_batch(_joined([whole]), parts[-1]))
    if not parts:
        raise ValueError("There must be clips to analyse. Received: no batch.")
    clips = _joined(parts)
    scores = {name: _probabilities(logits, clips.labels) for name, logits in clips.logits.items()}
    stronger, *_, weaker = sorted(scores, key=lambda name: -scores[name].mean())
    return {
        "fusion": type(take_apart.model.fusion).__name__,
        "modalities": list(take_apart.modalities),
        "class_names": list(class_names),
        "num_clips": len(clips.labels),
        "stronger": stronger,
        "weaker": weaker,
        "all": _describe(clips),
        "classes": {
            name: _describe(_chosen(clips, clips.labels == label))
            for label, name in enumerate(class_names)
            if (clips.labels == label).any()
        },
        "batches": described,
        "largest_difference": max(batch["largest_difference"] for batch in described),
        "relative_difference": max(batch["relative_difference"] for batch in described),
        "what_if": _what_if(take_apart, clips, stronger, weaker, scales),
        "clips": {
            "strong_probability": scores[stronger].tolist(),
            "weak_gradient": clips.closed_form[weaker]["encoder"].tolist(),
        },
    }


def _measure(take_apart: Imbalance, inputs: Mapping[str, tf.Tensor], labels: tf.Tensor):
    """Returns what measures any number of clips such as these, in one graph.

    The norms are part of it, for a network's gradients are many and large.
    """
    signature = tf.nest.map_structure(
        lambda value: tf.TensorSpec([None, *value.shape[1:]], value.dtype), (dict(inputs), labels)
    )
    return tf.function(
        lambda inputs, labels: _measured(take_apart(inputs, labels), labels), signature
    )


def _measured(analysis: Analysis, labels: tf.Tensor) -> _Measured:
    largest, relative = differences(analysis)
    return _Measured(
        labels=labels,
        logits=analysis.parts,
        closed_form={name: _norms(own) for name, own in analysis.closed_form.items()},
        automatic={name: _norms(own) for name, own in analysis.automatic.items()},
        largest=largest,
        relative=relative,
    )


def differences(analysis: Analysis) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how far closed form and automatic differentiation are apart.

    Returns:
      The largest difference of any number of any gradient; and the largest norm of the difference
      of a gradient, divided by the gradient's own.
    """
    largest, relative = [], []
    for name, closed_form in analysis.closed_form.items():
        for one, other in zip(closed_form, analysis.automatic[name], strict=True):
            pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
            apart = [own - others for own, others in pairs]
            largest += [tf.reduce_max(tf.abs(tf.cast(own, tf.float64))) for own in apart]
            relative.append(tf.math.divide_no_nan(_norm(apart), _norm(tf.nest.flatten(other))))
    return tf.reduce_max(largest), tf.reduce_max(relative)


def _joined(parts: Sequence[_Measured]) -> _Measured:
    return tf.nest.map_structure(lambda *own: np.concatenate(list(map(np.atleast_1d, own))), *parts)


def _chosen(clips: _Measured, rows: np.ndarray) -> _Measured:
    return tf.nest.map_structure(lambda values: values[rows], clips)


def _describe(clips: _Measured) -> dict[str, Any]:
    """Returns means over clips."""
    labels = clips.labels
    fused = np.sum(list(clips.logits.values()), axis=0)
    probability = _probabilities(fused, labels).mean()
    leads = {
        name: float(np.mean(imbalance.leads(logits, labels)))
        for name, logits in clips.logits.items()
    }
    fused_lead = sum(leads.values())
    modalities = {}
    for name, logits in clips.logits.items():
        modalities[name] = {
            "true_class_logit": float(logits[np.arange(len(labels)), labels].mean()),
            "lead": leads[name],
            "share": leads[name] / fused_lead if fused_lead > 0 else None,
            "probability": float(_probabilities(logits, labels).mean()),
            "gradients": _means(clips.closed_form[name]),
            "automatic_gradients": _means(clips.automatic[name]),
        }
    return {
        "num_clips": len(labels),
        "probability": float(probability),
        "shared_factor": float(1 - probability),
        "modalities": modalities,
        "largest_difference": float(clips.largest.max()),
    }


def _describe_batch(whole: _Measured, clips: _Measured) -> dict[str, Any]:
    """Returns means over a batch's clips, and norms of the gradients of its mean loss."""
    described = _describe(clips)
    for name, own in described["modalities"].items():
        own["gradients"] = _means(whole.closed_form[name])
        own["automatic_gradients"] = _means(whole.automatic[name])
    largest = max(clips.largest.max(), whole.largest.max())
    relative = float(whole.relative.max())
    return described | {"largest_difference": float(largest), "relative_difference": relative}


def _what_if(
    take_apart: Imbalance, clips: _Measured, stronger: str, weaker: str, scales: Sequence[float]
) -> dict[str, Any]:
    """Returns what reaches the weaker encoder if the stronger modality were louder or quieter."""
    kernel, _ = take_apart.model.fusion.heads[take_apart.modalities.index(weaker)]
    shared = imbalance.what_if(clips.logits, clips.labels, stronger, scales)
    gradients = tf.linalg.matmul(shared, kernel, transpose_b=True)
    norms = tf.norm(gradients, axis=-1).numpy()
    is_right = clips.logits[stronger].argmax(axis=-1) == clips.labels
    return {
        "scales": list(scales),
        "all": norms.mean(axis=1).tolist(),
        "right": norms[:, is_right].mean(axis=1).tolist() if is_right.any() else None,
        "wrong": norms[:, ~is_right].mean(axis=1).tolist() if not is_right.all() else None,
        "num_right": int(is_right.sum()),
    }


def _norms(gradients: Gradients) -> dict[str, tf.Tensor]:
    return {kind: _norm(tf.nest.flatten(own)) for kind, own in gradients._asdict().items()}


def _norm(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    # In double precision, for squares of small numbers.
    squares = [tf.reduce_sum(tf.square(tf.cast(own, tf.float64))) for own in tensors]
    return tf.sqrt(tf.add_n(squares)) if squares else tf.zeros([], tf.float64)


def _means(norms: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {kind: float(own.mean()) for kind, own in norms.items()}


def _probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the probability of the true class, `[N]`."""
    return tf.gather(tf.nn.softmax(logits), labels, batch_dims=1).numpy()
