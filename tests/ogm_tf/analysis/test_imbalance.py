"""The gradients of Sum and Concat, taken apart: by hand, in NumPy and by a tape of the tests."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.analysis import imbalance, imbalance_results
from ogm_tf.analysis.imbalance import Imbalance

LN3 = math.log(3)
# One number each, phi = theta x: 1 of sound and 2 of the picture.
HAND_INPUTS = {"audio": np.float32([[1], [1]]), "visual": np.float32([[4], [4]])}
HAND_LABELS = np.int32([0, 1])
SOUND, PICTURE = [[2 * LN3, 0]], [[0, LN3 / 2]]


def hand_model(fusion):
    """Sound says 2 ln 3 for class 0 and the picture ln 3 for class 1: 3/4 and 1/4."""
    encoders = {
        name: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)], name)
        for name in HAND_INPUTS
    }
    model = ogm_tf.OGMModel(encoders, getattr(ogm_tf.fusion, fusion)(num_classes=2))
    model(HAND_INPUTS)
    for encoder, theta in zip(encoders.values(), (1, 0.5), strict=True):
        encoder.set_weights([np.float32([[theta]])])
    heads = [SOUND, [0, 0], PICTURE, [0, 0]] if fusion == "Sum" else [SOUND + PICTURE, [0, 0]]
    model.fusion.set_weights([np.float32(value) for value in heads])
    return model


def normalized_model(fusion, names=("audio", "visual", "flow")):
    """Batch normalisation whose averages are not those of the clips below, and real biases."""

    def encoder(name, width):
        layers = [
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("tanh"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(width),
        ]
        return keras.Sequential([keras.Input((6,)), *layers], name)

    encoders = {name: encoder(name, width) for width, name in enumerate(names, start=2)}
    model = ogm_tf.OGMModel(encoders, getattr(ogm_tf.fusion, fusion)(num_classes=4))
    model(clips(1)[0])
    random = np.random.default_rng(3)
    # Variances are among them.
    model.set_weights([random.uniform(0.1, 1, own.shape) for own in model.get_weights()])
    return model


def clips(count, seed=0, names=("audio", "visual", "flow")):
    random = np.random.default_rng(seed)
    inputs = {name: random.normal(2, 1, (count, 6)).astype(np.float32) for name in names}
    return inputs, random.integers(0, 4, count).astype(np.int32)


@pytest.fixture(scope="module", params=["Sum", "Concat"])
def take_apart(request):
    """A network whose gradients are taken apart."""
    return Imbalance(normalized_model(request.param))


@pytest.mark.parametrize("fusion", ["Sum", "Concat"])
def test_two_clips_by_hand(fusion):
    analysis = Imbalance(hand_model(fusion))(HAND_INPUTS, HAND_LABELS)
    shared = [[-0.25, 0.25], [0.75, -0.75]]
    np.testing.assert_allclose(analysis.shared, shared, atol=1e-6)
    expected = {
        "audio": ([[0.25, -0.25]], [0.25, -0.25], [[-LN3 / 4], [3 * LN3 / 4]], LN3 / 2),
        "visual": ([[0.5, -0.5]], [0.25, -0.25], [[LN3 / 16], [-3 * LN3 / 16]], -LN3 / 2),
    }
    for way, name in itertools.product(("closed_form", "automatic"), expected):
        found, (kernel, bias, feature, theta) = getattr(analysis, way)[name], expected[name]
        np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
        np.testing.assert_allclose(found.bias, bias, atol=1e-6)
        np.testing.assert_allclose(found.feature, feature, atol=1e-6)
        np.testing.assert_allclose(found.encoder, [[[theta]]], atol=1e-6)


def test_closed_form_equals_numpy_and_the_gradients_of_the_model(take_apart):
    model = take_apart.model
    inputs, labels = clips(7)
    analysis = take_apart(inputs, labels)
    with tf.GradientTape() as tape:
        logits, parts = model(inputs, training=False, unimodal=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    expected = dict(
        zip(
            [variable.name for variable in model.trainable_variables],
            tape.gradient(loss, model.trainable_variables),
            strict=True,
        )
    )
    logits = logits.numpy().astype(float)
    shared = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(4)[labels]
    np.testing.assert_allclose(analysis.shared, shared, atol=1e-6)
    for name, part in parts.items():
        np.testing.assert_allclose(analysis.parts[name], part, atol=1e-6)
    start = 0
    for index, (name, encoder) in enumerate(model.encoders.items()):
        found = analysis.closed_form[name]
        feature = encoder(inputs[name], training=False).numpy()
        kernel = feature.T @ shared / 7
        np.testing.assert_allclose(found.kernel, kernel, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.bias, shared.mean(axis=0), rtol=0, atol=1e-5)
        (head,) = [v for v in expected if f"output_{index}/kernel" in v or "output/kernel" in v]
        rows = expected[head][start : start + len(kernel)]
        start += len(kernel) if isinstance(model.fusion, ogm_tf.fusion.Concat) else 0
        np.testing.assert_allclose(found.kernel, rows, rtol=0, atol=1e-5)
        for variable, own in zip(encoder.trainable_variables, found.encoder, strict=True):
            np.testing.assert_allclose(own, expected[variable.name], rtol=0, atol=1e-5)
            assert np.abs(own).max() > 1e-4, variable.name
    difference, relative = imbalance_results.differences(analysis)
    assert difference < 1e-5 and relative < 1e-5


def test_clips_do_not_touch_each_other(take_apart):
    inputs, labels = clips(4)
    whole = take_apart(inputs, labels).closed_form["visual"]
    rows = [
        take_apart(
            {name: own[row : row + 1] for name, own in inputs.items()}, labels[row : row + 1]
        )
        for row in range(4)
    ]
    singles = [row.closed_form["visual"] for row in rows]
    mean = np.mean([own.kernel for own in singles], axis=0)
    np.testing.assert_allclose(whole.kernel, mean, atol=1e-6)
    for index, gradient in enumerate(whole.encoder):
        mean = np.mean([own.encoder[index] for own in singles], axis=0)
        np.testing.assert_allclose(gradient, mean, atol=1e-6)


def test_a_louder_modality_that_is_right_takes_what_the_other_could_learn_from():
    parts = {"audio": np.float32([[LN3, 0]] * 2), "visual": np.zeros((2, 2), np.float32)}
    shared = imbalance.what_if(parts, np.int32([0, 1]), "audio", [0, 1, 2]).numpy()
    # 1/2, 3/4 and 9/10 for class 0.
    np.testing.assert_allclose(shared[:, 0, 0], [-0.5, -0.25, -0.1], atol=1e-6)
    np.testing.assert_allclose(shared[:, 1, 1], [-0.5, -0.75, -0.9], atol=1e-6)
    norms = np.linalg.norm(shared, axis=-1)
    assert (np.diff(norms[:, 0]) < 0).all() and (np.diff(norms[:, 1]) > 0).all()
    with pytest.raises(ValueError, match="one of audio, visual. Received: name='flow'"):
        imbalance.what_if(parts, np.int32([0, 1]), "flow", [1])


def test_numbers_of_many_clips():
    take_apart = Imbalance(hand_model("Sum"))
    one = {name: value[:1] for name, value in HAND_INPUTS.items()}
    batches = [(HAND_INPUTS, HAND_LABELS), (one, np.int32([0]))]
    found = imbalance_results.analyze(take_apart, batches, ["dog", "cat", "horse"], [0, 1, 2])
    assert found == json.loads(json.dumps(found))
    assert (found["stronger"], found["weaker"], found["num_clips"]) == ("audio", "visual", 3)
    # Of class 0, sound alone gives 9/10 and the picture 1/4; sound leads by ln 3, it by - ln 3 / 2.
    assert list(found["classes"]) == ["dog", "cat"]
    dog, cat = found["classes"].values()
    assert (dog["num_clips"], cat["num_clips"]) == (2, 1)
    audio, visual = dog["modalities"]["audio"], dog["modalities"]["visual"]
    assert dog["shared_factor"] == pytest.approx(0.25) and cat["shared_factor"] == pytest.approx(
        0.75
    )
    assert audio["probability"] == pytest.approx(0.9)
    assert visual["probability"] == pytest.approx(0.25)
    assert audio["true_class_logit"] == pytest.approx(2 * LN3)
    assert (audio["lead"], visual["lead"]) == pytest.approx((LN3, -LN3 / 2))
    assert (audio["share"], visual["share"]) == pytest.approx((2, -1))
    # Of class 1 the fused lead is below 0, so that there is nothing to share.
    assert cat["modalities"]["visual"]["share"] is None
    length = 0.25 * math.sqrt(2)
    clip = {"kernel": 2 * length, "bias": length, "feature": LN3 / 8, "encoder": LN3 / 2}
    assert visual["gradients"] == pytest.approx(clip, abs=1e-6)
    assert visual["automatic_gradients"] == pytest.approx(clip, abs=1e-6)
    # The two clips of a batch partly cancel; single ones stand as they are.
    batch, single = found["batches"]
    assert batch["modalities"]["visual"]["gradients"]["kernel"] == pytest.approx(2 * length)
    assert batch["modalities"]["visual"]["gradients"]["encoder"] == pytest.approx(LN3 / 2)
    assert single["modalities"]["visual"]["gradients"] == pytest.approx(clip, abs=1e-6)
    assert found["largest_difference"] < 1e-5 and found["relative_difference"] < 1e-5
    # Sound is right of both clips of class 0. Without it, the picture gives 1/4; twice, 27/28.
    what_if = found["what_if"]
    told = [missing * LN3 / 2 for missing in (3 / 4, 1 / 4, 1 / 28)]
    assert what_if["right"] == pytest.approx(told, abs=1e-6) and what_if["num_right"] == 2
    assert what_if["wrong"] == pytest.approx([LN3 / 8, 3 * LN3 / 8, 27 * LN3 / 56], abs=1e-6)
    assert found["clips"]["strong_probability"] == pytest.approx([0.9, 0.1, 0.9])
    assert found["clips"]["weak_gradient"] == pytest.approx([LN3 / 2, 3 * LN3 / 2, LN3 / 2])


def test_frozen_parts_and_parts_of_low_precision():
    model = hand_model("Sum")
    model.encoders["visual"].trainable = False
    model.fusion.trainable = False
    analysis = Imbalance(model)(HAND_INPUTS, HAND_LABELS)
    found = analysis.closed_form["visual"]
    assert found.encoder == [] and np.abs(found.feature).max() > 0.1
    assert max(imbalance_results.differences(analysis)) < 1e-5
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    analysis = Imbalance(hand_model("Concat"))(HAND_INPUTS, HAND_LABELS)
    difference, relative = imbalance_results.differences(analysis)
    assert difference < 1e-2 and relative < 1e-2


class OwnNetwork(ogm_tf.OGMModel):
    def forward(self, inputs, training=False):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("model", "received"),
    [
        (lambda: ogm_tf.OGMModel(*_parts(), ogm_tf.fusion.FiLM(2)), "FiLM"),
        (lambda: ogm_tf.OGMModel(*_parts(), ogm_tf.fusion.Gated(2)), "Gated"),
        (lambda: OwnNetwork(), "OwnNetwork"),
        (lambda: keras.Sequential(), "Sequential"),
    ],
)
def test_other_networks_are_refused(model, received):
    with pytest.raises(ValueError, match=f"one of Sum, Concat. Received: {received}"):
        Imbalance(model())


def test_no_clips_and_new_networks_are_refused():
    with pytest.raises(ValueError, match="Received: new, which has not"):
        Imbalance(ogm_tf.OGMModel(*_parts(), ogm_tf.fusion.Sum(2), name="new"))
    with pytest.raises(ValueError, match="Received: no batch"):
        imbalance_results.analyze(Imbalance(hand_model("Sum")), [], ["a", "b"])


def _parts():
    return [{name: keras.layers.Dense(2) for name in HAND_INPUTS}]
