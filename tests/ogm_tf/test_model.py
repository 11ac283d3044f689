"""OGMModel's step against by-hand computations, plain Keras and replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from tests.ogm_tf.tiny_models import (
    BATCH,
    CLASSES,
    build,
    compiled,
    data,
    dataset,
    logits_loss,
)


def plain_twin():
    """The same layers and weights as `build()`, and a functional keras.Model over them."""
    twin = build()
    inputs = {name: keras.Input((6,)) for name in twin.encoders}
    features = [twin.encoders[name](inputs[name]) for name in twin.encoders]
    return twin, keras.Model(inputs, twin.fusion(features)[0])


def ahead_by_hand(model, inputs, labels, alpha):
    """Scores, ratios and coefficients in NumPy from the model's own logits."""
    scores = {}
    for name, logits in model.unimodal_logits(inputs, training=True).items():
        exponentials = np.exp(logits.numpy().astype(np.float64))
        probabilities = exponentials / exponentials.sum(-1, keepdims=True)
        scores[name] = probabilities[np.arange(len(labels)), labels].sum()
    first, second = scores
    ratios = {first: scores[first] / scores[second], second: scores[second] / scores[first]}
    return {n: 1 - np.tanh(alpha * r) if r > 1 else 1.0 for n, r in ratios.items()}


@pytest.mark.parametrize("fusion", ["Concat", "Sum", "FiLM", "Gated"])
def test_one_step_equals_the_computation_by_hand(fusion):
    model = compiled(build(ogm_tf.OGM(alpha=0.7), fusion))
    inputs, labels = data()
    model(inputs)
    coefficients = ahead_by_hand(model, inputs, labels, 0.7)
    assert min(coefficients.values()) < 0.6
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    kernels = {
        v.ref(): name
        for name, e in model.encoders.items()
        for v in e.trainable_variables
        if "kernel" in v.name
    }
    expected = [
        v.numpy() - 0.1 * (coefficients[kernels[v.ref()]] if v.ref() in kernels else 1.0) * g
        for v, g in zip(variables, gradients, strict=True)
    ]
    model.train_on_batch(inputs, labels)
    assert len(kernels) == 4
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6)


def test_history_holds_every_tracker():
    model = compiled(build(ogm_tf.OGM(alpha=0.7)), keras.optimizers.SGD(0.0))
    inputs, labels = data()
    history = model.fit(inputs, labels, batch_size=BATCH, verbose=0).history
    expected = ahead_by_hand(model, inputs, labels, 0.7)
    for name, coefficient in expected.items():
        assert history[f"{name}_coefficient"][0] == pytest.approx(coefficient, abs=1e-6)
        logits = model.unimodal_logits(inputs)[name]
        scores = tf.nn.softmax(logits).numpy()[np.arange(BATCH), labels]
        assert history[f"{name}_score"][0] == pytest.approx(scores.mean(), abs=1e-6)
        accuracy = np.mean(logits.numpy().argmax(-1) == labels)
        assert history[f"{name}_accuracy"][0] == pytest.approx(accuracy)
    assert history["visual_ratio"][0] * history["audio_ratio"][0] == pytest.approx(1, abs=1e-5)
    assert {"loss", "accuracy"} < set(history)
    assert set(model.evaluate(inputs, labels, verbose=0, return_dict=True)) == {
        "loss",
        "accuracy",
        "audio_accuracy",
        "visual_accuracy",
    }


