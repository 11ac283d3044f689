"""Linear probes of a network's encoders: how well labels can be read off what each of them says.

    describe = branch_probe.describer(model.encoders)
    described = {split: describe(batches) for split, batches in datasets.items()}
    found = branch_probe.probe_splits(
        {split: part.features["visual"] for split, part in described.items()},
        {split: part.labels for split, part in described.items()},
    )
    found.accuracies["test"]

Of two classifiers, `probe_splits` fits a logistic regression by descent, for a last word, and
`fit_ridge` a least-squares classifier in closed form, for many words while a network is trained.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.representation import probe

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Described(NamedTuple):
    """What encoders say of some samples.

    Args:
      features: float32 `[samples, D]` of each encoder.
      labels: int `[samples]`.
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class SplitProbe:
    """What a probe found.

    Args:
      cost: The C that was chosen.
      accuracies: Share of each split's samples that were predicted rightly; of the training split
        itself, how well the classifier fits it.
    """

    cost: float
    accuracies: dict[str, float]


def describer(
    encoders: Mapping[str, keras.Model],
) -> Callable[[Iterable[tuple[Any, ...]]], Described]:
    """Returns what describes batches by encoders, in inference mode.

    Args:
      encoders: Each `[B, ...] -> [B, D]`, by the name of its input.

    Returns:
      A function of batches `({name: [B, ...]}, labels int [B], weights [B])`, whose rows of weight
      0 it leaves out. Weights that are trained on between two calls count.
    """

    @tf.function
    def forward(inputs):
        return {
            name: tf.cast(encoder(inputs[name], training=False), tf.float32)
            for name, encoder in encoders.items()
        }

    def describe(batches):
        features, labels = {name: [] for name in encoders}, []
        for inputs, batch_labels, weights in batches:
            counted = weights.numpy() != 0
            labels.append(batch_labels.numpy()[counted])
            for name, values in forward({name: inputs[name] for name in encoders}).items():
                features[name].append(values.numpy()[counted])
        joined = {name: np.concatenate(values) for name, values in features.items()}
        return Described(joined, np.concatenate(labels))

    return describe


def probe_splits(
    features: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    *,
    training: str = "train",
    costs: Sequence[float] = probe.COSTS,
    seed: int = 0,
) -> SplitProbe:
    """Fits a logistic regression on one split and predicts all of them.

    Nothing of another split reaches the classifier: features are standardised on the training
    split, and C is chosen on a quarter of it, held out from the rest.

    Args:
      features: Of each split, `[samples, D]`, finite.
      labels: Of each split, int `[samples]`, from 0.
      training: Name of the training split.
      costs: Values of C to choose from, > 0; see `probe.cross_validate`.
      seed: Of the samples that C is chosen on.

    Raises:
      ValueError: where features or costs are out of their range.
    """
    bad = [name for name, values in features.items() if not np.all(np.isfinite(values))]
    if bad or not len(costs) or min(costs) <= 0:
        raise ValueError(
            "Features must be finite, and `costs` > 0. Received: "
            f"features that are not of {', '.join(bad) or 'no split'}, costs={tuple(costs)}."
        )
    names = list(features)
    own = np.concatenate([np.full(len(labels[name]), name == training) for name in names])
    all_labels = np.concatenate([labels[name] for name in names])
    values = np.concatenate([features[name] for name in names]).astype(np.float64)
    values = values[:, np.newaxis]
    cost = probe.choose_cost(
        probe.fit_softmax, values[own], all_labels[own], range(np.sum(own)), costs, seed
    )
    values = probe.standardize(values, own)[:, 0]
    weights = probe.fit_softmax(values[own], all_labels[own], cost)
    is_right = probe.scores(values, weights).argmax(axis=-1) == all_labels
    parts = np.split(is_right, np.cumsum([len(labels[name]) for name in names])[:-1])
    return SplitProbe(
        cost, {name: float(np.mean(part)) for name, part in zip(names, parts, strict=True)}
    )


def fit_ridge(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[np.ndarray, float]:
    """Fits a least-squares classifier to one-hot labels, in closed form.

    It minimises `sum_i |y_i - W' x_i - b|^2 + n s |W|^2` (ridge regression; Hoerl and Kennard,
    1970) by one singular value decomposition. The strength s is the one whose predictions of every
    sample by all others are closest; they too follow from that decomposition, for a sample's error
    without it is its error with it divided by 1 - h, h its own share in its prediction (Allen's
    PRESS, 1974; Rifkin and Lippert, "Notes on Regularized Least Squares", 2007).

    Args:
      features: `[n, D]`, finite, best standardised.
      labels: int `[n]`, in [0, K).
      num_classes: K.
      strengths: Values of s to choose from, > 0; of equals, the first.

    Returns:
      `[D + 1, K]`, W and in the last row b; and the strength.
    """
    num_samples = len(features)
    targets = np.eye(num_classes)[labels]
    center, mean_target = features.mean(axis=0), targets.mean(axis=0)
    left, sizes, right = np.linalg.svd(features - center, full_matrices=False)
    projected = left.T @ (targets - mean_target)
    best_error, best = np.inf, None
    for strength in strengths:
        damped = sizes**2 / (sizes**2 + num_samples * strength)
        errors = targets - mean_target - left @ (damped[:, np.newaxis] * projected)
        shares = 1 / num_samples + left**2 @ damped
        error = np.sum((errors / (1 - shares)[:, np.newaxis]) ** 2)
        if best is None or error < best_error:
            best_error, best = error, strength
    filtered = (sizes / (sizes**2 + num_samples * best))[:, np.newaxis] * projected
    weights = right.T @ filtered
    return np.vstack([weights, mean_target - center @ weights]), best


def ridge_accuracy(
    training: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray], classes: int
) -> float:
    """Returns the share of held-out samples that `fit_ridge` predicts rightly.

    Args:
      training: Features `[n, D]` and labels int `[n]` it is fitted to, and standardised on.
      held_out: The same of the samples it predicts.
      classes: Number of classes.

    Returns:
      In [0, 1]; NaN where a feature is not finite.
    """
    values = np.concatenate([training[0], held_out[0]]).astype(np.float64)
    if not np.all(np.isfinite(values)):
        return float("nan")
    own = np.arange(len(values)) < len(training[0])
    values = probe.standardize(values[:, np.newaxis], own)[:, 0]
    weights, _ = fit_ridge(values[own], training[1], classes)
    return float(np.mean(probe.scores(values[~own], weights).argmax(axis=-1) == held_out[1]))
