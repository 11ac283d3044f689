"""The methods beside OGM: each formula against NumPy, off against plain, one against two."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation import AGM, OPM, PMR, GBlend, MMPareto, Unimodal
from ogm_tf.modulation.mmpareto import pareto_factors
from tests.ogm_tf.tiny_models import BATCH, CLASSES, build, compiled, data, dataset, logits_loss

RATE = 0.1
LATE = 5


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def step_change(model, inputs, labels):
    """Takes a step of plain SGD; returns of each variable the gradient it was changed by."""
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_on_batch(inputs, labels)
    return [
        (start - variable.numpy()) / RATE
        for start, variable in zip(before, model.trainable_variables, strict=True)
    ]


def gradients_of(model, inputs, labels):
    """Returns the gradients of the fused loss, and of each modality's own."""
    with tf.GradientTape(persistent=True) as tape:
        logits, parts = model(inputs, training=True, unimodal=True)
        losses = [logits_loss()(labels, own) for own in (logits, *parts.values())]
    variables = model.trainable_variables
    found = [tape.gradient(loss, variables, unconnected_gradients="zero") for loss in losses]
    return [[np.array(gradient) for gradient in own] for own in found]


def eager(modulation, fusion="Concat", **kwargs):
    model = build(modulation, fusion, **kwargs)
    return compiled(model, keras.optimizers.SGD(RATE), run_eagerly=True)


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


def test_mmpareto_mixes_in_every_encoder_and_leaves_the_head():
    method = MMPareto(gamma=1.2)
    model = eager(method)
    inputs, labels = data(seed=4)
    joint, visual, audio = gradients_of(model, inputs, labels)
    owners = {id(v): name for name, branch in model.branches.items() for v in branch}
    variables = model.trainable_variables
    expected = [a + b + c for a, b, c in zip(joint, visual, audio, strict=True)]
    for name in ("visual", "audio"):
        members = [i for i, v in enumerate(variables) if owners.get(id(v)) == name]
        g = np.concatenate([joint[i].ravel() for i in members])
        u = np.concatenate([(visual[i] + audio[i]).ravel() for i in members])
        factors = (1.2, 1.2)
        if g @ u < 0:
            share = u @ (u - g) / np.sum((g - u) ** 2)
            mixed = share * g + (1 - share) * u
            scale = 1.2 * np.linalg.norm(g + u) / np.linalg.norm(mixed)
            factors = (scale * share, scale * (1 - share))
        for i in members:
            expected[i] = factors[0] * joint[i] + factors[1] * (visual[i] + audio[i])
    for found, own in zip(step_change(model, inputs, labels), expected, strict=True):
        np.testing.assert_allclose(found, own, atol=5e-6)


def test_agm_s_marginal_contributions_and_coefficients():
    """Two steps: the first has no reference yet, the second that of the first."""
    model = eager(AGM(alpha=0.7))
    means = []
    for seed in (0, 1):
        inputs, labels = data(seed=seed)
        zeros = {name: np.zeros_like(value) for name, value in inputs.items()}
        whole = model(inputs).numpy()
        alone = {n: model({**zeros, n: inputs[n]}).numpy() for n in inputs}
        visual = (whole - alone["audio"] + alone["visual"]) / 2
        audio = (whole - alone["visual"] + alone["audio"]) / 2
        rows = np.arange(BATCH)
        losses = np.array([-np.log(softmax(p)[rows, labels]).mean() for p in (visual, audio)])
        means.append(losses)
        ratios = np.exp(losses[::-1] - losses)
        expected = [1.0, 1.0]
        if seed:
            expected = np.exp(0.7 * (np.exp(means[0][::-1] - means[0]) - ratios))
        joint = gradients_of(model, inputs, labels)[0]
        before = [variable.numpy() for variable in model.trainable_variables]
        result = model.train_on_batch(inputs, labels, return_dict=True, reset_metrics=True)
        for name, ratio, coefficient in zip(("visual", "audio"), ratios, expected, strict=True):
            assert result[f"{name}_ratio"] == pytest.approx(ratio, rel=1e-4)
            assert result[f"{name}_coefficient"] == pytest.approx(coefficient, rel=1e-4)
            for variable in model.branches[name]:
                (index,) = [i for i, own in enumerate(model.trainable_variables) if own is variable]
                found = (before[index] - variable.numpy()) / RATE
                np.testing.assert_allclose(found, coefficient * joint[index], atol=5e-6)
    assert max(expected) > 1 > min(expected)


def test_agm_shares_what_three_modalities_say_together():
    names = ("visual", "audio", "flow")
    model = eager(AGM(), names=names)
    inputs, labels = data(names=names)
    step = model._step(inputs, labels, labels, None, *model(inputs, unimodal=True))
    parts = ogm_tf.modulation.agm.marginal_logits(step)
    np.testing.assert_allclose(sum(p.numpy() for p in parts.values()), model(inputs), atol=1e-5)
    zeros = {name: tf.zeros_like(value) for name, value in inputs.items()}
    f = {
        key: model({n: inputs[n] if n[0] in key else zeros[n] for n in names}).numpy()
        for key in ("v", "a", "f", "va", "vf", "af", "vaf")
    }
    audio = f["a"] / 3 + (f["va"] - f["v"] + f["af"] - f["f"]) / 6 + (f["vaf"] - f["vf"]) / 3
    np.testing.assert_allclose(parts["audio"], audio, atol=1e-5)


