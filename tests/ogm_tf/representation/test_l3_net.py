"""L3-Net against an independent NumPy version."""

import keras
import numpy as np
import pytest

from ogm_tf.representation import l3_net


def numpy_encoder(encoder, x, num_blocks, pad_pools):
    """Two convolutions a block, each normalised and only then rectified, and pools between."""
    for block in range(1, num_blocks + 1):
        if block > 1:
            odd = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
            if pad_pools:
                x = np.pad(x, odd, constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))
            x = windows[:, ::2, ::2].max(axis=(-1, -2))
        for name in (f"conv{block}_1", f"conv{block}_2"):
            kernel, bias = encoder.get_layer(f"{name}_conv").get_weights()
            gamma, beta, mean, variance = encoder.get_layer(f"{name}_bn").get_weights()
            x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
            x = np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias
            x = np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0)
    return x


def test_network_equals_numpy():
    network = l3_net.build(
        "small", audio_shape=(11, 9, 1), visual_shape=(11, 9, 3), channels=(2, 3, 4), head_units=5
    )
    random = np.random.default_rng(0)
    inputs, features = [], []
    for name, encoder in network.encoders.items():
        encoder.set_weights([random.uniform(-0.5, 1, w.shape) ** 2 for w in encoder.get_weights()])
        for layer in encoder.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                gamma, beta, mean, variance = layer.get_weights()
                layer.set_weights([gamma - 0.4, beta - 0.5, mean + 1, variance + 0.5])
        inputs.append(random.normal(size=(2, *network.inputs[name])).astype(np.float32))
        features.append(numpy_encoder(encoder, inputs[-1], 3, pad_pools=name == "visual"))
        np.testing.assert_allclose(encoder(inputs[-1]), features[-1], rtol=1e-4, atol=1e-5)
    # Odd sides: whole windows only in the sound's pools, and one more in the picture's.
    assert [feature.shape[1:3] for feature in features] == [(2, 2), (3, 3)]

    logits = network.fusion(features)
    hidden, bias, output, output_bias = network.fusion.get_weights()
    vector = np.concatenate([feature.max(axis=(1, 2)) for feature in features], axis=1)
    expected = np.maximum(vector @ hidden + bias, 0) @ output + output_bias
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_side_of_less_than_one_window():
    with pytest.raises(ValueError, match=r"3 halvings.*Received: audio_shape=\(64, 7, 1\)"):
        l3_net.build("small", audio_shape=(64, 7, 1))
