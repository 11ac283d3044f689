"""Balance of positive and negative pairs, against explicit gradients of each group."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation.pair_groups import group_scores
from ogm_tf.representation.pair_model import PairModel
from tests.ogm_tf.representation.pair_steps import (
    assert_a_step_equals_explicit_group_gradients,
    balance_by_hand,
    compile_model,
)

PAIRS = 12


@keras.saving.register_keras_serializable(package="tests")
class Match(keras.layers.Layer):
    """Two layers over both features."""

    mixes_rows = False

    def build(self, input_shape):
        self.hidden = keras.layers.Dense(6, activation="relu", kernel_regularizer="l2")
        self.logits = keras.layers.Dense(2)

    def call(self, features):
        return self.logits(self.hidden(tf.concat(features, axis=-1)))


@keras.saving.register_keras_serializable(package="tests")
class NormalizedMatch(Match):
    """Batch normalisation over both features, so that the rows of a batch depend on each other."""

    mixes_rows = True

    def build(self, input_shape):
        super().build(input_shape)
        self.normalization = keras.layers.BatchNormalization(synchronized=True)

    def call(self, features, training=None):
        joined = tf.concat(features, axis=-1)
        return super().call([self.normalization(joined, training=training)])


def encoder(name):
    return keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Dense(7, use_bias=False, kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dense(4),
        ],
        name=name,
    )


def build(modulation=None, head=Match, scaled=False):
    keras.utils.set_random_seed(3)
    model = PairModel({n: encoder(n) for n in ("audio", "visual")}, head(), modulation)
    model({name: tf.zeros([1, 5]) for name in model.encoders})
    return compile_model(model, scaled)


def pairs(seed=0, count=PAIRS, positive=None):
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0 if positive is None else np.full(count, positive)).astype(
        np.int32
    )
    audio = random.normal(size=(count, 5)).astype(np.float32)
    # Negative pairs are easier, so that they are ahead.
    visual = np.where(labels[:, None] == 1, audio, -audio) + 0.1 * random.normal(size=(count, 5))
    return {"audio": audio, "visual": visual.astype(np.float32)}, labels


@pytest.mark.parametrize("head", [Match, NormalizedMatch])
@pytest.mark.parametrize("scaled", [False, True])
def test_one_step_equals_two_explicit_group_gradients(head, scaled):
    """Whether the fusion mixes the rows or not, beside the penalty on kernels."""
    model = build(ogm_tf.OGM(0.6), head, scaled)
    assert_a_step_equals_explicit_group_gradients(model, *pairs(), 0.6)


@pytest.mark.parametrize("head", [pytest.param(Match, marks=pytest.mark.slow), NormalizedMatch])
def test_coefficients_of_one_are_plain_training_exactly(head):
    """Alpha 0 damps nobody; so does a window that has not begun."""
    weights = []
    for policy in (None, ogm_tf.OGM(0.0), ogm_tf.OGMGE(0.9, start_epoch=5)):
        model = build(policy, head)
        for seed in range(5):
            model.train_on_batch(*pairs(seed))
        weights.append(model.get_weights())
    for plain, *others in zip(*weights, strict=True):
        for ours in others:
            np.testing.assert_array_equal(ours, plain)


class PenalizedMatch(NormalizedMatch):
    """A penalty on the logits, which is nobody's part of the loss."""

    def build(self, input_shape):
        super().build(input_shape)
        self.logits = keras.layers.Dense(2, activity_regularizer=keras.regularizers.L2(0.05))


def test_a_penalty_on_the_logits_counts_once():
    weights = []
    for policy in (None, ogm_tf.OGM(0.0)):
        model = build(policy, PenalizedMatch)
        model.train_on_batch(*pairs())
        weights.append(model.get_weights())
    for plain, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-7)


@pytest.mark.parametrize("head", [Match, NormalizedMatch])
def test_half_precision_skips_what_overflows_and_learns_the_same(head):
    """The first loss scale is too large by far: that step is left out, and the scale is halved."""
    weights = []
    for policy, scale in (("float32", None), ("mixed_float16", 2.0**40)):
        keras.mixed_precision.set_global_policy(policy)
        try:
            model = build(ogm_tf.OGM(0.6), head)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        optimizer = keras.optimizers.SGD(0.1)
        if scale:
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=scale)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, ["accuracy"])
        start, taken = model.get_weights(), 0
        while taken < 3:
            result = model.train_on_batch(*pairs(), return_dict=True)
            taken += 1 - int(result["skipped_steps"])
            assert taken or scale
            model.reset_metrics()
        weights.append(
            [after - before for before, after in zip(start, model.get_weights(), strict=True)]
        )
    assert scale > optimizer.loss_scale
    for full, half in zip(*weights, strict=True):
        np.testing.assert_allclose(half, full, atol=0.03 * max(np.max(np.abs(full)), 0.1))


