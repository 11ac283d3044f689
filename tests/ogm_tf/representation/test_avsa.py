"""AVSA's own layers, by numbers worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.representation import avsa
from ogm_tf.representation.trunk import Blocks, MergeShortcut
from tests.ogm_tf.representation.tiny_networks import TINY


def blocks(renormalization=False):
    return Blocks(0.9, renormalization, l2=0.0, synchronized=False)


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_mu_law():
    waveform = tf.constant([0.0, 1.0, -1.0, 1 / 255, -3 / 255])
    np.testing.assert_allclose(avsa.MuLaw()(waveform), [0, 1, -1, 1 / 8, -1 / 4], rtol=1e-6)
    np.testing.assert_allclose(avsa.MuLaw(mu=3)(waveform)[3], np.log(1 + 1 / 85) / np.log(4))
    layer = avsa.build("small").encoders["audio"].get_layer("mu_law")
    assert layer.mu == 255
    with pytest.raises(ValueError, match="Received: mu=0"):
        avsa.MuLaw(mu=0)


def test_residual_block_strides_and_takes_every_second_value():
    inputs = keras.Input((6, 1))
    model = keras.Model(inputs, blocks().residual(inputs, 1, (3,), "block", strides=2))
    middle = np.array([0, 1, 0]).reshape(3, 1, 1)
    model.get_layer("block_1_conv").set_weights([middle])
    model.get_layer("block_2_conv").set_weights([2 * middle, np.array([10.0])])
    x = np.array([1, 2, 3, 4, 5, -60.0])
    # TensorFlow's "same" pads an even length at its end only: the kernel's middle is at 1, 3, 5.
    deviation = np.sqrt(1.001)
    inner = np.maximum(x[1::2] / deviation, 0)
    expected = (x[0::2] + 2 * inner + 10) / deviation
    np.testing.assert_allclose(model(x.reshape(1, 6, 1))[0, :, 0], expected, rtol=1e-6)
    assert [v.name for v in model.trainable_variables if "bn" in v.name] == [
        "block_1_bn/beta:0",
        "block_bn/beta:0",
    ]


def test_residual_block_projects_where_channels_change():
    inputs = keras.Input((2, 4, 4, 1))
    model = keras.Model(inputs, blocks().residual(inputs, 2, (3, 3, 3), "block", (1, 2, 2)))
    for name in ("block_1_conv", "block_2_conv"):
        layer = model.get_layer(name)
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    model.get_layer("block_shortcut_conv").set_weights([np.reshape([3.0, -1], (1, 1, 1, 1, 2))])
    x = numbers(1, 2, 4, 4, 1)
    expected = np.maximum(x[:, :, ::2, ::2] * [3.0, -1] / 1.001, 0)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5)


def test_renormalization_begins_as_the_identity():
    inputs = keras.Input((5, 3))
    x = numbers(4, 5, 3)

    def trained(renormalization):
        outputs = blocks(renormalization).join(inputs, inputs, "end")
        return keras.Model(inputs, outputs)(x, training=True)

    # Its running averages, 0 and 1, normalise; the batch's own do without it.
    np.testing.assert_allclose(trained(True), np.maximum(2 * x, 0), rtol=1e-4, atol=1e-5)
    normalized = (x - x.mean(axis=(0, 1))) / np.sqrt(x.var(axis=(0, 1)) + 1e-3 / 4)
    np.testing.assert_allclose(trained(False), np.maximum(normalized, 0), rtol=1e-4, atol=1e-5)


def test_merge_shortcut_takes_both_ends():
    np.testing.assert_array_equal(MergeShortcut(2)(tf.range(1, 7)[tf.newaxis]), [[1, 2, 5, 6]])


def fusion_of(audio, visual, **options):
    fusion = avsa.AVSAFusion(renormalization=False, **options)
    fusion.build([audio.shape, visual.shape])
    return fusion


def test_fusion_lays_the_sound_of_a_step_over_its_places():
    audio, visual = numbers(2, 3, 4), numbers(2, 3, 5, 6, 2)
    fusion = fusion_of(audio, visual)
    seen = []
    trunk = fusion.trunk
    fusion.trunk = lambda merged, training: seen.append(merged) or trunk(merged)
    fusion([tf.constant(audio), tf.constant(visual)])
    tiled = np.tile(audio[:, :, np.newaxis, np.newaxis], [1, 1, 5, 6, 1])
    np.testing.assert_array_equal(seen[0], np.concatenate([visual, tiled], axis=-1))


def test_merge_adds_its_shortcut():
    audio, visual = numbers(2, 3, 4), numbers(2, 3, 5, 6, 2)
    fusion = fusion_of(audio, visual)
    last = fusion.trunk.get_layer("merge2_conv")
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    merge = keras.Model(fusion.trunk.inputs, fusion.trunk.get_layer("merge").output)
    merged = numbers(2, 3, 5, 6, 6)
    expected = np.maximum(merged[..., [0, 1, 4, 5]] / np.sqrt(1.001), 0)
    np.testing.assert_allclose(merge(merged), expected, rtol=1e-5)


def test_activation_map_adds_up_to_the_logit():
    features = [tf.constant(numbers(2, 3, 4)), tf.constant(numbers(2, 3, 8, 8, 2))]
    fusion, finer = fusion_of(*features), fusion_of(*features, last_stride=1)
    logits, places = fusion(features), fusion.activation_map(features)
    np.testing.assert_array_equal(logits[:, 0], [0, 0])
    assert places.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(logits[:, 1], np.mean(places, axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    finer.set_weights(fusion.get_weights())
    assert finer.activation_map(features).shape == (2, 2, 4, 4)


@pytest.mark.parametrize(("frames", "steps", "samples"), [(1, 1, 13), (5, 2, 1037), (8, 2, 1037)])
def test_sound_that_is_just_long_enough(frames, steps, samples):
    sizes = {**TINY["avsa"], "visual_shape": (frames, 16, 16, 3)}
    network = avsa.build("small", **sizes | {"audio_shape": (samples, 1)})
    assert network.encoders["audio"].get_layer("conv4_1").output_shape[1] == steps
    assert network.encoders["visual"].output_shape[1] == steps
    with pytest.raises(ValueError, match=f"at least {samples} samples"):
        avsa.require_inputs((samples - 1, 1), (frames, 16, 16, 3))


def test_sizes_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"3085 samples.*the video's 4. Received: audio_shape=\(3084, 2\)"
    ):
        avsa.build("small", audio_shape=(3084, 2))
    with pytest.raises(ValueError, match="Received: last_stride=3"):
        avsa.build("small", last_stride=3)
    with pytest.raises(ValueError, match=r"Received: features of shapes \(None, 3, 4\) and"):
        avsa.AVSAFusion().build([[None, 3, 4], [None, 2, 5, 5, 2]])