def test_opm_drops_rows_of_who_was_ahead_and_keeps_the_expectation():
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
    assert np.max(method.state[0]) == pytest.approx(drop, rel=1e-5)
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


def test_pmr_s_loss_and_state_by_hand():
    method = PMR(strength=0.8, entropy=0.3, entropy_end_epoch=0, momentum=0.75)
    model = eager(method)
    inputs, labels = data(seed=2)
    rows = np.arange(BATCH)
    prototypes, pace = {}, np.zeros([2, 2])
    for turn in range(3):
        features = {n: model.encoders[n](inputs[n]).numpy() for n in model.encoders}
        extra, right = np.zeros(BATCH), {}
        for index, (name, values) in enumerate(features.items()):
            if turn == 0:
                right[name] = 0.0
                continue
            distances = np.linalg.norm(values[:, None] - prototypes[name], axis=-1)
            p = softmax(-distances)
            right[name] = p[rows, labels].sum()
            entropy = -(p * np.log(p)).sum(-1)
            extra += 0.8 * pace[0, index] * -np.log(p[rows, labels])
            extra -= 0.3 * pace[1, index] * entropy
        step = model._step(inputs, labels, labels, None, *model(inputs, True, True))
        assert float(method.loss(step)) == pytest.approx(extra.mean(), abs=1e-5)
        model.train_on_batch(inputs, labels)
        for name, values in features.items():
            means = np.stack([values[labels == k].mean(0) for k in range(CLASSES)])
            old = prototypes.get(name, means)
            prototypes[name] = 0.75 * old + 0.25 * means if turn else means
        if turn:
            first, second = right.values()
            ratios = np.array([first / second, second / first])
            pace = np.stack([np.clip(1 / ratios - 1, 0, 1), np.clip(ratios - 1, 0, 1)])
        found = {v.name.split(":")[0]: v.numpy() for v in method.state}
        for name, value in prototypes.items():
            np.testing.assert_allclose(found[f"{name}_prototypes"], value, atol=1e-5)
        np.testing.assert_allclose(found["pace"], pace, atol=1e-5)
    assert pace.max() > 0.01


def test_gblend_weighs_losses():
    method = GBlend()
    model = eager(method)
    method.weights(2).assign([0.5, 0.3, 0.2])
    joint, visual, audio = gradients_of(model, *data())
    for found, *parts in zip(step_change(model, *data()), joint, visual, audio, strict=True):
        expected = 0.5 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2]
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_mmcosine_hears_no_louder_features():
    model = build(None, "MMCosine")
    inputs, _ = data()
    features = [model.encoders[n](inputs[n]) for n in model.encoders]
    fused, parts = model.fusion(features)
    for part, feature, kernel in zip(parts, features, model.fusion.kernels, strict=True):
        f, k = feature.numpy(), kernel.numpy()
        cosines = f @ k / np.linalg.norm(f, axis=1)[:, None] / np.linalg.norm(k, axis=0)
        np.testing.assert_allclose(part, 15 * cosines, atol=1e-4)
    np.testing.assert_allclose(fused, parts[0] + parts[1], atol=1e-5)
    louder, _ = model.fusion([10 * feature for feature in features])
    np.testing.assert_allclose(louder, fused, atol=1e-4)


OFF = [
    Unimodal(0.0),
    OPM(probability=0.0),
    AGM(alpha=0.0),
    PMR(strength=0.0, entropy=0.0),
    Unimodal(start_epoch=LATE) + OPM(start_epoch=LATE) + AGM(start_epoch=LATE),
    PMR(start_epoch=LATE) + GBlend(start_epoch=LATE),
]


@pytest.mark.parametrize("modulation", OFF, ids=lambda own: own.name)
def test_off_or_outside_the_window_equals_plain_training(modulation):
    weights = []
    for method in (None, modulation):
        model = eager(method, regularizer="l2")
        for seed in range(3):
            model.train_on_batch(*data(seed=seed))
        weights.append(model.get_weights())
    for plain, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-7)


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
    for other in (trained(make, mirrored), trained(make, None, 2, BATCH // 2)):
        for ours, theirs in zip(other.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        for ours, theirs in zip(other.method_variables, one.method_variables, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


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
    for ours, theirs in zip(model.method_variables, expected.method_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.03)


@pytest.mark.parametrize("make", MIXES, ids=lambda make: make().name)
def test_methods_survive_a_file(make, tmp_path):
    model = compiled(build(make()))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert repr(again.modulation) == repr(model.modulation)


def test_a_step_that_is_not_finite_changes_no_state():
    method = OPM() + AGM()
    model = eager(method)
    inputs, labels = data()
    model.train_on_batch(inputs, labels)
    before = [variable.numpy() for variable in method.state]
    model.train_on_batch({**inputs, "audio": inputs["audio"] * np.nan}, labels)
    for variable, value in zip(method.state, before, strict=True):
        np.testing.assert_array_equal(variable, value)


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
        (lambda: OPM() + OPM(), "different methods. Received: OPM [+] OPM"),
        (lambda: Unimodal(-1.0), "`weight` must be .* Received: weight=-1.0"),
        (lambda: OPM(base=1.5), "in .0, 1.. Received: base=1.5"),
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
