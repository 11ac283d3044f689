"""MMPareto against a search for the minimum, and against NumPy where gradients conflict."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation import MMPareto, Unimodal
from ogm_tf.modulation.mmpareto import pareto_factors
from tests.ogm_tf.tiny_models import (
    CLASSES,
    RATE,
    build,
    compiled,
    data,
    eager,
    encoder,
    gradients_of,
    step_change,
)


def test_pareto_factors_are_those_of_a_search():
    random = np.random.default_rng(3)
    conflicts = 0
    for _ in range(40):
        g, u = random.normal(size=(2, 5)) * [[3.0], [1.0]]
        products = [tf.constant(np.float32(value)) for value in (g @ g, g @ u, u @ u)]
        first, second = (float(value) for value in pareto_factors(*products, gamma=1.5))
        if g @ u >= 0:
            assert (first, second) == pytest.approx((1.5, 1.5))
            continue
        conflicts += 1
        shares = np.linspace(0, 1, 100_001)[:, None]
        best = shares[np.argmin(np.sum((shares * g + (1 - shares) * u) ** 2, axis=1)), 0]
        step = first * g + second * u
        np.testing.assert_allclose(first / (first + second), best, atol=2e-5)
        assert np.linalg.norm(step) == pytest.approx(1.5 * np.linalg.norm(g + u), rel=1e-4)
        # It makes neither loss worse.
        assert step @ g > 0 and step @ u > 0
    assert conflicts > 10
    opposite = [tf.constant(value) for value in (1.0, -1.0, 1.0)]
    assert np.isfinite(pareto_factors(*opposite, gamma=1.5)).all()


def in_conflict(modulation, make=eager, **own):
    """A network and a batch of which the audio encoder's two losses pull apart.

    Both rows are of one class and opposite; sight decides, and is right where sound is wrong.
    """
    model = make(modulation, **own)
    model.fusion.kernel.assign(model.fusion.kernel * ([[6.0]] * 4 + [[4.0]] * 4))
    random = np.random.default_rng(87)
    audio, visual = (3 * random.normal(size=6) for _ in range(2))
    inputs = {"visual": np.stack([visual, -visual]), "audio": np.stack([audio, -audio])}
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    return model, inputs, np.zeros(2, np.int32)


def test_mmpareto_mixes_in_every_encoder_and_leaves_the_head():
    model, inputs, labels = in_conflict(MMPareto(gamma=1.2))
    joint, visual, audio = gradients_of(model, inputs, labels)
    owners = {id(v): name for name, branch in model.branches.items() for v in branch}
    variables = model.trainable_variables
    expected = [a + b + c for a, b, c in zip(joint, visual, audio, strict=True)]
    conflicts = {}
    for name in ("visual", "audio"):
        members = [i for i, v in enumerate(variables) if owners.get(id(v)) == name]
        g = np.concatenate([joint[i].ravel() for i in members])
        u = np.concatenate([(visual[i] + audio[i]).ravel() for i in members])
        factors = (1.2, 1.2)
        conflicts[name] = g @ u < 0
        if conflicts[name]:
            share = u @ (u - g) / np.sum((g - u) ** 2)
            mixed = share * g + (1 - share) * u
            scale = 1.2 * np.linalg.norm(g + u) / np.linalg.norm(mixed)
            factors = (scale * share, scale * (1 - share))
        for i in members:
            expected[i] = factors[0] * joint[i] + factors[1] * (visual[i] + audio[i])
    assert conflicts == {"visual": False, "audio": True}
    for found, own in zip(step_change(model, inputs, labels), expected, strict=True):
        np.testing.assert_allclose(found, own, atol=2e-5)


def test_regularisation_is_not_mixed():
    model, inputs, labels = in_conflict(MMPareto(), regularizer=keras.regularizers.L2(0.5))
    plain, *_ = in_conflict(MMPareto())
    changes = [step_change(own, inputs, labels) for own in (model, plain)]
    for layer in (model.encoders["visual"].layers[0], model.encoders["audio"].layers[0]):
        (index,) = [i for i, v in enumerate(model.trainable_variables) if v is layer.kernel]
        start = layer.kernel + RATE * changes[0][index]
        np.testing.assert_allclose(changes[0][index] - changes[1][index], start, atol=2e-5)


def factors_of(model, inputs, labels):
    """Returns by NumPy what the audio encoder's two gradients are multiplied by."""
    joint, _, audio = gradients_of(model, inputs, labels)
    mine = {id(variable) for variable in model.branches["audio"]}
    members = [i for i, v in enumerate(model.trainable_variables) if id(v) in mine]
    g, u = (np.concatenate([own[i].ravel() for i in members]) for own in (joint, audio))
    products = [tf.constant(np.float32(value)) for value in (g @ g, g @ u, u @ u)]
    return [float(factor) for factor in pareto_factors(*products, 1.5)], g @ u < 0


