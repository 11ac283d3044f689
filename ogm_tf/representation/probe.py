"""A linear probe: how well labels can be read off frozen features, fold by fold.

Features of several windows of each clip, labels and folds in; accuracies out. Every fold is
predicted by a linear classifier of the others' windows, and a clip's score is the mean of its
windows'. Nothing of a fold reaches the classifier that predicts it: features are standardised, and
the classifier's C is chosen, on the training folds alone.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

CLASSIFIERS = ("softmax", "linear_svm")
COSTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Share of the training clips that C is chosen on.
_HELD_OUT = 0.25
# A feature that varies less than this, next to its size, is constant but for rounding.
_CONSTANT = 1e-6

# Takes features [windows, D], labels [windows] and C; returns [D + 1, K], the last row the biases.
Fit = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Args:
      folds: Numbers of the folds.
      accuracies: Share of each fold's clips that were predicted rightly.
      costs: The C that was chosen for each fold.
    """

    folds: tuple[int, ...]
    accuracies: tuple[float, ...]
    costs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the folds' accuracies."""
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float:
        """Standard deviation of the folds' accuracies, of the folds as they are (divided by n)."""
        return float(np.std(self.accuracies))


def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    *,
    groups: Sequence[object] | None = None,
    classifier: str = "softmax",
    costs: Sequence[float] = COSTS,
    seed: int = 0,
) -> ProbeResult:
    """Predicts each fold by a probe of the other folds.

    Args:
      features: `[clips, windows, D]`, finite.
      labels: int `[clips]`, in [0, K).
      folds: int `[clips]`, of at least two folds.
      groups: Of each clip, such as its recording: C is chosen on clips whose groups are on one
        side only; None: every clip is a group of its own.
      classifier: One of `CLASSIFIERS`: "softmax", multinomial logistic regression; "linear_svm",
        scikit-learn's LinearSVC, which must be installed.
      costs: Values of C to choose from, > 0: a classifier minimises |W|^2 / 2 + C * (the sum of
        its windows' losses).
      seed: Of the split that C is chosen on.

    Raises:
      ValueError: where an argument is of a wrong kind, or a class has no clip outside of a fold.
      ImportError: where scikit-learn is wanted and not installed.
    """
    require_installed(classifier)
    fit = fit_softmax if classifier == "softmax" else fit_linear_svm
    features = np.asarray(features, np.float64)
    labels, folds = np.asarray(labels), np.asarray(folds)
    groups = list(range(len(labels)) if groups is None else groups)
    _check(features, labels, folds, groups, costs)
    numbers = np.unique(folds)
    accuracies, chosen = [], []
    for number in numbers:
        training = folds != number
        own_groups = [groups[clip] for clip in np.flatnonzero(training)]
        chosen.append(
            choose_cost(fit, features[training], labels[training], own_groups, costs, seed)
        )
        accuracies += _accuracies(fit, features, labels, training, chosen[-1:])
    return ProbeResult(tuple(numbers.tolist()), tuple(accuracies), tuple(chosen))


def require_installed(classifier: str) -> None:
    """Checks that a classifier can be used here.

    Raises:
      ValueError: where it is not one of `CLASSIFIERS`.
      ImportError: where it needs scikit-learn, which is not installed.
    """
    if classifier not in CLASSIFIERS:
        raise ValueError(
            f"`classifier` must be one of {', '.join(CLASSIFIERS)}. "
            f"Received: classifier={classifier!r}."
        )
    if classifier == "linear_svm" and importlib.util.find_spec("sklearn") is None:
        raise ImportError(
            "The classifier 'linear_svm' needs scikit-learn: pip install 'ogm-tf[probe]'. The "
            f"classifier 'softmax' needs nothing. Received: classifier={classifier!r}."
        )


def scores(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the linear scores `[..., K]` of features `[..., D]`, by weights `[D + 1, K]`."""
    return features @ weights[:-1] + weights[-1]


def clip_scores(window_scores: np.ndarray) -> np.ndarray:
    """Returns the scores of clips, `[clips, K]`: means over `[clips, windows, K]`."""
    return np.mean(window_scores, axis=1)


def standardize(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Subtracts the mean and divides by the deviation that features have in training.

    Args:
      features: `[clips, windows, D]`.
      training: bool `[clips]`: the clips whose mean and deviation are used.

    Returns:
      `[clips, windows, D]`; a feature that is constant in training is not divided.
    """
    rows = features[training].reshape(-1, features.shape[-1])
    mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0)
    varies = deviation > _CONSTANT * np.maximum(1.0, np.abs(mean))
    return (features - mean) / np.where(varies, deviation, 1.0)


def hold_out(
    labels: np.ndarray, groups: Sequence[object], fraction: float, seed: int
) -> np.ndarray:
    """Chooses clips to hold out: whole groups, about as many of each class.

    Args:
      labels: int `[clips]`.
      groups: Of each clip.
      fraction: Share of each class' clips, in (0, 1); never all of them.
      seed: Of the choice.

    Returns:
      bool `[clips]`; none is true where every class has only one group.
    """
    counts = np.bincount(labels)
    room = np.clip(np.round(fraction * counts), 1, np.maximum(counts - 1, 1)) * (counts > 1)
    members: dict[object, list[int]] = {}
    for clip, group in enumerate(groups):
        members.setdefault(group, []).append(clip)
    held_out = np.zeros(len(labels), bool)
    of_groups = list(members.values())
    for place in np.random.default_rng(seed).permutation(len(of_groups)):
        taken = np.bincount(labels[of_groups[place]], minlength=len(counts))
        if np.all(taken <= room):
            held_out[of_groups[place]] = True
            room -= taken
    return held_out