@pytest.mark.parametrize(
    "modulation",
    [None, ogm_tf.OGM(0.9, start_epoch=1), ogm_tf.OGMGE(0.9, start_epoch=3, end_epoch=9)],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_off_or_outside_the_window_equals_plain_keras_exactly(modulation, optimizer):
    model = build(modulation)
    twin, plain = plain_twin()
    for network in (model, plain):
        compiled(network, keras.optimizers.get(optimizer))
        network.fit(dataset(), verbose=0)
    assert int(model.optimizer.iterations) == 5
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_window_is_followed_epoch_by_epoch():
    model = compiled(build(ogm_tf.OGM(0.9, start_epoch=1, end_epoch=2)))
    history = model.fit(dataset(), epochs=4, verbose=0).history
    lowest = np.minimum(history["visual_coefficient"], history["audio_coefficient"])
    assert lowest[0] == 1 and lowest[3] == 1 and max(lowest[1:3]) < 1
    resumed = model.fit(dataset(), initial_epoch=2, epochs=3, verbose=0).history
    assert resumed["visual_coefficient"][0] < 1


def test_a_network_of_frozen_encoders_trains_its_head():
    model = build(ogm_tf.OGMGE(0.5))
    for own in model.encoders.values():
        own.trainable = False
    compiled(model)
    before = model.fusion.get_weights()
    model.train_on_batch(*data())
    assert np.abs(model.fusion.get_weights()[0] - before[0]).max() > 0


def test_a_loss_that_is_no_number_or_no_mean_is_refused():
    model = build(ogm_tf.OGM(0.5), accumulate_steps=2)
    for reduction in ("none", "sum"):
        with pytest.raises(ValueError, match=f"leave out its `reduction`. .*='{reduction}'"):
            model.compile("sgd", logits_loss(reduction=reduction))


def test_one_device_equals_two_replicas(mirrored):
    """Twenty steps; tests/integration/test_multi_worker.py has them with batch normalisation."""
    histories, weights = [], []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = build(ogm_tf.OGMGE(alpha=0.5, seed=3), regularizer="l2")
            compiled(model, ogm_tf.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-3))
        histories.append(model.fit(dataset(), epochs=4, verbose=0).history)
        weights.append(model.get_weights())
        assert model.evaluate(dataset(), verbose=0, return_dict=True)["audio_accuracy"] <= 1
    assert histories[0].keys() == histories[1].keys()
    for key in histories[0]:
        np.testing.assert_allclose(histories[0][key], histories[1][key], atol=1e-5, err_msg=key)
    assert min(histories[0]["visual_coefficient"]) < 1
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_regularization_is_never_modulated():
    """With a data loss of zero weight, the regulariser alone moves the weights, undamped."""
    model = compiled(build(ogm_tf.OGM(alpha=5.0), regularizer=keras.regularizers.L2(0.5)))
    inputs, labels = data()
    model(inputs)
    kernels = [v for e in model.encoders.values() for v in e.trainable_variables[:1]]
    before = [v.numpy() for v in kernels]
    assert min(ahead_by_hand(model, inputs, labels, 5.0).values()) < 0.01
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    gradients = tape.gradient(loss, kernels)
    total = loss + tf.add_n(model.losses)
    logged = model.train_on_batch(inputs, labels, return_dict=True)["loss"]
    assert logged == pytest.approx(float(total), rel=1e-6)
    ks = ahead_by_hand_from(gradients, before, kernels)
    assert max(ks) == pytest.approx(1.0, abs=1e-3)
    assert min(ks) < 0.01


def ahead_by_hand_from(gradients, before, kernels, rate=0.1, strength=0.5):
    """The factor of the data gradient in each update, once 2 * strength * w is taken away."""
    factors = []
    for gradient, old, variable in zip(gradients, before, kernels, strict=True):
        data_part = (old - variable.numpy()) / rate - 2 * strength * old
        factors.append(float(np.vdot(data_part, gradient) / np.vdot(gradient, gradient)))
    return factors


