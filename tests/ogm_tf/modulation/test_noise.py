"""The noise of generalisation enhancement: Gaussian, independent, reproducible.

Every tolerance is five standard errors of what is measured, of a normal distribution.
"""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation.noise import (
    gradient_noise,
    gradient_noise_stddev,
    noise_seeds,
    scale_and_add_noise,
)
from tests.ogm_tf.tiny_models import (
    BATCH,
    CLASSES,
    compiled,
    data,
    eager,
    logits_loss,
    step_change,
)

SIZE = 4_000_000


def standard(seed, size=SIZE):
    """Noise of deviation 1, float64."""
    gradient = tf.concat([tf.ones(size // 2), -tf.ones(size // 2)], axis=0)
    return gradient_noise(gradient, seed).numpy().astype(np.float64)


@pytest.fixture(scope="module")
def noise():
    return standard([5, 6])


def test_moments(noise):
    standard_errors = np.sqrt(np.array([1, 2, 15, 96]) / SIZE)
    moments = [np.mean(noise**power) for power in (1, 2, 3, 4)]
    np.testing.assert_array_less(np.abs(np.subtract(moments, [0, 1, 0, 3])), 5 * standard_errors)


@pytest.mark.parametrize("deviations", [0.5, 1, 2, 3, 4])
def test_tails(noise, deviations):
    expected = SIZE * math.erfc(deviations / math.sqrt(2))
    # A limit inside one of the 65,536 parts counts all of the part, or nothing of it.
    allowed = 5 * math.sqrt(expected) + SIZE / 65536
    assert abs(np.sum(np.abs(noise) > deviations) - expected) < allowed


def test_distribution(noise):
    """Kolmogorov's distance; 1.95 / sqrt(n) is exceeded once in a thousand draws."""
    ordered = np.sort(noise[:1_000_000])
    normal = 0.5 * (1 + tf.math.erf(tf.constant(ordered) / math.sqrt(2)).numpy())
    steps = np.arange(1, ordered.size + 1) / ordered.size
    assert np.max(np.abs(steps - normal)) < 1.95 / math.sqrt(ordered.size) + 1 / 65536


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 64, 576, 4096, 65536, 1 << 20])
def test_positions_are_independent(noise, lag):
    first, second = noise[:-lag], noise[lag:]
    limit = 5 / math.sqrt(first.size)
    assert abs(np.mean(first * second)) < limit
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < limit


def test_neighbours_fill_the_plane_evenly(noise):
    """Chi-square of pairs over 16 x 16 parts of equal probability."""
    cells = np.floor(8 * (1 + tf.math.erf(noise / math.sqrt(2)).numpy())).astype(int).clip(0, 15)
    counts = np.bincount(16 * cells[::2] + cells[1::2], minlength=256)
    expected = SIZE / 2 / 256
    chi_square = np.sum((counts - expected) ** 2 / expected)
    # 16 cells an axis do not cut the 65,536 parts, so 255 degrees of freedom are exact.
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


def test_tensors_and_steps_are_independent():
    size = 1 << 18
    seeds = [row for step in range(4) for row in noise_seeds(0, tf.constant(step), 5)]
    draws = np.stack(
        [standard(seed, size) for seed in [*seeds, [0, 0], [0, 1], [1, 0], [2**31 - 1, 7]]]
    )
    limit = 5 / math.sqrt(size)
    for values in (draws, draws**2 / math.sqrt(2)):
        covariance = np.cov(values)
        np.fill_diagonal(covariance, 0)
        assert np.abs(covariance).max() < limit
    # Nor is one the other, shifted.
    for shift in range(1, 40):
        assert np.abs(np.mean(draws[:-1, shift:] * draws[1:, :-shift], axis=1)).max() < limit


def test_noise_has_the_spread_of_its_gradient_and_nothing_else_of_it():
    gradient = tf.random.stateless_normal([3, 3, 64, 512], [1, 2], mean=0.3, stddev=0.02)
    drawn = gradient_noise(gradient, [5, 6]).numpy().ravel()
    flat = gradient.numpy().ravel()
    assert drawn.std() == pytest.approx(flat.std(ddof=1), rel=5 / math.sqrt(2 * flat.size))
    assert abs(np.corrcoef(drawn, flat)[0, 1]) < 5 / math.sqrt(flat.size)


def test_the_deviation_is_unbiased_and_zero_for_one_element():
    assert float(gradient_noise_stddev(tf.constant([1.0, 2.0, 4.0]))) == pytest.approx(
        np.std([1, 2, 4], ddof=1), rel=1e-6
    )
    assert float(gradient_noise_stddev(tf.constant([[3.0]]))) == pytest.approx(1e-8)


def test_noise_is_a_function_of_seed_step_and_variable():
    gradient = tf.random.stateless_normal([64, 64], [0, 0])

    def draw(run_seed, step, index):
        return gradient_noise(gradient, noise_seeds(run_seed, tf.constant(step), 4)[index]).numpy()

    first = draw(0, 7, 1)
    np.testing.assert_array_equal(first, draw(0, 7, 1))
    for other in (draw(1, 7, 1), draw(0, 8, 1), draw(0, 7, 2)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / 64


def test_a_hand_computed_number():
    """The hash of position 0 under the keys 0 and 0 is 0: the lowest part of the table."""
    drawn = gradient_noise(tf.constant([1.0, 2.0]), [0, 0]).numpy()
    assert drawn[0] == pytest.approx(-4.3875 * math.sqrt(0.5), rel=1e-4)


def test_scaling_and_adding_is_one_and_the_same_noise():
    gradients = [tf.random.stateless_normal(shape, [0, 1]) for shape in ([7, 3], [5], [7, 3])]
    seeds = noise_seeds(3, tf.constant(2), 3)
    results = scale_and_add_noise(gradients, [tf.constant(k) for k in (0.3, 1.0, 0.5)], seeds)
    for gradient, k, seed, result in zip(gradients, (0.3, 1.0, 0.5), seeds, results, strict=True):
        expected = k * gradient + gradient_noise(gradient, seed)
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_noise_keeps_the_type(dtype):
    gradient = tf.cast(tf.random.stateless_normal([33, 17], [0, 0]), dtype)
    drawn = gradient_noise(gradient, [3, 4])
    assert drawn.dtype == dtype and drawn.shape == [33, 17]
    expected = gradient_noise(tf.cast(gradient, tf.float32), [3, 4])
    np.testing.assert_allclose(tf.cast(drawn, tf.float32), expected, rtol=1e-2)


def test_noise_is_the_same_under_xla_and_in_graphs():
    gradient = tf.random.stateless_normal([33, 17], [0, 0])
    eager = gradient_noise(gradient, tf.constant([3, 4]))
    for jit_compile in (True, False):
        compiled = tf.function(gradient_noise, jit_compile=jit_compile)
        np.testing.assert_allclose(eager, compiled(gradient, tf.constant([3, 4])), rtol=1e-5)


def test_noise_is_added_to_every_kernel_and_nothing_else():
    keras.utils.set_random_seed(0)
    names = ("audio", "visual")
    model = ogm_tf.OGMModel(
        {
            name: keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(512, name=name)])
            for name in names
        },
        ogm_tf.fusion.Concat(CLASSES),
        ogm_tf.OGMGE(alpha=0.0, seed=5),
    )
    compiled(model, keras.optimizers.SGD(1.0))
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(BATCH, 64)).astype(np.float32) for name in names}
    labels = random.integers(0, CLASSES, BATCH)
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    gradients = tape.gradient(loss, model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch(inputs, labels)
    noises = []
    for variable, gradient, old in zip(model.trainable_variables, gradients, before, strict=True):
        added = old - variable.numpy() - gradient.numpy()
        if variable.shape == (64, 512):
            assert added.std() == pytest.approx(gradient.numpy().std(ddof=1), rel=0.02)
            noises.append(added.ravel() / added.std())
        else:
            np.testing.assert_allclose(added, 0, atol=1e-6)
    assert len(noises) == 2
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.025


def test_noise_is_that_of_the_step_and_of_the_seed():
    def noise(seed, steps):
        """What each of some steps from the same weights adds to those of OGM."""
        found = []
        for method in (ogm_tf.OGM(0.5), ogm_tf.OGMGE(0.5, seed=seed)):
            model = eager(method)
            start = model.get_weights()
            for _ in range(steps):
                model.set_weights(start)
                change = step_change(model, *data())
            found.append(np.concatenate([own.ravel() for own in change]))
        return found[1] - found[0]

    drawn = [noise(0, 1), noise(0, 1), noise(0, 2), noise(1, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    for other in drawn[2:]:
        assert abs(np.corrcoef(drawn[0], other)[0, 1]) < 0.4