def fit_softmax(
    features: np.ndarray,
    labels: np.ndarray,
    cost: float,
    tolerance: float = 3e-4,
    max_steps: int = 300,
) -> np.ndarray:
    """Fits a multinomial logistic regression, whose biases are not regularised.

    Args:
      features: `[windows, D]`.
      labels: int `[windows]`, each class from 0 to the largest at least once.
      cost: C of |W|^2 / 2 + C * (sum of the windows' cross-entropies), > 0.
      tolerance: Largest slope at which it is done, of that over C * windows, where the place is
        measured in units in which the curvature is at most 1.
      max_steps: At which it is done anyway.

    Returns:
      `[D + 1, K]`: the weights W, and the biases in the last row.
    """
    num_windows, size = features.shape
    inputs = np.hstack([features, np.ones((num_windows, 1))])
    targets = np.eye(labels.max() + 1)[labels]
    decay = np.append(np.full(size, 1 / (cost * num_windows)), 0.0)
    # Half of the inputs' second moments are at least the curvature, whatever the weights
    # (Boehning, 1992). In these units a step as long as the slope never goes too far.
    bounds, axes = np.linalg.eigh(inputs.T @ inputs / (2 * num_windows) + np.diag(decay))
    units = axes / np.sqrt(bounds)
    inputs = inputs @ units
    penalty = units.T @ (decay[:, np.newaxis] * units)
    place = ahead = np.zeros((size + 1, targets.shape[1]))
    momentum = 1.0
    for _ in range(max_steps):
        logits = inputs @ ahead
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        errors = exponentials / exponentials.sum(axis=1, keepdims=True) - targets
        slope = inputs.T @ errors / num_windows + penalty @ ahead
        if np.max(np.abs(slope)) <= tolerance:
            break
        # Nesterov's accelerated descent, begun anew where it would climb.
        before, place = place, ahead - slope
        momentum = 1.0 if np.sum(slope * (place - before)) > 0 else momentum
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, momentum = place + (momentum - 1) / after * (place - before), after
    return units @ ahead


def fit_linear_svm(features: np.ndarray, labels: np.ndarray, cost: float) -> np.ndarray:
    """Fits one linear support vector machine a class against the others, with squared hinge loss.

    Args:
      features: Standardised, `[windows, D]`.
      labels: int `[windows]`, each class from 0 to the largest at least once.
      cost: C of (|W|^2 + |biases|^2) / 2 + C * (sum of the windows' losses), > 0.

    Returns:
      `[D + 1, K]`: the weights W, and the biases in the last row.
    """
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=cost, dual=False, random_state=0).fit(features, labels)
    weights = np.vstack([machine.coef_.T, machine.intercept_])
    return weights if weights.shape[1] > 1 else np.hstack([-weights, weights])


def choose_cost(
    fit: Fit,
    features: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[object],
    costs: Sequence[float],
    seed: int,
) -> float:
    """Returns the C that predicts a quarter of the clips best, held out; of equals, the smallest.

    Args:
      fit: Of the classifier.
      features: `[clips, windows, D]`.
      labels: int `[clips]`.
      groups: Of each clip; a group is held out whole.
      costs: To choose from; the middle one where nothing can be held out.
      seed: Of what is held out.
    """
    costs = sorted(costs)
    held_out = hold_out(labels, groups, _HELD_OUT, seed)
    if len(costs) == 1 or not held_out.any():
        return costs[len(costs) // 2]
    return costs[int(np.argmax(_accuracies(fit, features, labels, ~held_out, costs)))]


def _accuracies(
    fit: Fit,
    features: np.ndarray,
    labels: np.ndarray,
    training: np.ndarray,
    costs: Sequence[float],
) -> list[float]:
    """Returns, for each C, the accuracy on the clips that are not for training."""
    features = standardize(features, training)
    rows = features[training].reshape(-1, features.shape[-1])
    row_labels = np.repeat(labels[training], features.shape[1])
    accuracies = []
    for cost in costs:
        window_scores = scores(features[~training], fit(rows, row_labels, cost))
        predicted = clip_scores(window_scores).argmax(axis=-1)
        accuracies.append(float(np.mean(predicted == labels[~training])))
    return accuracies


def _check(
    features: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    groups: Sequence[object],
    costs: Sequence[float],
) -> None:
    num_clips = len(features)
    if features.ndim != 3 or not features.size or not np.all(np.isfinite(features)):
        raise ValueError(
            "`features` must be finite, [clips, windows, D], none of them 0. "
            f"Received: shape {features.shape}."
        )
    if not labels.shape == folds.shape == (num_clips,) == (len(groups),) or labels.min() < 0:
        raise ValueError(
            f"Each of the {num_clips} clips must have a label >= 0, a fold and a group. Received: "
            f"labels {labels.shape}, folds {folds.shape}, {len(groups)} groups."
        )
    if not len(costs) or min(costs) <= 0:
        raise ValueError(f"`costs` must be > 0. Received: costs={tuple(costs)}.")
    for number in np.unique(folds):
        lacking = np.setdiff1d(np.arange(labels.max() + 1), labels[folds != number])
        if len(lacking):
            raise ValueError(
                "Every class must have clips in at least two folds. Received: no clip of the "
                f"classes {lacking.tolist()} outside of fold {number}."
            )
