"""Balance of positive and negative pairs, against explicit gradients of each group."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation.pair_groups import group_scores
from ogm_tf.representation.pair_model import PairModel
from tests.ogm_tf.representation.tiny_networks import NETWORKS, TINY

PAIRS = 12


@keras.saving.register_keras_serializable(package="tests")
class Match(keras.layers.Layer):
    """Two layers over both features."""

    def build(self, input_shape):
        self.hidden = keras.layers.Dense(6, activation="relu")
        self.logits = keras.layers.Dense(2)

    def call(self, features):
        return self.logits(self.hidden(tf.concat(features, axis=-1)))


def encoder(name):
    return keras.Sequential(
        [
            keras.layers.Input((5,)),
            keras.layers.Dense(7, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dense(4),
        ],
        name=name,
    )


def build(modulation=None, model_class=PairModel):
    keras.utils.set_random_seed(3)
    model = model_class({n: encoder(n) for n in ("audio", "visual")}, Match(), modulation)
    model({name: tf.zeros([1, 5]) for name in model.encoders})
    model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ["accuracy"],
    )
    return model


def pairs(seed=0, count=PAIRS, positive=None):
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0 if positive is None else np.full(count, positive)).astype(
        np.int32
    )
    audio = random.normal(size=(count, 5)).astype(np.float32)
    # Negative pairs are easier, so that they are ahead.
    visual = np.where(labels[:, None] == 1, audio, -audio) + 0.1 * random.normal(size=(count, 5))
    return {"audio": audio, "visual": visual.astype(np.float32)}, labels


def group_gradients(model, inputs, labels):
    """Gradients of 1/N times the sum of the losses of each group."""
    gradients = {}
    weights = model.get_weights()
    for group in (0, 1):
        # Running averages and random streams are as before the first.
        model.set_weights(weights)
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            loss = tf.reduce_sum(losses * (labels == group)) / len(labels)
        gradients[group] = tape.gradient(loss, model.trainable_variables)
    return gradients


def coefficients_by_hand(model, inputs, labels, alpha):
    logits = model(inputs, training=True).numpy().astype(np.float64)
    right = np.exp(logits[np.arange(len(labels)), labels]) / np.exp(logits).sum(-1)
    scores = [right[labels == group].mean() for group in (0, 1)]
    ratios = [scores[0] / scores[1], scores[1] / scores[0]]
    return [1 - np.tanh(alpha * ratio) if ratio > 1 else 1.0 for ratio in ratios]


def test_one_step_equals_two_explicit_group_gradients():
    alpha = 0.6
    model = build(ogm_tf.OGM(alpha))
    inputs, labels = pairs()
    weights = model.get_weights()
    k = coefficients_by_hand(model, inputs, labels, alpha)
    assert min(k) < 0.6
    gradients = group_gradients(model, inputs, labels)
    model.set_weights(weights)
    expected = [
        variable.numpy() - 0.5 * (k[0] * negative + k[1] * positive)
        if any(variable is v for e in model.encoders.values() for v in e.trainable_variables)
        else variable.numpy() - 0.5 * (negative + positive)
        for variable, negative, positive in zip(
            model.trainable_variables, gradients[0], gradients[1], strict=True
        )
    ]
    result = model.train_on_batch(inputs, labels, return_dict=True)
    assert [result["negative_coefficient"], result["positive_coefficient"]] == pytest.approx(k)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6, err_msg=variable.name)


def real_network(name, policy, scaled=False):
    """One of the three networks, and pairs for it."""
    keras.utils.set_random_seed(3)
    network = NETWORKS[name].build("small", **TINY[name], l2=1e-2)
    model = PairModel(network.encoders, network.fusion, policy)
    rng = np.random.default_rng(5)
    inputs = {
        key: rng.uniform(-1, 1, (8, *shape)).astype(np.float32)
        for key, shape in network.inputs.items()
    }
    model(inputs)
    # The answer "match" is ahead.
    last = network.fusion.logit if name == "avsa" else network.fusion.logits
    last.bias.assign([1.0] if name == "avsa" else [0.0, 1.0])
    optimizer = keras.optimizers.SGD(0.5)
    if scaled:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=64.0)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, inputs, np.array([1, 0, 1, 1, 0, 1, 1, 0], np.int32)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_every_network_equals_two_explicit_group_gradients(name, scaled):
    """Through batch normalisation of encoders and fusion, beside the penalty on kernels."""
    alpha = 0.6
    model, inputs, labels = real_network(name, ogm_tf.OGM(alpha), scaled)
    weights = model.get_weights()
    k = coefficients_by_hand(model, inputs, labels, alpha)
    assert min(k) < 0.6
    model.set_weights(weights)
    negative, positive = group_gradients(model, inputs, labels).values()
    model.set_weights(weights)
    with tf.GradientTape() as tape:
        penalty = tf.add_n(model.losses)
    penalties = tape.gradient(penalty, model.trainable_variables, unconnected_gradients="zero")
    in_encoders = {id(v) for e in model.encoders.values() for v in e.trainable_variables}
    expected = []
    for variable, *gradients in zip(
        model.trainable_variables, negative, positive, penalties, strict=True
    ):
        own = k if id(variable) in in_encoders else (1.0, 1.0)
        of_negative, of_positive, of_penalty = gradients
        change = own[0] * of_negative + own[1] * of_positive + of_penalty
        expected.append(variable.numpy() - 0.5 * change.numpy())
    model.train_on_batch(inputs, labels)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=2e-6, rtol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_outside_of_the_window_is_plain(name):
    """To the bit where one backward pass does; to rounding where there is a choice of two."""
    tolerance = 1e-6 if name == "avsa" else 0.0
    results = []
    for policy in (None, ogm_tf.OGM(0.0), ogm_tf.OGMGE(0.9, start_epoch=5)):
        model, inputs, labels = real_network(name, policy)
        for _ in range(2):
            model.train_on_batch(inputs, labels)
        results.append(model.get_weights())
    for plain, none, outside in zip(*results, strict=True):
        np.testing.assert_allclose(none, plain, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(outside, plain, rtol=tolerance, atol=tolerance)


def test_coefficients_of_one_are_plain_training_exactly():
    """Alpha 0 damps nobody; so does a window that has not begun."""
    plain = build(None)
    for policy in (ogm_tf.OGM(0.0), ogm_tf.OGMGE(0.9, start_epoch=5)):
        model = build(policy)
        reference = build(None)
        for seed in range(5):
            for network in (model, reference):
                network.train_on_batch(*pairs(seed))
        for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    functional = keras.Model(
        inputs := {name: keras.Input((5,)) for name in plain.encoders},
        plain.fusion([plain.encoders[name](inputs[name]) for name in plain.encoders]),
    )
    twin = build(None)
    functional.compile(keras.optimizers.SGD(0.5), plain.compiled_loss._user_losses)
    for network in (functional, twin):
        network.train_on_batch(*pairs())
    for ours, theirs in zip(twin.get_weights(), plain.get_weights(), strict=True):
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


def test_two_replicas_equal_one(mirrored):
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
            model = PairModel(encoders, Match(), ogm_tf.OGMGE(0.6))
            model({name: tf.zeros([1, 5]) for name in model.encoders})
            model.compile(
                keras.optimizers.SGD(0.1),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                ["accuracy"],
            )
        history = model.fit(data, epochs=2, verbose=0).history
        results.append((history, model.get_weights()))
    (one, weights), (two, others) = results
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
    history = model.fit(inputs, labels, batch_size=PAIRS, verbose=0).history
    for group in ("negative", "positive"):
        for name in ("accuracy", "score", "ratio", "coefficient"):
            assert len(history[f"{group}_{name}"]) == 1


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
