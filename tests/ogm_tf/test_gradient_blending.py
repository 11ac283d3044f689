"""The estimates of G-Blend: by hand, all put back, the same on two devices."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.gradient_blending import GBlendEstimator, blend
from ogm_tf.modulation import AGM, OPM, PMR, GBlend
from tests.ogm_tf.tiny_models import (
    BATCH,
    RATE,
    build,
    compiled,
    dataset,
    encoder,
    logits_loss,
)


def test_heads_that_learn_much_and_overfit_little_weigh_most():
    before = np.array([[1.0, 1.2], [1.0, 1.1], [1.0, 1.0]])
    after = np.array([[0.4, 0.8], [0.8, 1.0], [0.9, 1.1]])
    # G 0.4, 0.1, 0; O 0.2, 0.1.
    weights = np.array([0.4 / 0.04, 0.1 / 0.01, 0.0])
    np.testing.assert_allclose(blend(before, after), weights / weights.sum())
    assert blend(before, before + 0.1) is None
    assert blend(before, np.where(after == 0.8, np.nan, after)) is None
    assert blend(np.where(before == 1.2, np.inf, before), after) is None


def test_a_head_that_hardly_learns_gets_no_weight_for_not_overfitting():
    before = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    after = np.array([[0.5, 0.6], [0.55, 0.6], [1.0 - 1e-5, 1.0 - 1e-5]])
    # G 0.4, 0.4, 1e-5; O 0.1, 0.05, and none: a hundredth of 0.4.
    weights = np.array([0.4 / 0.01, 0.4 / 0.0025, 1e-5 / 0.004**2])
    np.testing.assert_allclose(blend(before, after), weights / weights.sum())


@pytest.mark.parametrize("name", ["sgd", "sgdw"])
def test_heads_are_trained_without_what_the_joint_training_has_set_in_motion(name):
    found = []
    for passes in (0, 1):
        model = compiled(
            build(GBlend()), ogm_tf.optimizers.get(name, learning_rate=0.1, momentum=0.9)
        )
        model.fit(dataset(3), epochs=2, verbose=0)
        estimator = GBlendEstimator(dataset(3), dataset(2, seed=9))
        estimator.set_model(model)
        moving = ogm_tf.optimizers.momentums(model.optimizer)
        assert len(moving) == len(model.trainable_variables)
        for momentum in moving:
            momentum.assign(tf.fill(momentum.shape, passes * 0.5))
        found.append(estimator.estimate())
        for momentum in moving:
            np.testing.assert_array_equal(momentum, passes * 0.5)
    np.testing.assert_array_equal(found[0], found[1])


def estimated_by_hand(training, held_out, epochs):
    """Returns the weights of the estimate of `build()`, in loops of plain gradient descent."""

    def losses(model, rows):
        inputs, labels = next(iter(rows.unbatch().batch(1000)))
        logits, parts = model(inputs, unimodal=True)
        return [float(logits_loss()(labels, own)) for own in (logits, *parts.values())]

    def measured(model):
        return np.transpose([losses(model, rows) for rows in (training, held_out)])

    before, after = measured(build()), []
    for head in range(3):
        model = build()
        for inputs, labels in itertools.chain(*[training] * epochs):
            with tf.GradientTape() as tape:
                logits, parts = model(inputs, training=True, unimodal=True)
                loss = logits_loss()(labels, [logits, *parts.values()][head])
            variables = model.trainable_variables
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(RATE * gradient)
        after.append(measured(model)[head])
    gained = np.maximum(before[:, 1] - np.array(after)[:, 1], 0)
    overfit = np.subtract(*np.transpose(after)[::-1]) - (before[:, 1] - before[:, 0])
    weights = gained / np.maximum(np.abs(overfit), gained.max() / 100) ** 2
    return weights / weights.sum()


@pytest.mark.parametrize("how", ["one", "replicas", "six at once", "summed", "padded"])
def test_an_estimate_by_hand(how, mirrored):
    """The last held-out batch has one row, which leaves a replica of two without any."""
    training, held_out = dataset(7), dataset(3, seed=9).unbatch().take(17).batch(8)
    with (mirrored if how == "replicas" else tf.distribute.get_strategy()).scope():
        model = build(GBlend())
        steps = 6 if how == "six at once" else 1
        optimizer, loss = keras.optimizers.SGD(RATE), logits_loss()
        if how == "summed":
            optimizer, loss = keras.optimizers.SGD(RATE / BATCH), logits_loss(reduction="sum")
        model.compile(optimizer, loss, steps_per_execution=steps)
    judged = held_out
    if how == "padded":
        weights = tf.data.Dataset.from_tensor_slices(tf.cast(tf.range(24) < 17, tf.float32))
        rows = tf.data.Dataset.zip((dataset(3, seed=9).unbatch(), weights))
        judged = rows.map(lambda row, weight: (*row, weight)).batch(8)
    estimator = GBlendEstimator(training, judged, epochs=2)
    estimator.set_model(model)
    found = estimator.estimate()
    expected = estimated_by_hand(training, held_out, epochs=2)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    assert np.sort(expected)[1] > 0.01
    assert int(model._steps_per_execution.numpy()) == steps


def test_a_pass_without_an_update_is_refused():
    estimator = GBlendEstimator(dataset(3), dataset(2))
    with pytest.raises(ValueError, match="Received: steps=3, accumulate_steps=4"):
        estimator.set_model(compiled(build(GBlend(), accumulate_steps=4)))


def test_an_estimate_that_finds_nothing_says_so(caplog):
    model = compiled(build(GBlend()))
    estimator = GBlendEstimator(dataset(3), dataset(2, seed=9))
    estimator.set_model(model)
    model.modulation.weights(2).assign([0.5, 0.3, 0.2])
    estimator._train = lambda step: None
    np.testing.assert_allclose(estimator.estimate(), [0.5, 0.3, 0.2])
    assert "No head gets better" in caplog.text
    estimator.held_out = dataset(2).take(0)
    with pytest.raises(ValueError, match="must have rows.* Received: 0 batches without any, of <"):
        estimator.estimate()


def test_super_epochs_count_from_the_window(monkeypatch):
    model = compiled(build(GBlend(start_epoch=2, end_epoch=8)))
    estimator = GBlendEstimator(dataset(3), dataset(2, seed=9), super_epoch=3)
    epochs = []
    monkeypatch.setattr(
        estimator, "estimate", lambda: epochs.append(int(model.epoch)) or np.ones(3) / 3
    )
    model.fit(dataset(3), epochs=12, verbose=0, callbacks=[estimator])
    # As of the epoch that comes, of which the first is estimated for at the end of the one before.
    assert epochs == [2, 5, 8]
    # A new network whose first epoch lies in the window.
    again = compiled(build(GBlend(start_epoch=2)))
    monkeypatch.setattr(
        estimator, "estimate", lambda: epochs.append(int(again.epoch)) or np.ones(3) / 3
    )
    again.fit(dataset(3), initial_epoch=4, epochs=5, verbose=0, callbacks=[estimator])
    assert epochs == [2, 5, 8, 4]


def test_gblend_estimates_and_puts_everything_back():
    method = GBlend()
    model = compiled(build(method), keras.optimizers.SGD(0.1, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    training, held_out = dataset(3), dataset(2, seed=9)
    estimator = GBlendEstimator(training, held_out, super_epoch=2, epochs=2)
    seen = []

    class Looks(keras.callbacks.Callback):
        def look(self):
            values = [
                *self.model.get_weights(),
                *(v.numpy() for v in self.model.optimizer.variables),
            ]
            seen.append(([np.array(v) for v in values], method.weights(2).numpy()))

        def on_epoch_begin(self, epoch, logs=None):
            self.look()

        def on_epoch_end(self, epoch, logs=None):
            self.look()

    model.fit(training, epochs=4, verbose=0, callbacks=[Looks(), estimator, Looks()])
    # Before and after the estimator: at the begin and the end of epochs 0 to 3.
    for before, after in zip(seen[::2], seen[1::2], strict=True):
        for ours, theirs in zip(after[0], before[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    changed = [
        not np.array_equal(before[1], after[1])
        for before, after in zip(seen[::2], seen[1::2], strict=True)
    ]
    # New before the first epoch and after the second; after the last nobody needs any.
    assert changed == [True, False, False, True, False, False, False, False]
    np.testing.assert_allclose(seen[0][1], 1 / 3)
    assert seen[1][1].sum() == pytest.approx(1)
    # A training that goes on has its weights.
    seen.clear()
    model.fit(training, epochs=1, verbose=0, callbacks=[Looks(), estimator, Looks()])
    np.testing.assert_array_equal(seen[0][1], seen[1][1])


def test_gblend_puts_back_what_other_methods_remember():
    """Though nothing of it is there before the first step is traced."""
    method = OPM(probability=1.0) + PMR() + AGM() + GBlend()
    model = compiled(build(method))
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append([variable.numpy() for variable in method.state.values()])
            seen.append([self.model.epoch.numpy()])

    training = dataset(3)
    estimator = GBlendEstimator(training, dataset(2, seed=9))
    model.fit(training, epochs=1, verbose=0, callbacks=[estimator, Looks()])
    fresh = compiled(build(OPM(probability=1.0) + PMR() + AGM() + GBlend()))
    batches = iter(training)
    fresh.make_train_function().get_concrete_function(batches)
    names, of_model = (
        [variable.name.split("/")[-1] for variable in own]
        for own in (fresh.method_state.values(), method.state.values())
    )
    assert len(names) > 8 and names == of_model
    for name, ours, theirs in zip(names, seen[0], fresh.method_state.values(), strict=True):
        if name.startswith("weights"):
            assert not np.allclose(ours, 1 / 3, atol=0.01)
        else:
            np.testing.assert_array_equal(ours, theirs, name)
    assert seen[1] == [0]


def test_gblend_estimates_nothing_past_its_window():
    method = GBlend(end_epoch=1)
    model = compiled(build(method))
    estimator = GBlendEstimator(dataset(3), dataset(2, seed=9), super_epoch=1)
    found = []

    class Counts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append(method.weights(2).numpy().tolist())

    model.fit(dataset(3), epochs=4, verbose=0, callbacks=[estimator, Counts()])
    assert found[0] == found[1] == found[2]


def with_batch_norm(strategy, synchronized):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        encoders = {
            name: keras.Sequential(
                [
                    keras.layers.Input((6,)),
                    keras.layers.BatchNormalization(synchronized=synchronized),
                    encoder(name),
                ],
                name=name,
            )
            for name in ("visual", "audio")
        }
        model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(3), GBlend() + ogm_tf.OGMGE(0.5))
        model({name: tf.zeros([1, 6]) for name in encoders})
        return compiled(model)


def of_each_replica(model, strategy):
    """Returns what each replica has of every variable but the weights of the losses."""
    _, *of_methods = model.method_state.values()
    variables = [*model.weights, *model.optimizer.variables, *of_methods]
    return [
        value.numpy()
        for variable in variables
        for value in strategy.experimental_local_results(variable)
    ]


@pytest.mark.slow
def test_two_devices_estimate_as_one(mirrored):
    found = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        model = with_batch_norm(strategy, synchronized=True)
        estimator = GBlendEstimator(dataset(3), dataset(2, seed=9))
        model.fit(dataset(3), epochs=1, verbose=0, callbacks=[estimator])
        found.append(model.method_state["GBlend.weights"].numpy())
        found.append(model.get_weights())
    np.testing.assert_allclose(found[2], found[0], rtol=1e-3)
    assert np.ptp(found[0]) > 0.01
    for ours, theirs in zip(found[3], found[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_every_replica_gets_its_own_averages_back(mirrored):
    model = with_batch_norm(mirrored, synchronized=False)
    estimator = GBlendEstimator(dataset(3), dataset(2, seed=9))
    model.fit(dataset(3), epochs=1, verbose=0, callbacks=[estimator])
    before = of_each_replica(model, mirrored)
    estimator.estimate()
    for ours, theirs in zip(of_each_replica(model, mirrored), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    means = [v for v in model.weights if "moving_mean" in v.name]
    first, second = (value.numpy() for value in mirrored.experimental_local_results(means[0]))
    assert np.abs(first - second).max() > 1e-3


def test_the_loss_scale_and_the_count_of_steps_are_put_back():
    keras.mixed_precision.set_global_policy("mixed_float16")
    optimizer = keras.mixed_precision.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=8, dynamic_growth_steps=2
    )
    model = compiled(build(GBlend()), optimizer)
    model.fit(dataset(3), verbose=0)
    before = float(optimizer.loss_scale), int(optimizer.dynamic_counter), int(model._train_counter)
    # Its steps are counted on from the first of `fit`.
    estimator = GBlendEstimator(dataset(3), dataset(2, seed=9))
    estimator.set_model(model)
    estimator.estimate()
    after = float(optimizer.loss_scale), int(optimizer.dynamic_counter), int(model._train_counter)
    assert after == before == (16.0, 1, 3)


def test_a_model_that_runs_eagerly_gets_all_back():
    method = GBlend() + PMR()
    model = build(method, accumulate_steps=2)
    compiled(model, keras.optimizers.legacy.SGD(0.1, momentum=0.9), run_eagerly=True)
    estimator = GBlendEstimator(dataset(3), dataset(2, seed=9))
    estimator.set_model(model)
    before = model.get_weights()
    assert estimator.estimate().sum() == pytest.approx(1)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(model._accumulator.count) == 0
    found = {name: v.numpy() for name, v in method.state.items()}
    assert len(found) > 3 and not np.any(found["PMR.visual_prototypes"])


def test_an_estimate_that_fails_leaves_the_model_as_it_was():
    """What is held out cannot be read once a head has been trained."""
    model = compiled(build(GBlend()))
    model.fit(dataset(3), verbose=0)
    readings = itertools.count(1)

    class Failing(GBlendEstimator):
        def _read(self, batches):
            if next(readings) == 6:
                raise OSError("damaged")
            return super()._read(batches)

    estimator = Failing(dataset(3), dataset(2, seed=9))
    estimator.set_model(model)
    before = [v.numpy() for v in (*model.weights, *model.method_state.values())]
    with pytest.raises(OSError, match="damaged"):
        estimator.estimate()
    after = [v.numpy() for v in (*model.weights, *model.method_state.values())]
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"super_epoch": 0}, "Received: super_epoch=0"),
        ({"epochs": 1.5}, "Received: epochs=1.5"),
        ({"steps": 0}, "Received: steps=0"),
        ({"training": dataset(2).repeat()}, "of cardinality -1"),
        ({"training": [1]}, "must be a dataset .* of cardinality -2"),
        ({"held_out": dataset(2).repeat()}, "`held_out` must be .* of cardinality -1"),
        ({"held_out": dataset(2).take(0)}, "`held_out` must be .* of cardinality 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GBlendEstimator(**{"training": dataset(2), "held_out": dataset(2), **arguments})