@pytest.mark.parametrize("how", ["replicas", "accumulated", "mixed_float16"])
def test_a_conflict_is_one_of_the_whole_batch(how, mirrored):
    found = []
    for own in (None, how):
        strategy = mirrored if own == "replicas" else tf.distribute.get_strategy()
        optimizer = None
        if own == "mixed_float16":
            keras.mixed_precision.set_global_policy(own)
            # One that does not overflow in the first step.
            optimizer = keras.mixed_precision.LossScaleOptimizer(
                keras.optimizers.SGD(RATE), initial_scale=64
            )
        steps = 2 if own == "accumulated" else 1
        with strategy.scope():
            model, inputs, labels = in_conflict(MMPareto(), build, accumulate_steps=steps)
            compiled(model, optimizer)
        if own is None:
            whole, is_conflict = factors_of(model, inputs, labels)
            assert is_conflict
            # Rows by themselves would be mixed otherwise.
            for row in (slice(0, 1), slice(1, 2)):
                own_row = {name: value[row] for name, value in inputs.items()}
                factors, _ = factors_of(model, own_row, labels[row])
                assert np.abs(np.subtract(factors, whole)).max() > 0.05
        before = model.get_weights()
        rows = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(2 // steps)
        model.fit(rows, verbose=0)
        found.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
    atol = 2e-3 if how == "mixed_float16" else 1e-6
    for plain, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, atol=atol)


def test_a_branch_without_a_loss_of_its_own_is_left_alone():
    """Of a head that judges features without training them."""

    class Detached(ogm_tf.fusion.Concat):
        def fuse(self, features):
            fused, _ = super().fuse(features)
            _, parts = super().fuse([tf.stop_gradient(feature) for feature in features])
            return fused, parts

    weights = []
    for method in (MMPareto(), Unimodal(1.0)):
        keras.utils.set_random_seed(1)
        encoders = {name: encoder(name) for name in ("visual", "audio")}
        model = compiled(ogm_tf.OGMModel(encoders, Detached(CLASSES), method), run_eagerly=True)
        model.train_on_batch(*data())
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_outside_its_window_mmpareto_is_unimodal():
    found = []
    for method in (MMPareto(start_epoch=5), Unimodal(1.0), MMPareto()):
        model, inputs, labels = in_conflict(method)
        model.train_on_batch(inputs, labels)
        found.append(np.concatenate([value.ravel() for value in model.get_weights()]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert np.abs(found[2] - found[1]).max() > 1e-2


def test_sparse_gradients_that_are_not_mixed_add_up():
    """Of an embedding, which is no kernel."""

    def words(name):
        layers = [keras.layers.Input((4,), dtype="int32"), keras.layers.Embedding(7, 3)]
        layers += [keras.layers.Flatten(), keras.layers.Dense(4)]
        return keras.Sequential(layers, name=name)

    weights = []
    for method in (MMPareto(gamma=1.0, variables="kernels"), Unimodal(1.0)):
        keras.utils.set_random_seed(1)
        encoders = {"text": words("text"), "audio": encoder("audio")}
        model = compiled(ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(CLASSES), method))
        inputs, labels = data()
        inputs["text"] = np.arange(32, dtype=np.int32).reshape(8, 4) % 7
        model.train_on_batch({name: inputs[name] for name in encoders}, labels)
        weights.append(model.get_weights())
    # There is no conflict.
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
