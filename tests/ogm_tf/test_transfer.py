"""Starting from another model's weights: what fits is copied, what does not is said."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.transfer import copy_weights
from tests.ogm_tf import tiny_models


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_another_model():
    source, target = tiny_models.build(), tiny_models.build()
    for weight in source.weights:
        weight.assign(tf.random.stateless_normal(weight.shape, [1, 2], alg="philox"))
    copy_weights(source, target)
    assert_same(target.get_weights(), source.get_weights())


def test_a_head_of_another_number_of_classes_starts_afresh(caplog):
    source = tiny_models.build()
    target = ogm_tf.OGMModel(
        {name: tiny_models.encoder(name) for name in source.encoders}, ogm_tf.fusion.Concat(5)
    )
    target({name: tf.zeros([1, 6]) for name in source.encoders})
    head = [weight.numpy() for weight in target.fusion.weights]
    copy_weights(source, target)
    assert_same([weight.numpy() for weight in target.fusion.weights], head)
    for name, encoder in target.encoders.items():
        assert_same(encoder.get_weights(), source.encoders[name].get_weights())
    assert "start afresh" in caplog.text and "(8, 5)" in caplog.text


def test_encoders_must_fit():
    target = tiny_models.build()
    other = ogm_tf.OGMModel(
        {name: tiny_models.encoder(name, units=7) for name in target.encoders},
        ogm_tf.fusion.Concat(3),
    )
    other({name: tf.zeros([1, 6]) for name in target.encoders})
    before = target.get_weights()
    with pytest.raises(ValueError, match=r"'visual' must fit.*\(5, 4\). Received: .*\(5, 7\)"):
        copy_weights(other, target)
    assert_same(target.get_weights(), before)


def test_random_streams_stay_the_models_own():
    def model(seed):
        encoders = {
            name: keras.Sequential(
                [keras.layers.Input((6,)), keras.layers.Dense(4), ogm_tf.layers.Dropout(0.5, seed)],
                name=name,
            )
            for name in ("visual", "audio")
        }
        built = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(3))
        built({name: tf.zeros([1, 6]) for name in encoders})
        return built

    source, target = model(5), model(9)
    source({name: tf.zeros([1, 6]) for name in source.encoders}, training=True)
    copy_weights(source, target)
    for name, encoder in target.encoders.items():
        kernel, bias, stream = encoder.get_weights()
        assert_same([kernel, bias], source.encoders[name].get_weights()[:2])
        assert stream.tolist() == [9, 0]
