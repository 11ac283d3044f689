"""The linear probe: its optimum, what it may see, and how clips are scored."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.representation import probe


def _sounds(num_clips=40, num_classes=2, size=3, seed=0):
    """Features of two windows of each clip, in five folds, that show the class with some noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(num_clips) % num_classes
    folds = np.arange(num_clips) // num_classes % 5 + 1
    signal = np.eye(size)[labels][:, np.newaxis]
    return signal + random.normal(size=(num_clips, 2, size)) * 0.5, labels, folds


def test_the_softmax_probe_of_two_points_by_hand():
    # Weights (-w, w) of the points -1 and 1 lose ln(1 + exp(-2 w)) each; with w^2 / (2 C) added,
    # the slope is 0 where w (1 + exp(2 w)) = 2 C: at w = 1 for this C.
    cost = (1 + np.exp(2)) / 2
    weights = probe.fit_softmax(np.array([[-1.0], [1.0]]), np.array([0, 1]), cost, 1e-9)
    np.testing.assert_allclose(weights, [[-1, 1], [0, 0]], atol=1e-8)


@pytest.mark.parametrize("cost", [1e-3, 1.0])
def test_the_softmax_probe_ends_where_the_slope_is_zero(cost):
    random = np.random.default_rng(1)
    # Features of different sizes that go together, which neither lie around 0.
    features = random.normal(size=(60, 5)) @ random.normal(size=(5, 5)) + random.normal(size=5)
    labels = random.integers(0, 3, 60)
    weights = tf.Variable(probe.fit_softmax(features, labels, cost, 1e-9, 20_000))
    with tf.GradientTape() as tape:
        logits = tf.constant(features) @ weights[:-1] + weights[-1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        objective = tf.reduce_sum(weights[:-1] ** 2) / 2 + cost * tf.reduce_sum(losses)
    np.testing.assert_allclose(tape.gradient(objective, weights), np.zeros((6, 3)), atol=1e-6)


def test_the_linear_machines_end_where_the_slope_is_zero():
    pytest.importorskip("sklearn")
    features, labels, _ = _sounds(num_classes=3)
    weights = tf.Variable(probe.fit_linear_svm(features[:, 0], labels, 0.1))
    with tf.GradientTape() as tape:
        scores = tf.constant(features[:, 0]) @ weights[:-1] + weights[-1]
        hinges = tf.nn.relu(1 - (2 * tf.one_hot(labels, 3, dtype=tf.float64) - 1) * scores)
        objective = tf.reduce_sum(weights**2) / 2 + 0.1 * tf.reduce_sum(hinges**2)
    np.testing.assert_allclose(tape.gradient(objective, weights), np.zeros((4, 3)), atol=1e-2)
    # Of two classes, liblinear makes one machine.
    two = probe.fit_linear_svm(features[:, 0], labels % 2, 0.1)
    np.testing.assert_allclose(two[:, 0], -two[:, 1])


def test_without_scikit_learn_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'ogm-tf\[probe\]'.*Received: .*linear_svm"):
        probe.cross_validate(*_sounds(), classifier="linear_svm")


def test_standardisation_knows_the_training_clips_only():
    features = np.array([[[1.0, 6.0], [3.0, 6.0]], [[5.0, 6.0], [7.0, 6.0]], [[14.0, 7.0]] * 2])
    result = probe.standardize(features, np.array([True, True, False]))
    # Mean 4 and variance (9 + 1 + 1 + 9) / 4 of the first feature; the second is constant.
    expected = np.array([[-3, -1], [1, 3], [10, 10]]) / np.sqrt(5)
    np.testing.assert_allclose(result[..., 0], expected)
    np.testing.assert_allclose(result[..., 1], [[0, 0], [0, 0], [1, 1]])


def test_groups_are_held_out_whole_and_evenly():
    labels = np.repeat([0, 1, 2], [12, 12, 3])
    groups = [f"recording {place // 3}" for place in range(27)]
    chosen = [probe.hold_out(labels, groups, 0.25, seed) for seed in range(20)]
    for held_out in chosen:
        # A quarter of 12 is one recording; the only recording of the third class stays.
        assert np.bincount(labels[held_out], minlength=3).tolist() == [3, 3, 0]
        assert len({groups[place] for place in np.flatnonzero(held_out)}) == 2
    assert len({tuple(held_out) for held_out in chosen}) > 5
    np.testing.assert_array_equal(chosen[0], probe.hold_out(labels, groups, 0.25, 0))


def test_no_fit_sees_a_part_of_a_clip_or_of_a_recording_or_the_fold(monkeypatch):
    _, labels, folds = _sounds()
    groups = [f"{label} {fold}" for label, fold in zip(labels, folds, strict=True)]
    # The clip's own number is its feature: standardised, it is still in the same order.
    features = np.repeat(np.arange(40.0)[:, np.newaxis, np.newaxis], 2, axis=1)
    seen = []

    def fit(rows, row_labels, cost):
        seen.append(rows[:, 0])
        return np.zeros((2, 2))

    monkeypatch.setattr(probe, "fit_softmax", fit)
    probe.cross_validate(features, labels, folds, groups=groups, costs=(0.1, 1.0))
    assert len(seen) == 5 * 3
    for number, rows in enumerate(seen):
        values, counts = np.unique(rows, return_counts=True)
        # 32 clips train in a fold; of each class' 16 clips, of four groups of 4, one group is
        # held out for the choice of C.
        assert len(values) == (24 if number % 3 < 2 else 32) and set(counts) == {2}
        if number % 3 == 2:
            own = np.arange(40.0)[folds != number // 3 + 1]
            np.testing.assert_allclose(values, (own - own.mean()) / own.std())


def test_the_score_of_a_clip_is_the_mean_of_its_windows():
    windows = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 5.0]], [[3.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_allclose(probe.clip_scores(windows), [[2 / 3, 5 / 3], [1.0, 2 / 3]])


def test_the_fold_itself_changes_nothing_but_its_own_accuracy():
    features, labels, folds = _sounds()
    result = probe.cross_validate(features, labels, folds)
    assert result == probe.cross_validate(features, labels, folds)
    assert result.folds == (1, 2, 3, 4, 5)
    assert 0.7 < result.mean == pytest.approx(np.mean(result.accuracies))
    assert result.deviation == pytest.approx(np.std(result.accuracies))
    # The first fold is predicted by the same classifier whatever its labels say.
    turned = np.where(folds == 1, 1 - labels, labels)
    other = probe.cross_validate(features, turned, folds)
    assert other.accuracies[0] == pytest.approx(1 - result.accuracies[0])
    assert other.costs[0] == result.costs[0]


def test_accuracies_by_hand():
    # Class 0 lies at -1 and class 1 at 1, but for one clip of fold 2.
    labels, folds = np.array([0, 1] * 4), np.repeat([1, 2], 4)
    features = np.where(labels, 1.0, -1.0)
    features[4] = 1.0
    result = probe.cross_validate(features[:, np.newaxis, np.newaxis], labels, folds, costs=[1.0])
    assert result == probe.ProbeResult((1, 2), (1.0, 0.75), (1.0, 1.0))
    assert result.mean == 0.875 and result.deviation == 0.125


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.full((40, 2, 3), np.nan)}, r"finite.* Received: shape \(40, 2, 3\)"),
        ({"features": np.zeros((40, 3))}, r"Received: shape \(40, 3\)"),
        ({"labels": np.zeros(39, int)}, r"40 clips .* Received: labels \(39,\)"),
        ({"groups": ["one"]}, "Received: .* 1 groups"),
        ({"costs": (0.0,)}, r"`costs` .* Received: costs=\(0.0,\)"),
        ({"labels": np.arange(40) // 39}, r"Received: no clip of the classes \[1\] .* fold 5"),
        ({"classifier": "forest"}, "Received: classifier='forest'"),
    ],
)
def test_wrong_arguments(changes, message):
    features, labels, folds = _sounds()
    arguments = {"features": features, "labels": labels, "folds": folds, **changes}
    with pytest.raises(ValueError, match=message):
        probe.cross_validate(**arguments)