def test_without_a_policy_it_trains_as_a_keras_model():
    twin = build()
    functional = keras.Model(
        inputs := {name: keras.Input((5,)) for name in twin.encoders},
        (parts := build()).fusion([parts.encoders[name](inputs[name]) for name in inputs]),
    )
    for network in (compile_model(functional), twin):
        network.train_on_batch(*pairs())
    for ours, theirs in zip(twin.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("positive", [0, 1])
def test_a_group_without_pairs_damps_nobody(positive):
    model = build(ogm_tf.OGM(0.9))
    result = model.train_on_batch(*pairs(positive=positive), return_dict=True)
    for group in ("negative", "positive"):
        assert result[f"{group}_coefficient"] == result[f"{group}_ratio"] == 1


def test_noise_touches_the_encoders_kernels_alone():
    inputs, labels = pairs()
    weights = []
    for policy in (ogm_tf.OGM(0.6), ogm_tf.OGMGE(0.6, seed=4)):
        model = build(policy)
        model.train_on_batch(inputs, labels)
        weights.append([variable.numpy() for variable in model.trainable_variables])
    noisy = {id(v) for e in model.encoders.values() for v in e.trainable_variables
             if v.shape.rank == 2}  # fmt: skip
    for variable, without, with_noise in zip(model.trainable_variables, *weights, strict=True):
        assert np.array_equal(without, with_noise) == (id(variable) not in noisy), variable.name


@pytest.mark.parametrize(
    ("head", "policy"),
    [
        pytest.param(Match, ogm_tf.OGM(0.6), marks=pytest.mark.slow),
        (NormalizedMatch, ogm_tf.OGMGE(0.6)),
    ],
)
def test_two_replicas_equal_one(mirrored, head, policy):
    """Each replica has other rows of either group; the coefficients are those of all of them."""
    results = []
    inputs, labels = pairs(count=4 * PAIRS)
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(PAIRS)

    def synchronized(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return type(layer).from_config(config)

    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            keras.utils.set_random_seed(3)
            encoders = {
                n: keras.models.clone_model(encoder(n), clone_function=synchronized)
                for n in ("audio", "visual")
            }
            model = PairModel(encoders, head(), policy)
            model({name: tf.zeros([1, 5]) for name in model.encoders})
            model.compile(
                keras.optimizers.SGD(0.1),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                ["accuracy"],
            )
        history = model.fit(data, epochs=2, verbose=0).history
        results.append((history, model.get_weights()))
    (one, weights), (two, others) = results
    assert min(one["negative_coefficient"]) < 0.9
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name
    for ours, theirs in zip(weights, others, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_history_and_evaluation_tell_the_groups_apart():
    model = build(ogm_tf.OGM(0.6))
    inputs, labels = pairs()
    right = model(inputs).numpy().argmax(-1) == labels
    weights = np.ones(PAIRS, np.float32)
    weights[-3:] = 0
    found = model.evaluate(inputs, labels, sample_weight=weights, verbose=0, return_dict=True)
    counted = weights > 0
    assert found["accuracy"] == pytest.approx(right[counted].mean())
    for index, group in enumerate(("negative", "positive")):
        members = right[counted & (labels == index)]
        assert found[f"{group}_accuracy"] == pytest.approx(members.mean())


def test_history_holds_the_means_of_the_steps_by_hand():
    """An epoch of two steps that change nothing, of which the second has fewer positive pairs."""
    model = build(ogm_tf.OGM(0.6))
    model.optimizer.learning_rate = 0.0
    steps = [pairs(0), (pairs(1)[0], np.array([0] * 10 + [1] * 2, np.int32))]
    inputs = {name: np.concatenate([x[name] for x, _ in steps]) for name in steps[0][0]}
    labels = np.concatenate([y for _, y in steps])
    history = model.fit(inputs, labels, batch_size=PAIRS, shuffle=False, verbose=0).history
    logits = [model(x, training=True).numpy() for x, _ in steps]
    found = [balance_by_hand(z, y, 0.6) for z, (_, y) in zip(logits, steps, strict=True)]
    right = np.concatenate(logits).argmax(-1) == labels
    counts = np.array([[(y == group).sum() for group in (0, 1)] for _, y in steps])
    scores = np.array([scores for scores, _, _ in found])
    expected = {
        # Over an epoch's pairs, as opposed to a step's ratio and coefficient.
        "accuracy": [right[labels == group].mean() for group in (0, 1)],
        "score": (scores * counts).sum(0) / counts.sum(0),
        "ratio": np.mean([ratios for _, ratios, _ in found], axis=0),
        "coefficient": np.mean([k for _, _, k in found], axis=0),
    }
    assert not np.allclose(expected["score"], scores.mean(0), rtol=1e-3)
    for name, values in expected.items():
        for group, value in zip(("negative", "positive"), values, strict=True):
            assert history[f"{group}_{name}"] == pytest.approx([value], rel=1e-4), (group, name)


def test_group_scores_by_hand():
    logits = tf.math.log([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1], [0.5, 0.5]])
    found = group_scores(logits, tf.constant([1, 1, 0, 0]))
    np.testing.assert_allclose(found, [[1.4, 1.2], [2, 2]], atol=1e-6)
    found = group_scores(logits, tf.constant([1, 1, 0, 0]), tf.constant([1.0, 0.0, 2.0, 1.0]))
    np.testing.assert_allclose(found, [[2.3, 0.8], [3, 1]], atol=1e-6)


def test_it_survives_a_file(tmp_path):
    model = build(ogm_tf.OGMGE(0.6, seed=2))
    model.fit(*pairs(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for network in (model, again):
        network.fit(*pairs(1), verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_accumulation_is_refused():
    with pytest.raises(ValueError, match="Received: accumulate_steps=2"):
        PairModel({n: encoder(n) for n in ("a", "b")}, Match(), accumulate_steps=2)
