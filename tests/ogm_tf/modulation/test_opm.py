"""OPM: who is dropped, how often, and what is left, against NumPy."""

import itertools

import keras
import numpy as np
import pytest

import ogm_tf
from ogm_tf.modulation import OPM
from tests.ogm_tf.tiny_models import CLASSES, RATE, build, compiled, data, encoder, softmax


def test_opm_drops_rows_of_who_was_ahead_and_scales_the_rest():
    method = OPM(base=0.6, strength=0.5, probability=1.0, seed=3)
    model = compiled(build(method), keras.optimizers.SGD(0.0), run_eagerly=True)
    inputs, labels = data(64)
    parts = model.unimodal_logits(inputs)
    scores = {n: softmax(p.numpy())[np.arange(64), labels].sum() for n, p in parts.items()}
    ahead = max(scores, key=scores.get)
    ratio = max(scores.values()) / min(scores.values())
    drop = 0.6 * (1 + 0.5 * np.tanh(ratio - 1))
    whole, _ = model(inputs, training=True, unimodal=True)
    np.testing.assert_array_equal(whole, model(inputs))
    model.train_on_batch(inputs, labels)
    assert np.max(method.state["OPM.probabilities"]) == pytest.approx(drop, rel=1e-5)
    logits = model(inputs, training=True).numpy()
    (other,) = set(scores) - {ahead}
    bias = model.fusion.bias.numpy()
    own = {n: p.numpy() - bias / 2 for n, p in parts.items()}
    scale = 1 / (1 - drop / 2)
    kept, lost = scale * (own[ahead] + own[other]) + bias, scale * own[other] + bias
    is_kept = np.isclose(logits, kept, atol=1e-5).all(-1)
    np.testing.assert_allclose(logits[~is_kept], lost[~is_kept], atol=1e-5)
    assert 0.5 * drop < np.mean(~is_kept) < 1.5 * drop
    # Modalities are compared by their whole features, and evaluation drops nothing.
    again = model(inputs, training=True, unimodal=True)[1]
    for name, value in parts.items():
        np.testing.assert_array_equal(again[name], value)


def rows_that_lost_it(model, inputs, steps):
    """Returns, step by step, which rows are without the feature of who is ahead, `[steps, B]`."""
    whole, found = model(inputs).numpy(), []
    for _ in range(steps):
        logits = model(inputs, training=True).numpy()
        # Whole rows are scaled; of an update that is not touched all are as they were.
        bias = model.fusion.bias.numpy()
        directions = (logits - bias) / np.linalg.norm(logits - bias, axis=-1, keepdims=True)
        expected = (whole - bias) / np.linalg.norm(whole - bias, axis=-1, keepdims=True)
        found.append(~np.isclose(directions, expected, atol=1e-4).all(-1))
        model.optimizer.iterations.assign_add(1)
    return np.array(found)


def test_every_step_draws_anew_and_a_share_of_them_is_touched():
    inputs, labels = data(32)
    shares = {}
    for probability in (0.25, 1.0):
        method = OPM(base=0.5, probability=probability)
        model = compiled(build(method), keras.optimizers.SGD(0.0), run_eagerly=True)
        model.train_on_batch(inputs, labels)
        found = rows_that_lost_it(model, inputs, 60)
        touched = found.any(axis=1)
        shares[probability] = touched.mean()
        assert len(np.unique(found[touched], axis=0)) == touched.sum()
    assert 0.1 < shares[0.25] < 0.45 and shares[1.0] == 1


def test_features_of_other_widths_count_by_them_and_no_probability_is_above_1():
    method = OPM(base=0.9, strength=5.0, probability=1.0)
    model = ogm_tf.OGMModel(
        {"visual": encoder("visual", units=8), "audio": encoder("audio", units=4)},
        ogm_tf.fusion.Concat(CLASSES),
        method,
    )
    inputs, labels = data(32)
    model(inputs)
    model.fusion.bias.assign([0.1, -0.2, 0.3])
    # Sight says what is right.
    compiled(model, keras.optimizers.SGD(RATE), run_eagerly=True)
    for _ in range(10):
        model.train_on_batch(inputs, labels)
    np.testing.assert_array_equal(method.state["OPM.probabilities"], [1.0, 0.0])
    bias = model.fusion.bias.numpy()
    audio = model.unimodal_logits(inputs)["audio"].numpy() - bias / 2
    # theta is 8 of 12.
    np.testing.assert_allclose(model(inputs, training=True), 3 * audio + bias, atol=1e-4)


def test_of_three_modalities_all_but_the_weakest_may_be_dropped():
    names = ("visual", "audio", "flow")
    method = OPM(base=0.5, strength=0.5, probability=1.0)
    model = compiled(build(method, names=names), keras.optimizers.SGD(0.0), run_eagerly=True)
    inputs, labels = data(64, names)
    parts = {n: p.numpy() for n, p in model.unimodal_logits(inputs).items()}
    scores = np.array([softmax(p)[np.arange(64), labels].sum() for p in parts.values()])
    ratios = np.array(
        [np.mean([own / other for other in np.delete(scores, i)]) for i, own in enumerate(scores)]
    )
    drop = np.where(ratios > 1, 0.5 * (1 + 0.5 * np.tanh(ratios - 1)), 0.0)
    model.train_on_batch(inputs, labels)
    np.testing.assert_allclose(method.state["OPM.probabilities"], drop, rtol=1e-4)
    assert drop[np.argmin(scores)] == 0 < np.sort(drop)[1]
    logits = model(inputs, training=True).numpy()
    bias = model.fusion.bias.numpy()
    # Every row is that of some of the modalities, whole or dropped.
    distances = []
    for kept in itertools.product(*([0, 1] if q else [1] for q in drop)):
        own = sum(k * (p - bias / 3) for k, p in zip(kept, parts.values(), strict=True))
        distances.append(np.abs(own / (1 - drop.mean()) + bias - logits).max(-1))
    np.testing.assert_allclose(np.min(distances, axis=0), 0, atol=1e-5)
    assert len(np.unique(np.argmin(distances, axis=0))) == len(distances)
