"""The method against independent NumPy versions and hand-computed numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf import modulation
from ogm_tf.modulation import OGM, OGMGE
from ogm_tf.modulation.branches import modulated_names

FLOAT32_MAX = float(np.finfo(np.float32).max)


def numpy_score(logits, labels, weights=None):
    logits = np.asarray(logits, np.float64)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    weights = np.ones(len(labels)) if weights is None else weights
    return sum(w * p[label] for w, p, label in zip(weights, probabilities, labels, strict=True))


def numpy_ratios(scores):
    def ratio(a, b):
        return a / b if b else (1.0 if a == 0 else FLOAT32_MAX)

    return {
        name: sum(ratio(s, t) for other, t in scores.items() if other != name) / (len(scores) - 1)
        for name, s in scores.items()
    }


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_equal_numpy(batch, weighted):
    random = np.random.default_rng(0)
    logits = random.normal(size=(batch, 5), scale=3).astype(np.float32)
    labels = random.integers(0, 5, batch)
    weights = random.choice([0.0, 0.5, 2.0], batch).astype(np.float32) if weighted else None
    expected = numpy_score(logits, labels, weights)
    one_hot = np.eye(5, dtype=np.float32)[labels]
    for form in (labels, labels[:, None], one_hot):
        score = modulation.true_class_scores(tf.constant(logits), form, weights)
        assert float(score) == pytest.approx(expected, abs=1e-6)


def test_score_by_hand():
    logits = tf.math.log([[0.2, 0.8], [0.5, 0.5]])
    assert float(modulation.true_class_scores(logits, [1, 0])) == pytest.approx(1.3, abs=1e-6)
    assert float(modulation.true_class_scores(logits, [1, 0], [0.0, 2.0])) == pytest.approx(1.0)


def test_scores_of_sequences_count_every_step():
    logits = tf.math.log([[[0.2, 0.8], [0.5, 0.5]], [[0.9, 0.1], [0.3, 0.7]]])
    labels = tf.constant([[1, 0], [0, 1]])
    assert float(modulation.true_class_scores(logits, labels)) == pytest.approx(2.9, abs=1e-6)
    one_sample = modulation.true_class_scores(logits, labels, [1.0, 0.0])
    assert float(one_sample) == pytest.approx(1.3, abs=1e-6)


@pytest.mark.parametrize(
    ("logits_shape", "labels_shape"), [((4, 3), (3,)), ((4, 3), (4, 2)), ((4, 1), (4,))]
)
def test_scores_refuse_shapes_that_do_not_fit(logits_shape, labels_shape):
    with pytest.raises(ValueError, match="Received"):
        modulation.true_class_scores(tf.zeros(logits_shape), tf.zeros(labels_shape, tf.int32))


@pytest.mark.parametrize(
    "scores",
    [
        {"audio": 3.0, "visual": 2.0},
        {"audio": 2.0, "visual": 2.0},
        {"audio": 0.0, "visual": 0.0},
        {"audio": 1.5, "visual": 0.0},
        {"a": 0.6, "b": 0.5, "c": 0.1},
        {"a": 0.6, "b": 0.0, "c": 0.0},
    ],
)
def test_ratios_equal_numpy(scores):
    received = modulation.discrepancy_ratios({n: tf.constant(s) for n, s in scores.items()})
    for name, expected in numpy_ratios(scores).items():
        assert float(received[name]) == pytest.approx(expected, rel=1e-6)
        assert math.isfinite(received[name])


def test_ratio_of_three_is_the_mean_over_the_others():
    ratios = modulation.discrepancy_ratios({"a": 0.6, "b": 0.5, "c": 0.1})
    assert float(ratios["a"]) == pytest.approx((0.6 / 0.5 + 0.6 / 0.1) / 2, rel=1e-6)


@pytest.mark.parametrize("count", range(2, 24))
def test_a_tie_of_any_number_damps_nobody(count):
    ratios = modulation.discrepancy_ratios({str(index): 0.3 for index in range(count)})
    assert {float(value) for value in modulation.coefficients(ratios, 0.5).values()} == {1.0}


def test_ratios_need_two():
    with pytest.raises(ValueError, match="Received: \\['audio'\\]"):
        modulation.discrepancy_ratios({"audio": 1.0})


@pytest.mark.parametrize(
    ("rule", "alpha", "ratio", "expected"),
    [
        ("tanh", 0.8, 2.0, 0.0783),
        ("tanh", 0.1, 2.0, 0.8026),
        ("tanh", 0.5, 1.0001, 0.5379),
        ("continuous", 0.5, 2.0, 1 - math.tanh(0.5)),
        ("continuous", 0.5, 1.0001, 1.0),
        ("tpami", 0.5, 2.0, 1 - 0.5 * math.tanh(1.0)),
        ("tpami", 3.0, 5.0, 0.0),
        ("tanh", 0.0, FLOAT32_MAX, 1.0),
        ("tanh", 2.0, FLOAT32_MAX, 0.0),
    ],
)
def test_coefficients_by_hand(rule, alpha, ratio, expected):
    values = modulation.coefficients({"a": ratio, "b": 1 / ratio, "c": 1.0}, alpha, rule)
    assert float(values["a"]) == pytest.approx(expected, abs=1e-4)
    assert float(values["b"]) == 1.0
    assert float(values["c"]) == 1.0, "a tie damps nobody"


def test_unknown_rule_lists_the_known():
    with pytest.raises(ValueError, match="tanh, continuous, tpami.*Received: rule='linear'"):
        modulation.coefficients({"a": 1.0}, 0.1, "linear")


def test_filters_choose_by_rank_and_name():
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.layers.Conv1D(2, 3, input_shape=(8, 4)),
            keras.layers.LayerNormalization(axis=[1, 2]),
            keras.layers.GRU(3, reset_after=True),
            keras.layers.Dense(2),
        ]
    )
    branches = {"sound": network.trainable_variables}

    def accepted(policy):
        names = modulated_names(branches, policy.accepts)
        return [v.name.split("/")[-1] for v in network.trainable_variables if id(v) in names]

    assert accepted(OGM(0.1)) == ["kernel:0", "kernel:0", "recurrent_kernel:0", "kernel:0"]
    assert len(accepted(OGM(0.1, variables="all"))) == len(network.trainable_variables)
    assert accepted(OGM(0.1, variables=lambda v: "recurrent" in v.name)) == ["recurrent_kernel:0"]
    with pytest.raises(ValueError, match="'sound' owns 9 trainable variables.*none accepted"):
        accepted(OGM(0.1, variables="conv"))


def test_a_variable_of_two_modalities_is_refused():
    shared = tf.Variable(tf.zeros([2, 2]), name="shared/kernel")
    with pytest.raises(ValueError, match="shared/kernel.*'audio' and 'visual'"):
        modulated_names({"audio": [shared], "visual": [shared]}, OGM(0.1).accepts)


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": -0.1},
        {"alpha": math.nan},
        {"alpha": "strong"},
        {"alpha": 0.1, "start_epoch": -1},
        {"alpha": 0.1, "start_epoch": 5, "end_epoch": 4},
        {"alpha": 0.1, "rule": "linear"},
        {"alpha": 0.1, "variables": "weights"},
        {"alpha": 0.1, "seed": 2**31},
    ],
)
def test_policies_refuse_bad_arguments(arguments):
    with pytest.raises(ValueError, match="Received: "):
        OGMGE(**arguments)


@keras.saving.register_keras_serializable(package="test_modulation")
def only_wide(variable):
    return variable.shape[-1] > 8


@pytest.mark.parametrize("variables", ["conv", only_wide])
def test_policies_survive_serialisation(variables):
    policy = OGMGE(0.3, 2, 9, variables=variables, rule="tpami", seed=11)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(policy))
    assert type(again) is OGMGE
    assert again.get_config() == policy.get_config()
    assert again.variables == variables


def test_window_includes_both_ends():
    policy = OGM(0.5, start_epoch=2, end_epoch=4)
    active = [bool(policy.is_active(tf.constant(epoch, tf.int64))) for epoch in range(7)]
    assert active == [False, False, True, True, True, False, False]


def test_scale_rows_scales_only_the_gradient():
    features = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    coefficients = tf.constant([1.0, 0.5, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(features)
        scaled = modulation.scale_rows(features, coefficients)
        loss = tf.reduce_sum(scaled**2)
    np.testing.assert_array_equal(scaled, features)
    np.testing.assert_allclose(tape.gradient(loss, features), [[2, 4], [3, 4], [0, 0]])
