"""Steps that are not finite: they change nothing, are counted, and end a diverged run."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.modulation.skipping import are_finite
from tests.ogm_tf.tiny_models import BATCH, build, compiled, data, encoder


def batches(bad, steps=6, value=np.inf, modality="audio"):
    """Batches of which the given ones hold no finite number in the first sample's modality."""
    elements = []
    for step in range(steps):
        inputs, labels = data(seed=step)
        if step in bad:
            inputs[modality][0, 0] = value
        elements.append((inputs, labels))
    inputs = {n: np.concatenate([x[n] for x, _ in elements]) for n in elements[0][0]}
    labels = np.concatenate([y for _, y in elements])
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(BATCH)


def good(bad, steps=6, value=None):
    """The batches of `batches` that are finite."""
    kept = [step for step in range(steps) if step not in bad]
    return (
        batches(bad, steps)
        .enumerate()
        .filter(lambda step, _: tf.reduce_any(step == kept))
        .map(lambda _, element: element)
    )


def fit_both(model, bad, **kwargs):
    """Weights, history and updates: with bad batches, and, from the same start, without them."""
    start = model.get_weights()
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)
    of_optimizer = [(variable, variable.numpy()) for variable in model.optimizer.variables()]
    results = []
    for take in (batches, good):
        model.set_weights(start)
        for variable, value in of_optimizer:
            variable.assign(value)
        history = model.fit(take(bad, **kwargs), verbose=0).history
        results.append((model.get_weights(), history, model.optimizer.iterations.numpy()))
    return results


@pytest.mark.parametrize(
    ("modulation", "replicas"), [(None, 1), (ogm_tf.OGM(0.7), 1), (ogm_tf.OGM(0.7), 2)]
)
def test_a_bad_step_changes_nothing_but_its_count(modulation, replicas, mirrored):
    with (mirrored if replicas == 2 else tf.distribute.get_strategy()).scope():
        optimizer = ogm_tf.optimizers.SGD(0.1, momentum=0.9)
        model = compiled(build(modulation), optimizer)
    (weights, history, iterations), (reference, expected, steps) = fit_both(model, {1, 5})
    assert history.pop("skipped_steps") == [2] and expected.pop("skipped_steps") == [0]
    assert iterations == steps == 4
    for ours, theirs in zip(weights, reference, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("replicas", [1, 2])
def test_batch_normalisation_keeps_its_averages(replicas, mirrored):
    with (mirrored if replicas == 2 else tf.distribute.get_strategy()).scope():
        encoders = {
            name: keras.Sequential([keras.layers.BatchNormalization(), encoder(name)])
            for name in ("visual", "audio")
        }
        model = compiled(
            ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(num_classes=3), ogm_tf.OGM(0.7))
        )
        model(data()[0])
    (weights, history, _), (reference, expected, _) = fit_both(model, {0, 3}, value=np.nan)
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    for ours, theirs in zip(weights, reference, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_bad_first_step_leaves_no_trace_in_the_loss():
    """Of which Keras knows nothing before that step."""
    model = compiled(build(), run_eagerly=True)
    (_, history, _), (_, expected, _) = fit_both(model, {0}, steps=3)
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_what_went_bad_is_named(caplog):
    model = compiled(build(ogm_tf.OGM(0.7)))
    assert model.last_skipped is None
    model.fit(batches(()), verbose=0)
    assert model.last_skipped is None and model.skipped_in_a_row == 0
    for modality, value in itertools.product(("visual", "audio"), (np.nan, np.inf)):
        caplog.clear()
        model.fit(batches({5}, value=value, modality=modality), verbose=0)
        assert model.skipped_in_a_row == 1
        said = "1 updates were skipped; not finite in the last of them: "
        assert said + model.last_skipped in caplog.text
        # The hyperbolic tangent of infinity is 1, and its gradient times infinity no number.
        kernel = model.branches[modality][0].name
        assert model.last_skipped == (
            f"the logits of the modality {modality!r}"
            if np.isnan(value)
            else f"the gradient of {kernel} of the modality {modality!r}"
        )


@pytest.mark.parametrize("scaled", [False, True])
def test_an_infinite_loss_with_finite_gradients_is_skipped(scaled):
    class Lossy(ogm_tf.OGMModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            loss = super().compute_loss(x, y, y_pred, sample_weight)
            return loss + tf.stop_gradient(tf.constant(np.inf))

    fusion = ogm_tf.fusion.Concat(num_classes=3)
    optimizer = keras.optimizers.SGD(0.1)
    if scaled:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    model = compiled(
        Lossy({name: encoder(name) for name in ("visual", "audio")}, fusion), optimizer
    )
    inputs, labels = data()
    model(inputs)
    before = model.get_weights()
    model.fit(inputs, labels, batch_size=BATCH, verbose=0)
    assert model.last_skipped == "the loss"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_finite_numbers_of_half_precision_are_finite():
    """Their sum, 100,000, is beyond float16; an infinity and no number at all are seen."""
    values = [tf.fill([100], tf.constant(1000.0, tf.float16)), None, tf.constant([1.0, np.nan])]
    values += [tf.IndexedSlices(tf.constant([[np.inf]]), [0])]
    assert are_finite(values).numpy().tolist() == [True, True, False, False]


def test_too_many_in_a_row_end_the_run():
    model = compiled(build(ogm_tf.OGM(0.7)))
    stop = ogm_tf.callbacks.SkippedSteps(limit=3)
    model.fit(batches({0, 1, 3, 4}), callbacks=[stop], verbose=0)
    with pytest.raises(ArithmeticError, match="3 steps in a row .* epoch 1, step 0") as error:
        model.fit(batches({0, 4, 5}), epochs=2, callbacks=[stop], verbose=0)
    assert "'audio'" in str(error.value)
    with pytest.raises(ValueError, match="Received: limit=0"):
        ogm_tf.callbacks.SkippedSteps(limit=0)


def test_a_bad_batch_spoils_only_its_own_accumulation():
    model = compiled(build(ogm_tf.OGM(0.7), accumulate_steps=2))
    history = model.fit(batches({2}), verbose=0).history
    assert history["skipped_steps"] == [1] and model.optimizer.iterations == 2
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


class OwnAverage(keras.layers.Layer):
    """Takes from its rows their average, of which replicas keep a mean."""

    def build(self, shape):
        mean = tf.VariableAggregation.MEAN
        self.average = self.add_weight("mean", [shape[-1]], trainable=False, aggregation=mean)

    def call(self, rows):
        average = tf.reduce_mean(rows, axis=0)
        self.average.assign(0.9 * self.average + 0.1 * average)
        return rows - average


@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_an_average_over_replicas_is_put_back_where_one_of_them_is_bad(mirrored, accumulate_steps):
    with mirrored.scope():
        encoders = {
            name: keras.Sequential([keras.layers.Input((6,)), OwnAverage(), encoder(name)])
            for name in ("visual", "audio")
        }
        fusion = ogm_tf.fusion.Concat(3)
        model = ogm_tf.OGMModel(encoders, fusion, ogm_tf.OGM(0.5), accumulate_steps)
        model(data()[0])
        compiled(model)
    history = model.fit(batches({2}, value=np.nan), verbose=0).history
    assert history["skipped_steps"] == [1]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_loss_scaling_sees_what_is_not_finite():
    """It halves its scale and skips the step by itself."""
    optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model = compiled(build(ogm_tf.OGM(0.7)), optimizer)
    history = model.fit(batches({1, 2}), verbose=0).history
    assert history["skipped_steps"] == [2]
    assert optimizer.loss_scale == 2**15 / 4
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
