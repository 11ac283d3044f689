"""All three networks: sizes and shapes of their descriptions, gradients, and saving."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.modulation import branches
from tests.ogm_tf.representation.tiny_networks import NETWORKS, TINY


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def built(name, preset, **sizes):
    """The network with all variables, which nothing has run yet."""
    network = NETWORKS[name].build(preset, **sizes)
    network.fusion.build([encoder.output_shape for encoder in network.encoders.values()])
    return network


@functools.cache
def full(name):
    return built(name, "full")


def pairs(network, size=4):
    random = np.random.default_rng(0)
    return [random.uniform(-1, 1, (size, *s)).astype(np.float32) for s in network.inputs.values()]


def joined(network):
    """The network as one Keras model."""
    inputs = [keras.Input(shape) for shape in network.inputs.values()]
    features = [encoder(x) for encoder, x in zip(network.encoders.values(), inputs, strict=True)]
    return keras.Model(inputs, network.fusion(features))


@pytest.mark.parametrize(
    ("name", "preset", "audio", "visual", "total"),
    [
        ("l3_net", "full", 4_688_064, 4_689_216, 9_508_738),
        ("l3_net", "small", None, None, 152_226),
        # The audio sub-net, of 2,385,984, and conv5_1, of 3 * 256 * 128 weights and 128 offsets.
        ("avsa", "full", 2_385_984 + 98_432, None, 36_044_609),
        ("avsa", "small", None, None, 551_161),
        ("avca", "full", 11_170_240, 11_490_240, 23_908_226),
        ("avca", "small", None, None, 180_274),
    ],
)
def test_parameters(name, preset, audio, visual, total):
    network = full(name) if preset == "full" else built(name, preset)
    counts = {m: count(encoder.trainable_variables) for m, encoder in network.encoders.items()}
    assert counts["audio"] == audio or audio is None
    assert counts["visual"] == visual or visual is None
    assert sum(counts.values()) + count(network.fusion.trainable_variables) == total


def statistics(network):
    """Batch normalisation's means and variances, without what renormalisation keeps beside."""
    layers = [*network.encoders.values(), network.fusion]
    variables = [variable for layer in layers for variable in layer.non_trainable_variables]
    return [v for v in variables if v.name.endswith(("/moving_mean:0", "/moving_variance:0"))]


def test_batch_norm_statistics():
    assert count(statistics(full("l3_net"))) == 7680
    assert count(statistics(full("avsa"))) == 13_824


@pytest.mark.parametrize(
    ("name", "modality", "shapes"),
    [
        (
            "l3_net",
            "audio",
            {
                "pool1": (128, 99, 64),
                "pool2": (64, 49, 128),
                "pool3": (32, 24, 256),
                "conv4_2_relu": (32, 24, 512),
            },
        ),
        (
            "l3_net",
            "visual",
            {
                "pool1": (112, 112, 64),
                "pool2": (56, 56, 128),
                "pool3": (28, 28, 256),
                "conv4_2_relu": (28, 28, 512),
            },
        ),
        (
            "avsa",
            "audio",
            {
                "conv1_1_relu": (21_897, 64),
                "pool1": (5474, 64),
                "conv2_1": (1369, 128),
                "conv3_1": (343, 128),
                "conv4_1": (86, 256),
                "fractional_pool": (32, 256),
                "conv5_1_relu": (32, 128),
            },
        ),
        (
            "avsa",
            "visual",
            {
                "conv1_relu": (63, 112, 112, 64),
                "pool1": (63, 56, 56, 64),
                "conv2_1": (63, 56, 56, 64),
                "conv2_2": (32, 28, 28, 64),
            },
        ),
        ("avca", "audio", {"stem_pool": (32, 32, 64), "stage4_block2": (4, 32, 512)}),
        ("avca", "visual", {"stem_relu": (32, 56, 56, 64), "stage4_block2": (32, 7, 7, 512)}),
    ],
)
def test_shapes(name, modality, shapes):
    encoder = full(name).encoders[modality]
    assert {layer: encoder.get_layer(layer).output_shape[1:] for layer in shapes} == shapes
    assert encoder.output_shape[1:] == list(shapes.values())[-1]


