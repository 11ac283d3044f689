"""What `Imbalance` finds of many clips, as plain numbers: batch by batch, class by class."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ogm_tf.analysis import imbalance
from ogm_tf.analysis.imbalance import Analysis, Gradients, Imbalance
from ogm_tf.model import OGMModel

SCALES = tuple(step / 4 for step in range(9))


@dataclasses.dataclass(frozen=True)
class _Clips:
    """What is known of N clips, one by one.

    Args:
      labels: `[N]`.
      logits: Each modality's, `[N, C]`.
      closed_form: Norm of every modality's gradients by kind, `[N]`.
      automatic: The same by automatic differentiation.
      difference: Largest between the two, over all numbers of a clip's gradients, `[N]`.
    """

    labels: np.ndarray
    logits: dict[str, np.ndarray]
    closed_form: dict[str, dict[str, np.ndarray]]
    automatic: dict[str, dict[str, np.ndarray]]
    difference: np.ndarray

    @property
    def fused(self) -> np.ndarray:
        """Fused logits, `[N, C]`."""
        return np.sum(list(self.logits.values()), axis=0)


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
    parts, described = [], []
    for inputs, labels in batches:
        inputs = {name: tf.convert_to_tensor(inputs[name]) for name in take_apart.modalities}
        labels = tf.convert_to_tensor(labels)
        whole = take_apart(inputs, labels)
        rows = [
            take_apart({name: value[row : row + 1] for name, value in inputs.items()}, label)
            for row, label in enumerate(tf.split(labels, len(labels)))
        ]
        parts.append(_clips(rows, labels.numpy()))
        described.append(_describe_batch(whole, parts[-1]))
    if not parts:
        raise ValueError("There must be clips to analyse. Received: no batch.")
    columns = tf.nest.map_structure(lambda *own: np.concatenate(own), *map(vars, parts))
    clips = _Clips(**columns)
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
        "what_if": _what_if(take_apart.model, clips, stronger, weaker, scales),
        "clips": {
            "strong_probability": scores[stronger].tolist(),
            "weak_gradient": clips.closed_form[weaker]["encoder"].tolist(),
        },
    }


def _clips(rows: Sequence[Analysis], labels: np.ndarray) -> _Clips:
    """Returns what single clips' analyses say."""
    names = rows[0].parts

    def norms(way: str) -> dict[str, dict[str, np.ndarray]]:
        found = {name: [_norms(getattr(row, way)[name]) for row in rows] for name in names}
        return {
            name: {kind: np.array([norm[kind] for norm in own]) for kind in own[0]}
            for name, own in found.items()
        }

    return _Clips(
        labels=labels,
        logits={name: np.concatenate([row.parts[name] for row in rows]) for name in names},
        closed_form=norms("closed_form"),
        automatic=norms("automatic"),
        difference=np.array([_differences(row)[0] for row in rows]),
    )


def _chosen(clips: _Clips, rows: np.ndarray) -> _Clips:
    return _Clips(**tf.nest.map_structure(lambda values: values[rows], vars(clips)))


def _describe(clips: _Clips) -> dict[str, Any]:
    """Returns means over clips."""
    labels = clips.labels
    probability = _probabilities(clips.fused, labels).mean()
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
        "largest_difference": float(clips.difference.max()),
    }


def _describe_batch(analysis: Analysis, clips: _Clips) -> dict[str, Any]:
    """Returns means over a batch's clips, and norms of the gradients of its mean loss."""
    described = _describe(clips)
    largest, relative = _differences(analysis)
    for name, own in described["modalities"].items():
        own["gradients"] = _norms(analysis.closed_form[name])
        own["automatic_gradients"] = _norms(analysis.automatic[name])
    described["largest_difference"] = max(described["largest_difference"], largest)
    return {**described, "relative_difference": relative}


def _what_if(
    model: OGMModel, clips: _Clips, stronger: str, weaker: str, scales: Sequence[float]
) -> dict[str, Any]:
    """Returns what reaches the weaker encoder if the stronger modality were louder or quieter."""
    kernel = dict(zip(clips.logits, model.fusion.heads, strict=True))[weaker][0]
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


def _norms(gradients: Gradients) -> dict[str, float]:
    return {kind: _norm(tf.nest.flatten(own)) for kind, own in gradients._asdict().items()}


def _norm(tensors: Sequence[tf.Tensor]) -> float:
    # In double precision, for squares of small numbers.
    squares = (float(tf.reduce_sum(tf.square(tf.cast(own, tf.float64)))) for own in tensors)
    return math.sqrt(sum(squares))


def _differences(analysis: Analysis) -> tuple[float, float]:
    """Returns the largest difference of a number, and of a gradient relative to its norm."""
    largest, relative = 0.0, 0.0
    for name, closed_form in analysis.closed_form.items():
        for one, other in zip(closed_form, analysis.automatic[name], strict=True):
            pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
            differences = [own - others for own, others in pairs]
            largest = max([largest, *(float(tf.reduce_max(tf.abs(own))) for own in differences)])
            if size := _norm(tf.nest.flatten(other)):
                relative = max(relative, _norm(differences) / size)
    return largest, relative


def _means(norms: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {kind: float(own.mean()) for kind, own in norms.items()}


def _probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the probability of the true class, `[N]`."""
    return tf.gather(tf.nn.softmax(logits), labels, batch_dims=1).numpy()
