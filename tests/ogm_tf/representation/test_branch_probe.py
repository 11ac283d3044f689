"""Probes of encoders: their optimum, what they may see, and that training goes on as without."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.layers import Dropout
from ogm_tf.representation import branch_probe, probe
from ogm_tf.representation.probe_curve import ProbeCurve
from tests.ogm_tf import tiny_models


def test_ridge_of_two_points_by_hand():
    # Targets of class 1 are -1/2 and 1/2 around their mean: X'Y = 1, X'X = 2, and n s = 2 s.
    weights, strength = branch_probe.fit_ridge(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2, [3])
    np.testing.assert_allclose(weights, [[-1 / 8, 1 / 8], [0.5, 0.5]])
    assert strength == 3


@pytest.mark.parametrize("num_features", [3, 30])
def test_ridge_and_its_strength_are_those_of_explicit_least_squares(num_features):
    random = np.random.default_rng(0)
    labels = np.arange(20) % 3
    features = np.eye(num_features)[labels] * 0.6 + random.normal(size=(20, num_features)) + 2
    targets = np.eye(4)[labels]

    def solve(rows, strength):
        # Rows of its own for the penalty, and none of them for the biases.
        penalty = np.sqrt(20 * strength) * np.eye(num_features + 1)[:-1]
        left = np.vstack([np.hstack([features[rows], np.ones((len(rows), 1))]), penalty])
        right = np.vstack([targets[rows], np.zeros((num_features, 4))])
        return np.linalg.lstsq(left, right, rcond=None)[0]

    strengths = (1e-3, 0.03, 0.3, 3.0)
    errors = []
    for strength in strengths:
        left_out = 0.0
        for sample in range(20):
            weights = solve(np.delete(np.arange(20), sample), strength)
            left_out += np.sum((probe.scores(features[sample], weights) - targets[sample]) ** 2)
        errors.append(left_out)
    weights, strength = branch_probe.fit_ridge(features, labels, 4, strengths)
    assert strength == strengths[np.argmin(errors)] and 0 < np.argmin(errors)
    np.testing.assert_allclose(weights, solve(np.arange(20), strength), atol=1e-9)


def _splits(num_classes, size, signal):
    random = np.random.default_rng(0)
    counts = {"train": 300, "validation": 500, "test": 1500}
    labels = {name: random.integers(0, num_classes, count) for name, count in counts.items()}
    features = {
        name: np.eye(size)[own] * signal + random.normal(size=(len(own), size)) * (not signal)
        for name, own in labels.items()
    }
    return features, labels


@pytest.mark.parametrize(("signal", "expected"), [(1.0, 1.0), (0.0, 0.25)])
def test_labels_that_features_carry_are_read_and_others_guessed(signal, expected):
    features, labels = _splits(4, 6, signal)
    found = branch_probe.probe_splits(features, labels).accuracies
    quick = branch_probe.ridge_accuracy(
        (features["train"], labels["train"]), (features["test"], labels["test"]), 4
    )
    # Three standard deviations of 1,500 guesses.
    tolerance = 3 * np.sqrt(expected * (1 - expected) / 1500)
    assert found["test"] == pytest.approx(expected, abs=tolerance)
    assert quick == pytest.approx(expected, abs=tolerance)
    assert found["train"] >= found["test"]


def test_nothing_but_the_training_split_reaches_the_classifier():
    features, labels = _splits(3, 5, 0.0)
    for name, own in labels.items():
        features[name] = features[name] + np.eye(5)[own]
    found = branch_probe.probe_splits(features, labels, costs=(1e-3, 1e-2, 1e-1))
    # One normal number of mean 1 is above two of mean 0 in 63.4 % of cases.
    assert found.accuracies["test"] == pytest.approx(0.634, abs=0.04)
    others = (
        {**features, "test": features["test"] * 1e3 + 7},
        {**labels, "test": 0 * labels["test"]},
    )
    changed = branch_probe.probe_splits(*others, costs=(1e-3, 1e-2, 1e-1))
    assert changed.cost == found.cost
    for name in ("train", "validation"):
        assert changed.accuracies[name] == found.accuracies[name]
    # The same by the parts it is made of.
    mean, deviation = features["train"].mean(axis=0), features["train"].std(axis=0)
    weights = probe.fit_softmax((features["train"] - mean) / deviation, labels["train"], found.cost)
    predicted = probe.scores((features["test"] - mean) / deviation, weights).argmax(axis=1)
    assert found.accuracies["test"] == np.mean(predicted == labels["test"])


def test_features_that_are_not_finite_are_refused_or_no_number():
    features, labels = _splits(3, 4, 1.0)
    features["validation"][3, 1] = np.inf
    with pytest.raises(ValueError, match="Received: features that are not of validation, costs"):
        branch_probe.probe_splits(features, labels)
    pairs = [(features[name], labels[name]) for name in ("train", "validation")]
    assert np.isnan(branch_probe.ridge_accuracy(*pairs, 3))
    with pytest.raises(ValueError, match=r"not of no split, costs=\(0.0,\)"):
        branch_probe.probe_splits({"train": features["train"]}, labels, costs=(0.0,))


NAMES = ("visual", "audio")


def _encoder(name):
    inputs = keras.layers.Input((6,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="tanh")(inputs))
    return keras.Model(inputs, Dropout(0.3, seed=len(name))(x), name=name)


def _model():
    keras.utils.set_random_seed(1)
    model = ogm_tf.OGMModel(
        {name: _encoder(name) for name in NAMES},
        ogm_tf.fusion.Concat(num_classes=tiny_models.CLASSES),
    )
    model({name: tf.zeros([1, 6]) for name in NAMES})
    return model


def _weighted(inputs, labels, batch=8):
    """Batches of a split, the last one filled with rows of weight 0."""
    missing = -len(labels) % batch
    inputs = {name: np.pad(values, [(0, missing), (0, 0)]) for name, values in inputs.items()}
    weights = np.pad(np.ones(len(labels), np.float32), (0, missing))
    labels = np.pad(labels, (0, missing))
    return tf.data.Dataset.from_tensor_slices((inputs, labels, weights)).batch(batch)


def _encoder_weights(model):
    return {name: encoder.get_weights() for name, encoder in model.encoders.items()}


def _accuracies(model, weights, training, validation):
    """What a probe finds, by hand, of encoders of these weights."""
    found = {}
    for name, own in weights.items():
        alone = type(model.encoders[name]).from_config(model.encoders[name].get_config())
        alone.set_weights(own)
        described = [
            (alone(inputs[name], training=False).numpy(), labels)
            for inputs, labels in (training, validation)
        ]
        found[name] = branch_probe.ridge_accuracy(*described, tiny_models.CLASSES)
    return found


def _fit(model, training, validation, every_epochs, look=lambda: None, epochs=5):
    watch = ()
    if every_epochs:
        watch = (
            ProbeCurve(
                model.encoders,
                _weighted(*training),
                _weighted(*validation),
                tiny_models.CLASSES,
                every_epochs,
            ),
        )
    rows = []
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: (rows.append(dict(logs)), look())
    )
    with model.distribute_strategy.scope():
        tiny_models.compiled(model)
    model.fit(tiny_models.dataset(), epochs=epochs, callbacks=[*watch, recorder], verbose=0)
    return rows


def test_probes_while_training_say_what_the_encoders_know_and_change_nothing():
    training, validation = tiny_models.data(43, seed=1), tiny_models.data(30, seed=2)
    plain, probed = _model(), _model()
    weights = []
    expected = _fit(plain, training, validation, 0, lambda: weights.append(_encoder_weights(plain)))
    rows = _fit(probed, training, validation, 2)
    assert len(plain.weights) == len(probed.weights) > 10
    for one, other in zip(plain.weights, probed.weights, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes(), one.name
    names = {f"val_{name}_probe_accuracy" for name in NAMES}
    assert [names & row.keys() for row in rows] == [set(), names, set(), names, set()]
    assert [{k: v for k, v in row.items() if k not in names} for row in rows] == expected
    # What they say of the encoders as four epochs left them.
    accuracies = _accuracies(plain, weights[3], training, validation)
    assert {name: rows[3][f"val_{name}_probe_accuracy"] for name in NAMES} == accuracies
    # The first modality carries the class.
    assert rows[3]["val_visual_probe_accuracy"] > 0.7 > rows[3]["val_audio_probe_accuracy"]
    with pytest.raises(ValueError, match="Received: every_epochs=0"):
        ProbeCurve({}, None, None, 3, 0)


@pytest.mark.slow
def test_probes_work_beside_replicas(mirrored):
    training, validation = tiny_models.data(24, seed=1), tiny_models.data(16, seed=2)
    with mirrored.scope():
        model = _model()
    rows = _fit(model, training, validation, 1, epochs=1)
    accuracies = _accuracies(model, _encoder_weights(model), training, validation)
    assert {name: rows[0][f"val_{name}_probe_accuracy"] for name in NAMES} == accuracies


def test_with_zeros_in_place_of_the_others_a_network_is_one_encoder_and_a_linear_head():
    batches = tiny_models.dataset(4, names=("visual",))
    padded = batches.map(
        lambda inputs, labels: (
            {"audio": tf.zeros([8, 9, 8, 1]), "flow": tf.zeros([8, 1, 16, 16, 2]), **inputs},
            labels,
        )
    )
    keras.utils.set_random_seed(2)
    encoders = {
        "audio": ogm_tf.encoders.small_cnn((9, 8, 1), channels=(2,), name="audio"),
        "flow": ogm_tf.encoders.resnet18((1, 16, 16, 2), width=1, blocks_per_stage=1, name="flow"),
        "visual": _encoder("visual"),
    }
    alone = _encoder("visual")
    alone.set_weights(encoders["visual"].get_weights())
    model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(num_classes=tiny_models.CLASSES))
    inputs = next(iter(padded))[0]
    model(inputs)
    head = keras.layers.Dense(tiny_models.CLASSES)
    plain = keras.Sequential([alone, head])
    plain.build((None, 6))
    head.set_weights([model.fusion.kernel[-5:], model.fusion.bias])

    def optimizer():
        return ogm_tf.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-2)

    tiny_models.compiled(model, optimizer()).fit(padded, epochs=2, verbose=0)
    plain.compile(optimizer(), tiny_models.logits_loss())
    plain.fit(batches.map(lambda own, labels: (own["visual"], labels)), epochs=2, verbose=0)
    for name in ("audio", "flow"):
        assert not np.any(model.encoders[name](inputs[name], training=True))
    for one, other in zip(plain.weights[:6], encoders["visual"].weights[:6], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(head.kernel, model.fusion.kernel[-5:], atol=1e-6)
    np.testing.assert_allclose(model(inputs), plain(inputs["visual"], training=False), atol=1e-5)
