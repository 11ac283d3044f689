"""AVCA: one time axis of both streams, and co-attention against an independent NumPy version."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.representation import avca
from ogm_tf.representation.co_attention import AVCAFusion
from ogm_tf.representation.parts import Style


def numbers(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_padding_is_symmetric():
    inputs = keras.Input((1, 4, 1))
    style = Style(0.9, 1e-5, is_symmetric=True)
    model = keras.Model(inputs, style.conv(inputs, 1, (1, 3), "first", strides=(1, 2)))
    model.set_weights([np.ones([1, 3, 1, 1])])
    # Keras' "same" would give 3, 2.
    np.testing.assert_array_equal(model(np.ones([1, 1, 4, 1]))[0, 0, :, 0], [2, 3])


@pytest.mark.parametrize(
    ("modality", "ratio"), [("audio", 1), ("audio", 2), ("audio", 4), ("visual", 1)]
)
def test_streams_move_in_time_with_their_input(modality, ratio):
    steps = 40
    network = avca.build(
        "small", audio_shape=(32, ratio * steps, 1), visual_shape=(steps, 16, 16, 3), width=2
    )
    axis = 2 if modality == "audio" else 1
    x = numbers(1, *network.inputs[modality])
    step = ratio if modality == "audio" else 1
    encoder = network.encoders[modality]
    first, second = encoder(x), encoder(np.roll(x, step, axis=axis))
    assert first.shape[axis] == steps
    # What is far enough from both ends sees no padding.
    inner = range(15, steps - 15)
    np.testing.assert_allclose(
        np.take(second, [t + 1 for t in inner], axis), np.take(first, inner, axis), atol=1e-4
    )
    assert not np.allclose(np.take(second, inner, axis), np.take(first, inner, axis), atol=1e-2)


def softmax(x):
    exponential = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponential / exponential.sum(axis=-1, keepdims=True)


def numpy_fusion(fusion, audio, visual, mode):
    """The equations, step by step and pair by pair."""
    weights = {v.name.split("/", 1)[1][:-2]: v.numpy() for v in fusion.weights}
    units = fusion.units
    logits, maps, bands = [], [], []
    for pair in range(len(audio)):
        steps = []
        for t in range(visual.shape[1]):
            own = {
                "visual": visual[pair, t].reshape(-1, visual.shape[-1]),
                "audio": audio[pair, :, t],
            }
            attended = {}
            for name, asking, only in (("visual", "audio", "a2v"), ("audio", "visual", "v2a")):
                mean = own[name].mean(axis=0)
                x = mean @ weights[f"{name}/projection/kernel"]
                x = x + weights[f"{name}/projection/bias"]
                if mode in (only, "both"):
                    query = own[asking].mean(axis=0) @ weights[f"{name}/query/kernel"]
                    keys = own[name] @ weights[f"{name}/key/kernel"]
                    weight = softmax(keys @ query / np.sqrt(units))
                    (maps if name == "visual" else bands).append(weight)
                    x = x + weight @ (own[name] @ weights[f"{name}/value/kernel"])
                x = (x - x.mean()) / np.sqrt(x.var() + 1e-3)
                attended[name] = weights[f"{name}/norm/gamma"] * x + weights[f"{name}/norm/beta"]
            x = np.concatenate([attended["visual"], attended["audio"]])
            for layer in ("hidden1", "hidden2"):
                x = np.maximum(x @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"], 0)
            steps.append(x)
        mean = np.mean(steps, axis=0)
        logits.append(mean @ weights["logits/kernel"] + weights["logits/bias"])
    return np.array(logits), np.array(maps), np.array(bands)


@pytest.mark.parametrize("mode", ["a2v", "v2a", "both"])
def test_co_attention_equals_numpy(mode):
    audio, visual = numbers(2, 3, 4, 5), numbers(2, 4, 2, 3, 6)
    fusion = AVCAFusion(units=7, head_units=8, mode=mode, name="fusion")
    fusion([audio, visual])
    random = np.random.default_rng(1)
    fusion.set_weights([random.normal(size=w.shape) for w in fusion.get_weights()])
    features = [tf.constant(audio), tf.constant(visual)]
    logits, maps, bands = numpy_fusion(fusion, audio, visual, mode)
    np.testing.assert_allclose(fusion(features), logits, rtol=1e-4, atol=1e-4)
    if mode == "v2a":
        with pytest.raises(ValueError, match="'a2v' or 'both'. Received: mode='v2a'"):
            fusion.attention_map(features)
    else:
        weights = fusion.attention_map(features)
        np.testing.assert_allclose(weights, maps.reshape(2, 4, 2, 3), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.sum(weights, axis=(2, 3)), np.ones([2, 4]), rtol=1e-5)
    if mode == "a2v":
        with pytest.raises(ValueError, match="'v2a' or 'both'. Received: mode='a2v'"):
            fusion.band_map(features)
    else:
        np.testing.assert_allclose(
            fusion.band_map(features), bands.reshape(2, 4, 3), rtol=1e-4, atol=1e-6
        )


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"16, 32 or 64. Received: audio_shape=\(64, 48, 1\)"):
        avca.build("small", audio_shape=(64, 48, 1))
    with pytest.raises(ValueError, match="one of a2v, v2a, both. Received: mode='visual'"):
        avca.build("small", mode="visual")
    with pytest.raises(ValueError, match=r"Received: features of shapes \(None, 2, 5, 4\) and"):
        AVCAFusion().build([[None, 2, 5, 4], [None, 4, 3, 3, 4]])
