"""Several batches that count as one, against the one batch they make."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from tests.ogm_tf.tiny_models import BATCH, build, compiled, dataset


def train(model, batch, **kwargs):
    model.fit(dataset(steps=12 * BATCH // batch, batch=batch), verbose=0, **kwargs)
    return model


@pytest.mark.parametrize(
    ("modulation", "regularizer"), [(None, None), (ogm_tf.OGMGE(0.7, seed=3), "l2")]
)
def test_micro_batches_equal_the_large_batch(modulation, regularizer):
    def optimizer():
        return ogm_tf.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-3)

    large = train(compiled(build(modulation, regularizer=regularizer), optimizer()), 4 * BATCH)
    small = compiled(build(modulation, regularizer=regularizer, accumulate_steps=4), optimizer())
    train(small, BATCH)
    assert small.optimizer.iterations == large.optimizer.iterations == 3
    for ours, theirs in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for name, values in large.history.history.items():
        assert small.history.history[name] == pytest.approx(values, rel=1e-5), name


def test_a_replicated_model_accumulates_alike(mirrored):
    weights = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = compiled(build(ogm_tf.OGMGE(0.7), regularizer="l2", accumulate_steps=3))
        weights.append(train(model, BATCH).get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_what_is_frozen_between_two_trainings():
    model = train(compiled(build(ogm_tf.OGM(0.7), accumulate_steps=2)), BATCH)
    model.encoders["audio"].trainable = False
    compiled(model)
    before = model.encoders["audio"].get_weights()
    train(model, BATCH)
    for old, new in zip(before, model.encoders["audio"].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    model.encoders["audio"].trainable = True
    train(compiled(model), BATCH)
    assert not np.array_equal(before[0], model.encoders["audio"].get_weights()[0])


def test_an_epoch_without_an_update_is_said(caplog):
    model = compiled(build(ogm_tf.OGM(0.7), accumulate_steps=8))
    model.fit(dataset(steps=5), verbose=0)
    model.fit(dataset(steps=5), verbose=0)
    assert model.optimizer.iterations == 0
    assert "5 batches, of which accumulate_steps=8 make an update" in caplog.text


def test_leftovers_are_dropped_and_counted():
    model = compiled(build(ogm_tf.OGM(0.7), accumulate_steps=5))
    history = model.fit(dataset(steps=12), epochs=2, verbose=0).history
    assert history["leftover_steps"] == [2, 2]
    # Two updates an epoch: what was left over did not slip into the next.
    assert model.optimizer.iterations == 4
    whole = compiled(build(ogm_tf.OGM(0.7), accumulate_steps=5))
    whole.fit(dataset(steps=12).take(10), epochs=2, verbose=0)
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_saved_model_accumulates_on(tmp_path):
    model = train(compiled(build(ogm_tf.OGMGE(0.7), accumulate_steps=2)), BATCH)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.accumulate_steps == 2
    for network in (model, again):
        train(network, BATCH)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_a_wrong_number_of_batches_is_refused(steps):
    with pytest.raises(ValueError, match="integer >= 1. Received: accumulate_steps="):
        build(accumulate_steps=steps)
