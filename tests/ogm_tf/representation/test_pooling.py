"""One vector a sound, from what an audio encoder returns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.representation import avsa, l3_net, pooling


def test_mean_and_maximum_over_all_places():
    features = tf.constant([[[[1.0, 8], [2, 6]], [[3, 4], [6, 2]]]])
    np.testing.assert_array_equal(pooling.pooled(features), [[3, 5, 6, 8]])
    np.testing.assert_array_equal(pooling.pooled(features[:, 0]), [[1.5, 7, 2, 8]])
    np.testing.assert_array_equal(pooling.pooled(features[0, 0]), [[1, 8], [2, 6]])
    with pytest.raises(ValueError, match=r"Received: shape \(3,\)"):
        pooling.pooled(tf.zeros([3]))


def test_embedding_of_avsa_lies_before_its_fractional_pooling(tmp_path):
    encoder = avsa.build("small").encoders["audio"]
    waveform = np.random.default_rng(0).uniform(-1, 1, (2, 8192, 2)).astype(np.float32)
    model = pooling.embedding_model(encoder)
    features = keras.Model(encoder.inputs, encoder.get_layer("conv4_1").output)(waveform)
    assert features.shape == (2, 8, 32)
    expected = np.concatenate([np.mean(features, axis=1), np.max(features, axis=1)], axis=1)
    np.testing.assert_allclose(model(waveform), expected, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "embedding.keras")
    loaded = keras.models.load_model(tmp_path / "embedding.keras")
    np.testing.assert_allclose(loaded(waveform), expected, rtol=1e-5, atol=1e-6)


def test_embedding_of_l3_net_is_of_its_output():
    encoder = l3_net.build("small").encoders["audio"]
    spectrogram = np.random.default_rng(0).normal(size=(2, 64, 48, 1)).astype(np.float32)
    expected = pooling.pooled(encoder(spectrogram))
    assert expected.shape == (2, 128)
    embedding = pooling.embedding_model(encoder)
    np.testing.assert_allclose(embedding(spectrogram), expected, rtol=1e-5, atol=1e-6)
