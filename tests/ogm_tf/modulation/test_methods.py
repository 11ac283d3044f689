"""The methods beside OGM: losses, off against plain, one replica against two, half precision."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.gradient_blending import GBlendEstimator
from ogm_tf.modulation import AGM, OPM, PMR, GBlend, MMPareto, Unimodal
from tests.ogm_tf.tiny_models import (
    BATCH,
    RATE,
    build,
    compiled,
    data,
    dataset,
    eager,
    gradients_of,
    logits_loss,
    step_change,
)

LATE = 5


@keras.saving.register_keras_serializable(package="tests")
def is_output(variable):
    return variable.shape[-1] == 4


@pytest.mark.parametrize("fusion", ["Concat", "FiLM"])
def test_unimodal_adds_each_modality_s_loss(fusion):
    model = eager(Unimodal({"visual": 0.5, "audio": 2.0}), fusion)
    joint, visual, audio = gradients_of(model, *data())
    for found, *parts in zip(step_change(model, *data()), joint, visual, audio, strict=True):
        expected = parts[0] + 0.5 * parts[1] + 2 * parts[2]
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_unimodal_losses_are_shares_of_weighted_rows():
    """As those of Keras: sums over rows, divided by all of them."""
    inputs, labels = data()
    weights = np.linspace(0, 2, BATCH).astype(np.float32)
    model = eager(Unimodal(1.0))
    with tf.GradientTape() as tape:
        logits, parts = model(inputs, training=True, unimodal=True)
        loss = tf.add_n([logits_loss()(labels, own, weights) for own in (logits, *parts.values())])
    expected = tape.gradient(loss, model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_on_batch(inputs, labels, sample_weight=weights)
    for variable, start, gradient in zip(model.trainable_variables, before, expected, strict=True):
        np.testing.assert_allclose((start - variable) / RATE, gradient, atol=2e-6)


@pytest.mark.parametrize("weight", [0.5, [0.5]])
def test_loss_weights_are_those_of_added_losses_too(weight):
    model = build(Unimodal(2.0))
    model.compile(keras.optimizers.SGD(RATE), logits_loss(), loss_weights=weight)
    joint, visual, audio = gradients_of(model, *data())
    for found, *parts in zip(step_change(model, *data()), joint, visual, audio, strict=True):
        np.testing.assert_allclose(found, 0.5 * parts[0] + parts[1] + parts[2], atol=2e-6)


def test_gblend_weighs_losses():
    method = GBlend()
    model = eager(method)
    method.weights(2).assign([0.5, 0.3, 0.2])
    joint, visual, audio = gradients_of(model, *data())
    for found, *parts in zip(step_change(model, *data()), joint, visual, audio, strict=True):
        expected = 0.5 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2]
        np.testing.assert_allclose(found, expected, atol=2e-6)


OFF = [
    lambda: Unimodal(0.0),
    lambda: OPM(probability=0.0),
    lambda: AGM(alpha=0.0),
    lambda: PMR(strength=0.0, entropy=0.0),
    lambda: Unimodal(start_epoch=LATE) + OPM(start_epoch=LATE) + AGM(start_epoch=LATE),
    lambda: PMR(start_epoch=LATE) + GBlend(start_epoch=LATE),
]


@pytest.mark.parametrize("make", OFF, ids=lambda make: make().name)
def test_off_or_outside_the_window_equals_plain_training(make):
    weights = []
    for method in (None, make()):
        model = eager(method, regularizer="l2")
        for seed in range(3):
            model.train_on_batch(*data(seed=seed))
        weights.append(model.get_weights())
    for plain, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-7)


@pytest.mark.parametrize("make", [lambda: Unimodal(2.0), lambda: OPM(probability=1.0)])
def test_methods_train_with_cosines(make):
    model = compiled(build(make(), "MMCosine"))
    before = model.get_weights()
    history = model.fit(dataset(6), epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    for after, start in zip(model.get_weights(), before, strict=True):
        assert np.abs(after - start).max() > 1e-4


def test_a_function_that_chooses_variables_is_saved(tmp_path):
    for method in (AGM(variables=is_output), MMPareto(variables=is_output)):
        model = compiled(build(method))
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras").modulation
        assert again.variables is is_output and type(again) is type(method)


def test_gblend_without_an_estimator_says_so(caplog):
    for has_one in (False, True):
        caplog.clear()
        model = eager(GBlend())
        if has_one:
            GBlendEstimator(dataset(2), dataset(2, seed=9)).set_model(model)
        for _ in range(2):
            model.train_on_batch(*data())
        assert caplog.text.count("no GBlendEstimator") == 1 - has_one
        assert not copy.deepcopy(model.modulation).has_estimator


MIXES = [
    lambda: MMPareto(),
    lambda: OPM(probability=1.0, seed=2) + AGM() + Unimodal(0.5),
    lambda: PMR(entropy_end_epoch=9) + GBlend() + ogm_tf.OGMGE(0.5),
]


def trained(make, strategy=None, accumulate_steps=1, batch=BATCH, regularizer="l2"):
    with (strategy or tf.distribute.get_strategy()).scope():
        model = build(make(), accumulate_steps=accumulate_steps, regularizer=regularizer)
        compiled(model)
    # No batch is left over.
    model.fit(dataset(48 // batch, batch), epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("make", MIXES, ids=lambda make: make().name)
def test_two_replicas_and_accumulated_batches_are_one(make, mirrored):
    one = trained(make)
    others = [trained(make, mirrored), trained(make, None, 2, BATCH // 2)]
    if "AGM" in one.modulation.name:
        # Its state is made in the first of several batches, of one replica.
        others.append(trained(make, mirrored, 2, BATCH // 2))
    for other in others:
        for ours, theirs in zip(other.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        for ours, theirs in zip(
            other.method_state.values(), one.method_state.values(), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AGM(end_epoch=5) + Unimodal(),
        lambda: ogm_tf.OGMGE(0.5),
        pytest.param(lambda: PMR() + GBlend(), marks=pytest.mark.slow),
        pytest.param(MMPareto, marks=pytest.mark.slow),
    ],
)
def test_xla_trains_alike(make, caplog):
    weights = []
    for jit_compile in (False, True):
        model = compiled(build(make()), jit_compile=jit_compile)
        model.fit(dataset(4), verbose=0)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert "AutoGraph could not" not in caplog.text


@pytest.mark.parametrize(
    "policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"]
)
@pytest.mark.parametrize("make", MIXES, ids=lambda make: make().name)
def test_half_precision_trains_alike(make, policy):
    expected, start = trained(make), build(make()).get_weights()
    keras.mixed_precision.set_global_policy(policy)
    model = trained(make)
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer) == (
        policy == "mixed_float16"
    )
    for ours, theirs, before in zip(
        model.get_weights(), expected.get_weights(), start, strict=True
    ):
        # Of what two epochs changed.
        assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs - before) + 1e-3
    for ours, theirs in zip(
        model.method_state.values(), expected.method_state.values(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=0.03)


def test_losses_that_are_sums_are_those_of_all_replicas(mirrored):
    found = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = build(Unimodal(0.5))
            model.compile(keras.optimizers.SGD(RATE), logits_loss(reduction="sum"))
        model.fit(dataset(2), verbose=0)
        found.append(model.get_weights())
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_replica_without_rows_skips_no_step(mirrored):
    with mirrored.scope():
        model = compiled(build(PMR() + AGM() + OPM() + GBlend()))
    rows = dataset(3).unbatch().take(2 * BATCH + 1).batch(BATCH)
    assert model.fit(rows, epochs=2, verbose=0).history["skipped_steps"] == [0, 0]


@pytest.mark.parametrize("make", [GBlend, lambda: PMR() + Unimodal()])
def test_networks_of_float64_train(make):
    keras.mixed_precision.set_global_policy("float64")
    model = compiled(build(make()))
    before = model.get_weights()
    model.train_on_batch(*data())
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        assert ours.dtype == "float64" and np.abs(ours - theirs).max() > 0


def test_a_gradient_of_an_added_loss_that_is_not_finite_is_skipped():
    """The loss itself, 0, is finite."""

    class Steep(MMPareto):
        def added_loss(self, step):
            return tf.sqrt(0 * tf.add_n([tf.reduce_sum(own) for own in step.unimodal.values()]))

    model = eager(Steep())
    before = model.get_weights()
    result = model.train_on_batch(*data(), return_dict=True)
    assert result["skipped_steps"] == 1 and "the gradient of" in model.last_skipped
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ogm_tf.OGM(0.5) + AGM(), "gradients.* Received: OGM [+] AGM"),
        (lambda: MMPareto() + Unimodal(), "only method that adds.* Received: MMPareto [+] Uni"),
        (lambda: GBlend() + OPM() + Unimodal(), "losses twice. Received: GBlend [+] Unimodal"),
        (lambda: build(OPM(), "FiLM"), "adds up what each modality says.* Received: FiLM"),
        (lambda: build(OPM() + AGM(), "Gated"), "OPM drops whole features.* Received: Gated"),
        (lambda: OPM() + OPM(), "different methods. Received: OPM [+] OPM"),
        (lambda: Unimodal(-1.0), "`weight` must be .* Received: weight=-1.0"),
        (lambda: OPM(base=1.5), "in .0, 1.. Received: base=1.5"),
        (lambda: PMR(entropy_end_epoch=1.5), "integer >= 0. Received: entropy_end_epoch=1.5"),
    ],
)
def test_wrong_methods_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(TypeError, match="Received: float"):
        OPM() + 0.5
    model = eager(Unimodal({"visual": 1.0}))
    with pytest.raises(ValueError, match="must name the modalities"):
        model.train_on_batch(*data())
