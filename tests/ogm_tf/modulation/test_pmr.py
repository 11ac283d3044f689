"""PMR: prototypes, pace and loss against NumPy."""

import numpy as np
import pytest

from ogm_tf.modulation import PMR
from tests.ogm_tf.tiny_models import BATCH, CLASSES, data, eager, softmax


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
        found = {n.removeprefix("PMR."): v.numpy() for n, v in method.state.items()}
        for name, value in prototypes.items():
            np.testing.assert_allclose(found[f"{name}_prototypes"], value, atol=1e-5)
        np.testing.assert_allclose(found["pace"], pace, atol=1e-5)
    assert pace.max() > 0.01


def test_classes_without_a_prototype_count_nowhere():
    """And rows count by their weight, and entropy until its last epoch."""
    method = PMR(strength=0.8, entropy=0.3, entropy_end_epoch=0)
    model = eager(method)
    inputs, labels = data(seed=2)
    weights = np.linspace(0.5, 2, BATCH).astype(np.float32)
    features = {n: model.encoders[n](inputs[n]).numpy() for n in model.encoders}
    model.train_on_batch(inputs, labels % 2, sample_weight=weights)
    state = method.state
    for name, values in features.items():
        np.testing.assert_array_equal(state[f"PMR.{name}_known"], [1, 1, 0])
        for k in range(2):
            rows = labels % 2 == k
            mean = np.average(values[rows], axis=0, weights=weights[rows])
            np.testing.assert_allclose(state[f"PMR.{name}_prototypes"][k], mean, atol=1e-5)
    state["PMR.pace"].assign([[0.5, 0.25], [0.75, 1.0]])
    step = model._step(inputs, labels, labels, weights, *model(inputs, True, True))
    for epoch in (0, 1):
        model.epoch.assign(epoch)
        expected = np.zeros(BATCH)
        for index, name in enumerate(model.encoders):
            values = model.encoders[name](inputs[name]).numpy()
            prototypes = state[f"PMR.{name}_prototypes"].numpy()[:2]
            p = softmax(-np.linalg.norm(values[:, None] - prototypes, axis=-1))
            right = p[np.arange(BATCH), np.minimum(labels, 1)]
            expected -= 0.8 * [0.5, 0.25][index] * np.log(right)
            if epoch == 0:
                expected += 0.3 * [0.75, 1.0][index] * (p * np.log(p)).sum(-1)
        expected = np.where(labels < 2, weights * expected, 0)
        assert (labels == 2).any()
        assert float(method.loss(step)) == pytest.approx(expected.mean(), abs=1e-5)


def test_three_modalities_are_compared_with_the_mean_of_the_others():
    method = PMR()
    model = eager(method, names=("visual", "audio", "flow"))
    inputs, labels = data(names=tuple(model.encoders), seed=1)
    for _ in range(2):
        features = {n: model.encoders[n](inputs[n]).numpy() for n in model.encoders}
        known = {n: v.numpy() for n, v in method.state.items()}
        model.train_on_batch(inputs, labels)
    right = []
    for name, values in features.items():
        prototypes = known[f"PMR.{name}_prototypes"]
        p = softmax(-np.linalg.norm(values[:, None] - prototypes, axis=-1))
        right.append(p[np.arange(BATCH), labels].sum())
    ahead, behind = [], []
    for index, own in enumerate(right):
        others = np.delete(right, index)
        ahead.append(np.clip(np.mean(own / others) - 1, 0, 1))
        behind.append(np.clip(np.mean(others / own) - 1, 0, 1))
    np.testing.assert_allclose(method.state["PMR.pace"], [behind, ahead], atol=1e-5)
    assert max(ahead) > 0.01 < max(behind)
