"""AGM: marginal contributions, references and coefficients against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation import AGM
from tests.ogm_tf.tiny_models import BATCH, RATE, data, eager, gradients_of, softmax


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


def test_three_modalities_are_compared_with_the_mean_of_all_steps_before():
    names = ("visual", "audio", "flow")
    model = eager(AGM(alpha=0.4), names=names)

    def ahead(losses):
        others = (losses.sum() - losses) / 2
        return np.exp(others - losses)

    seen = []
    for seed in range(4):
        inputs, labels = data(seed=seed, names=names)
        step = model._step(inputs, labels, labels, None, *model(inputs, unimodal=True))
        parts = ogm_tf.modulation.agm.marginal_logits(step).values()
        rows = np.arange(BATCH)
        losses = np.array([-np.log(softmax(p.numpy())[rows, labels]).mean() for p in parts])
        expected = np.ones(3)
        if seen:
            expected = np.exp(0.4 * (ahead(np.mean(seen, axis=0)) - ahead(losses)))
        seen.append(losses)
        result = model.train_on_batch(inputs, labels, return_dict=True, reset_metrics=True)
        found = [result[f"{name}_coefficient"] for name in names]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.ptp(expected) > 0.01


def test_a_gap_counts_as_seven_at_most():
    method = AGM(alpha=0.5)
    ratios = {"visual": tf.constant(1.0), "audio": tf.constant(1.0)}
    method.coefficients(ratios)
    method.state["AGM.mean"].assign([0.0, 3.0])
    method.state["AGM.count"].assign(1.0)
    found = method.coefficients(ratios)
    # tau is e^3 and e^-3.
    assert float(found["visual"]) == pytest.approx(np.exp(0.5 * 7))
    assert float(found["audio"]) == pytest.approx(np.exp(0.5 * (np.exp(-3) - 1)))


def test_agm_counts_rows_by_their_weight():
    method = AGM()
    model = eager(method)
    inputs, labels = data()
    weights = np.linspace(0, 2, BATCH).astype(np.float32)
    step = model._step(inputs, labels, labels, weights, *model(inputs, unimodal=True))
    rows = np.arange(BATCH)
    expected = [
        -(weights * np.log(softmax(part.numpy())[rows, labels])).sum()
        for part in ogm_tf.modulation.agm.marginal_logits(step).values()
    ]
    np.testing.assert_allclose(method.statistics(step), [*expected, weights.sum()], rtol=1e-5)


def test_answers_that_are_wrong_beyond_doubt_leave_finite_weights():
    method = AGM()
    model = eager(method)
    model.fusion.kernel.assign(18000 * model.fusion.kernel)
    for seed in range(3):
        assert model.train_on_batch(*data(seed=seed), return_dict=True)["skipped_steps"] == 0
    assert all(np.isfinite(value).all() for value in model.get_weights())
    largest = -np.log(1e-8)
    assert 10 < np.max(method.state["AGM.mean"]) <= largest + 1e-4


@pytest.mark.parametrize("alpha", [12.0, 20.0])
def test_a_coefficient_that_is_too_large_skips_the_step(alpha):
    """The smaller of them is a number, and what it makes of the gradients is none."""
    model = eager(AGM(alpha=alpha))
    model.fusion.kernel.assign(18000 * model.fusion.kernel)
    model.train_on_batch(*data())
    before = model.get_weights()
    assert model.train_on_batch(*data(seed=1), return_dict=True)["skipped_steps"] == 1
    assert model.last_skipped == "what the method makes of the batch"
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.modulation.state["AGM.count"] == 1


def test_outside_of_its_window_agm_stops_no_step():
    """Though what it compares by, as of inputs of zeros, is no number."""
    method = AGM(start_epoch=5)
    model = eager(method)
    method.statistics = lambda step: tf.fill([3], np.float32(np.nan))
    inputs, labels = data()
    for epoch, skipped in ((0, 0), (5, 1)):
        model.epoch.assign(epoch)
        result = model.train_on_batch(inputs, labels, return_dict=True, reset_metrics=True)
        assert result["skipped_steps"] == skipped
    assert method.state["AGM.count"] == 0


def test_after_its_window_agm_passes_no_network_and_keeps_its_reference():
    method = AGM(end_epoch=0)
    model = eager(method)
    passes = []
    seen = method._compared
    method._compared = lambda step: passes.append(0) or seen(step)
    for epoch in (0, 0, 1, 1):
        model.epoch.assign(epoch)
        result = model.train_on_batch(*data(), return_dict=True, reset_metrics=True)
    assert len(passes) == 2
    assert model.method_state["AGM.count"] == 2 and np.all(model.method_state["AGM.mean"] > 0)
    assert result["audio_ratio"] == result["visual_ratio"] == 1