def test_a_loss_of_ones_own_without_regularization_is_modulated_whole():
    class OwnLoss(ogm_tf.OGMModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return logits_loss()(y, y_pred, sample_weight)

    weights = []
    for regularizer in (None, "l2"):
        plain = build(regularizer=regularizer)
        model = OwnLoss(plain.encoders, plain.fusion, ogm_tf.OGM(0.7))
        compiled(model).train_on_batch(*data())
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradients_are_clipped_after_modulation():
    model = compiled(build(ogm_tf.OGMGE(0.5)), keras.optimizers.SGD(1.0, global_clipnorm=1e-3))
    inputs, labels = data()
    model(inputs)
    before = model.get_weights()
    model.train_on_batch(inputs, labels)
    changes = [(a - b).ravel() for a, b in zip(before, model.get_weights(), strict=True)]
    assert np.linalg.norm(np.concatenate(changes)) == pytest.approx(1e-3, rel=1e-3)


def test_sample_weight_counts_in_loss_and_scores():
    weights = np.array([1, 1, 0, 2, 0, 1, 1, 1], np.float32)
    repeated = np.repeat(np.arange(BATCH), weights.astype(int))
    inputs, labels = data()
    weighted = compiled(build(ogm_tf.OGM(0.5)), keras.optimizers.SGD(0.1))
    twice = compiled(build(ogm_tf.OGM(0.5)), keras.optimizers.SGD(0.1 * len(repeated) / BATCH))
    logs = weighted.train_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    others = twice.train_on_batch(
        {n: v[repeated] for n, v in inputs.items()}, labels[repeated], return_dict=True
    )
    for key in ("visual_ratio", "visual_coefficient", "visual_score", "audio_score"):
        assert logs[key] == pytest.approx(others[key], abs=1e-6)
    for ours, theirs in zip(weighted.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_class_weight_equals_sample_weight():
    inputs, labels = data()
    class_weight = {0: 1.0, 1: 2.0, 2: 0.5}
    weights = np.array([class_weight[label] for label in labels], np.float32)
    by_class, by_sample = compiled(build(ogm_tf.OGM(0.5))), compiled(build(ogm_tf.OGM(0.5)))
    by_class.fit(inputs, labels, batch_size=BATCH, class_weight=class_weight, verbose=0)
    by_sample.fit(inputs, labels, batch_size=BATCH, sample_weight=weights, verbose=0)
    for ours, theirs in zip(by_class.get_weights(), by_sample.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_sparse_gradients_are_modulated():
    def embed(name):
        return keras.Sequential(
            [
                keras.layers.Input((6,), dtype=tf.int32),
                keras.layers.Embedding(20, 4),
                keras.layers.GlobalAveragePooling1D(),
            ],
            name=name,
        )

    keras.utils.set_random_seed(0)
    model = ogm_tf.OGMModel(
        {"text": embed("text"), "tags": embed("tags")}, ogm_tf.fusion.Sum(3), ogm_tf.OGM(0.5)
    )
    compiled(model, keras.optimizers.SGD(1.0))
    inputs = {
        n: np.arange(12, dtype=np.int32).reshape(2, 6) + i for i, n in enumerate(model.encoders)
    }
    labels = np.array([0, 1])
    table = model.encoders["text"].trainable_variables[0]
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    gradient = tape.gradient(loss, table)
    assert isinstance(gradient, tf.IndexedSlices)
    coefficient = ahead_by_hand(model, inputs, labels, 0.5)["text"]
    before = table.numpy()
    model.train_on_batch(inputs, labels)
    np.testing.assert_allclose(
        before - table.numpy(), coefficient * tf.convert_to_tensor(gradient).numpy(), atol=1e-6
    )


def test_loss_scaling_leaves_sparse_gradients_sparse():
    """Of what lies in no batch an optimiser such as lazy_adam changes nothing."""
    changed = []
    for scaled in (False, True):
        keras.utils.set_random_seed(0)
        encoders = {
            name: keras.Sequential(
                [
                    keras.layers.Input((4,), dtype="int32"),
                    keras.layers.Embedding(20, 3),
                    keras.layers.Flatten(),
                ],
                name=name,
            )
            for name in ("text", "tags")
        }
        model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Sum(3))
        optimizer = ogm_tf.optimizers.get("lazy_adam", learning_rate=0.1)
        if scaled:
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=8)
        compiled(model, optimizer)
        batches = [
            {name: np.array([seen, seen], np.int32) for name in encoders}
            for seen in ([0, 1, 2, 3], [4, 5, 6, 7])
        ]
        model(batches[0])
        start = model.get_weights()
        for rows in batches:
            model.train_on_batch(rows, np.array([0, 1]))
        changed.append(model.get_weights()[0] - start[0])
    np.testing.assert_allclose(*changed, atol=1e-6)
    assert np.any(changed[0][:8]) and not np.any(changed[0][8:])


def test_three_modalities():
    names = ("a", "b", "c")
    model = compiled(build(ogm_tf.OGMGE(0.5), names=names))
    history = model.fit(dataset(names=names), verbose=0).history
    assert all(np.isfinite(history[f"{name}_ratio"][0]) for name in names)
    inputs = data(names=names)[0]
    parts = model.unimodal_logits(inputs)
    np.testing.assert_allclose(sum(parts.values()), model(inputs), atol=1e-5)


def test_weights_of_every_segment():
    class Segments(ogm_tf.OGMModel):
        def forward(self, inputs, training=False):
            parts = {name: inputs[name] @ tf.eye(6)[:, :CLASSES] for name in inputs}
            return sum(parts.values()), parts

        @property
        def branches(self):
            return {"visual": [], "audio": []}

    random = np.random.default_rng(0)
    inputs = {n: random.normal(size=(4, 5, 6)).astype(np.float32) for n in ("visual", "audio")}
    labels = random.integers(0, CLASSES, (4, 5))
    weights = random.integers(0, 2, (4, 5)).astype(np.float32)
    model = compiled(Segments())
    received = model.evaluate(
        inputs, labels, sample_weight=weights, batch_size=2, verbose=0, return_dict=True
    )
    correct = (inputs["audio"][..., :CLASSES].argmax(-1) == labels)[weights != 0]
    assert received["audio_accuracy"] == pytest.approx(correct.mean(), abs=1e-6)