def test_shapes_of_the_avsa_trunk():
    trunk = full("avsa").fusion.trunk
    shapes = {
        "merge1_relu": (32, 28, 28, 512),
        "merge": (32, 28, 28, 128),
        "conv3_2": (32, 28, 28, 128),
        "conv4_2": (16, 14, 14, 256),
        "conv5_2": (16, 7, 7, 512),
    }
    assert trunk.input_shape[1:] == (32, 28, 28, 192)
    assert {layer: trunk.get_layer(layer).output_shape[1:] for layer in shapes} == shapes
    small = built("avsa", "small")
    assert small.encoders["audio"].get_layer("conv4_1").output_shape[1:] == (8, 32)
    assert small.encoders["visual"].output_shape[1:] == (4, 6, 6, 8)
    assert small.fusion.trunk.output_shape[1:] == (2, 2, 2, 64)
    finer = built("avsa", "small", last_stride=1).fusion.trunk
    assert finer.output_shape[1:] == (2, 3, 3, 64)


@pytest.mark.parametrize(
    ("name", "audio", "visual", "of_pictures"),
    [("l3_net", 8, 8, (8, 8)), ("avsa", 10, 5, (0, 0)), ("avca", 20, 20, (20, 0))],
)
def test_modulation_finds_the_convolutions(name, audio, visual, of_pictures):
    network = full(name)
    accepted = [
        sum(map(branches.is_convolution_kernel, encoder.trainable_variables))
        for encoder in network.encoders.values()
    ]
    assert tuple(accepted) == of_pictures
    found = {
        modality: [v.name for v in encoder.trainable_variables if branches.is_kernel(v)]
        for modality, encoder in network.encoders.items()
    }
    assert {modality: len(names) for modality, names in found.items()} == {
        "audio": audio,
        "visual": visual,
    }
    assert all(n.endswith("_conv/kernel:0") for names in found.values() for n in names)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_step_reaches_every_variable(name):
    network = built(name, "small", **TINY[name])
    inputs = pairs(network)
    with tf.GradientTape() as tape:
        features = [
            encoder(x, training=True)
            for encoder, x in zip(network.encoders.values(), inputs, strict=True)
        ]
        logits = network.fusion(features, training=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)([0, 1, 1, 0], logits)
    assert logits.shape == (4, 2)
    layers = [*network.encoders.values(), network.fusion]
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.name
        assert np.all(np.isfinite(gradient)), variable.name
        # A bias before a batch normalisation has no effect, and so no gradient.
        if variable.shape.rank > 1:
            assert np.any(gradient), variable.name


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_and_loaded(name, tmp_path):
    options = {"mode": "a2v"} if name == "avca" else {}
    network = NETWORKS[name].build("small", **TINY[name], **options, l2=0.5, synchronized=True)
    model, inputs = joined(network), pairs(network)
    # Gives the running averages values of their own.
    model(inputs, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for weight, copy in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, copy)
    np.testing.assert_allclose(loaded(inputs), model(inputs), rtol=1e-5, atol=1e-6)
    fusions = [layer for layer in loaded.layers if layer.name == "fusion"]
    assert fusions[0].get_config() == network.fusion.get_config()
    kernels = [v for v in model.trainable_variables if branches.is_kernel(v)]
    expected = 0.5 * sum(np.sum(np.square(kernel)) for kernel in kernels)
    assert float(tf.add_n(loaded.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("policy", "dtype"), [("mixed_bfloat16", tf.float32), ("float64", tf.float64)]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_never_of_half_precision(name, policy, dtype):
    keras.mixed_precision.set_global_policy(policy)
    network = NETWORKS[name].build("small", **TINY[name])
    logits = joined(network)(pairs(network))
    assert logits.dtype == dtype
    assert np.all(np.isfinite(logits))


@pytest.mark.parametrize("name", NETWORKS)
def test_bad_sizes(name):
    build = NETWORKS[name].build
    with pytest.raises(ValueError, match="one of full, small. Received: preset='tiny'"):
        build("tiny")
    with pytest.raises(ValueError, match=r"3 integers|2 integers.*Received: audio_shape=\(0, 1\)"):
        build("small", audio_shape=(0, 1))
    with pytest.raises(ValueError, match="Received: batch_norm_momentum=1"):
        build("small", batch_norm_momentum=1)
    with pytest.raises(ValueError, match="Received: l2=-1"):
        build("small", l2=-1)
    fusion = build("small").fusion
    with pytest.raises(
        ValueError, match=r"Received: features of shapes \['\(2, 4\)', '\(2, 4\)'\]"
    ):
        fusion([tf.zeros([2, 4]), tf.zeros([2, 4])])
