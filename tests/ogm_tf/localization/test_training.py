"""What a training step of a network of events modulates, compares and learns from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.localization import losses
from tests.ogm_tf.localization.small_networks import CLASSES, build, labels, videos


def stepped(name, modulation, weak=False, **arguments):
    """A network after one step of SGD, and what the step reported."""
    model = build(name, modulation=modulation, weakly_supervised=weak, **arguments)
    loss = losses.CrossEntropy()
    model.compile(keras.optimizers.SGD(1.0), loss, run_eagerly=True)
    targets = losses.weak_targets(labels(), CLASSES) if weak else labels()
    return model, model.train_on_batch(videos(), targets, return_dict=True)


@pytest.mark.parametrize("weak", [False, True])
def test_psp_modulates_nothing_of_the_propagation_and_after_it(weak):
    plain, _ = stepped("psp", None, weak)
    modulated, logs = stepped("psp", ogm_tf.OGMGE(alpha=0.8, variables="all"), weak)
    assert min(logs["audio_coefficient"], logs["visual_coefficient"]) < 1
    owned = {id(v) for branch in modulated.branches.values() for v in branch}
    start = build("psp", weakly_supervised=weak).trainable_variables
    for before, one, other in zip(
        start, plain.trainable_variables, modulated.trainable_variables, strict=True
    ):
        # Every part learns: nothing is equal for want of a gradient.
        assert not np.array_equal(before, one), before.name
        assert np.array_equal(one, other) == (id(other) not in owned), other.name


def test_agva_damps_the_branch_that_is_ahead_alone():
    plain, _ = stepped("agva", None)
    modulated, logs = stepped("agva", ogm_tf.OGM(alpha=0.8))
    ahead = min(("audio", "visual"), key=lambda name: logs[f"{name}_coefficient"])
    coefficient = logs[f"{ahead}_coefficient"]
    assert coefficient == pytest.approx(1 - np.tanh(0.8 * logs[f"{ahead}_ratio"]), abs=1e-6)
    damped = {v.name for v in modulated.branches[ahead] if "kernel" in v.name}
    start = build("agva").trainable_variables
    for before, one, other in zip(
        start, plain.trainable_variables, modulated.trainable_variables, strict=True
    ):
        k = coefficient if other.name in damped else 1.0
        np.testing.assert_allclose(other - before, k * (one - before), atol=1e-6)


def test_event_only_compares_segments_with_an_event():
    _, logs = stepped("agva", None, event_only=True)
    model = build("agva")
    parts = model.unimodal_logits(videos(), training=True)
    truth = labels()
    is_event = truth != CLASSES - 1
    assert 0 < is_event.sum() < is_event.size
    scores = {
        name: np.sum((tf.nn.softmax(part).numpy() * np.eye(CLASSES)[truth]).sum(axis=-1) * is_event)
        for name, part in parts.items()
    }
    assert logs["audio_ratio"] == pytest.approx(scores["audio"] / scores["visual"], rel=1e-5)


@pytest.mark.parametrize("name", ["agva", "psp"])
def test_weak_scores_are_of_the_event_however_much_of_the_video_it_has(name):
    undropped = {"dropout_rate": 0.0} if name == "psp" else {}
    model = build(name, weakly_supervised=True, **undropped)
    model.compile(keras.optimizers.SGD(1.0), losses.CrossEntropy(), ["accuracy"], run_eagerly=True)
    # A fifth, two events beside much background, none.
    targets = np.array([[0.2, 0, 0, 0, 0.8], [0, 0.1, 0.3, 0, 0.6], [0, 0, 0, 0, 1]], np.float32)
    events = [0, 2, 4]
    logits, parts = model(videos(), training=True, unimodal=True)
    logs = model.train_on_batch(videos(), targets, return_dict=True)
    scores = {
        key: np.take_along_axis(tf.nn.softmax(part).numpy(), np.array(events)[:, None], 1).sum()
        for key, part in parts.items()
    }
    assert logs["audio_ratio"] == pytest.approx(scores["audio"] / scores["visual"], rel=1e-5)
    assert logs["audio_score"] == pytest.approx(scores["audio"] / 3, rel=1e-5)
    assert logs["accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == events))
    # The loss is of the targets themselves.
    assert logs["loss"] == pytest.approx(np.mean(losses.CrossEntropy()(targets, logits)), rel=1e-5)


def test_psp_adds_the_pair_similarity_of_the_same_pass():
    inputs, truth = videos(), tf.constant(labels())
    model = build("psp", pair_weight=10.0)
    model.compile("sgd", losses.CrossEntropy())
    logits = model(inputs, training=True)
    total = model.compute_loss(inputs, truth, logits)
    pairs = np.mean(losses.pair_similarity(truth, logits._similarity, CLASSES - 1))
    plain = np.mean(losses.CrossEntropy()(truth, logits))
    assert pairs > 0
    assert float(total) == pytest.approx(plain + 10 * pairs, rel=1e-5)
    # One-hot rows are the same labels.
    one_hot = tf.one_hot(truth, CLASSES)
    assert float(model.compute_loss(inputs, one_hot, logits)) == pytest.approx(float(total))
    # What is reported holds it too.
    model.compile("sgd", losses.CrossEntropy(), run_eagerly=True)
    reported = model.evaluate(inputs, truth, verbose=0, return_dict=True)["loss"]
    logits = model(inputs)
    assert reported == pytest.approx(float(model.compute_loss(inputs, truth, logits)), rel=1e-6)


def test_similarity_is_the_cosine_after_the_propagation():
    model, inputs = build("psp"), videos()
    guide = model.audio_maps[1](model.audio_maps[0](inputs["audio"]))
    heard = model.audio_lstm(guide)
    seen = model.attention([guide, inputs["visual"]])
    seen = model.visual_lstm(model.visual_maps[1](model.visual_maps[0](seen)))
    a, v = (feature.numpy() for feature in model.propagation([heard, seen]))
    expected = (a * v).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(v, axis=-1)
    np.testing.assert_allclose(model.similarity(inputs), expected, atol=1e-5)


def test_evaluation_leaves_padding_out_of_the_pair_similarity():
    model = build("psp")
    model.compile("sgd", losses.CrossEntropy(), run_eagerly=True)
    whole = model.evaluate(videos(), labels(), verbose=0, return_dict=True)
    padded = {name: np.concatenate([value, 9 + value[:2]]) for name, value in videos().items()}
    weights = np.array([1, 1, 1, 0, 0], np.float32)
    truth = np.concatenate([labels(), labels()[:2]])
    result = model.evaluate(padded, truth, sample_weight=weights, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [pytest.param("dmrn", {}, marks=pytest.mark.slow), ("psp", {"pair_weight": 1.0})],
)
def test_networks_learn_in_a_graph(name, arguments):
    model = build(name, modulation=ogm_tf.OGM(alpha=0.3), **arguments)
    model.compile(keras.optimizers.Adam(0.02), losses.CrossEntropy())
    data = tf.data.Dataset.from_tensors((videos(8), labels(8))).repeat(40)
    history = model.fit(data, epochs=2, verbose=0).history
    assert history["loss"][1] < 0.8 * history["loss"][0]
    assert history["skipped_steps"] == [0, 0]


def test_psp_on_two_replicas_learns_what_one_device_does(mirrored):
    weights, losses_seen = [], []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = build("psp", modulation=ogm_tf.OGM(alpha=0.3), pair_weight=10.0)
            model.compile(keras.optimizers.SGD(0.1), losses.CrossEntropy(), run_eagerly=True)
        data = tf.data.Dataset.from_tensors((videos(4), labels(4)))
        history = model.fit(data, verbose=0).history
        weights.append(model.get_weights())
        losses_seen.append(history["loss"][0])
    assert losses_seen[1] == pytest.approx(losses_seen[0], rel=1e-5)
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)
