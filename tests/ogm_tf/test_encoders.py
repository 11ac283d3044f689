"""Encoders against an independent NumPy version of the reference network."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf import encoders


def randomize(model):
    """Gives the batch normalisations statistics and scales that are not the initial ones."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def pictures(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def numpy_conv(x, kernel, stride):
    size = kernel.shape[0]
    pad = size // 2
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)


def numpy_resnet(model, x):
    """One block per stage, written from the reference's PyTorch definition."""

    def conv_bn(x, name, stride=1):
        gamma, beta, mean, variance = model.get_layer(f"{name}_bn").get_weights()
        x = numpy_conv(x, model.get_layer(f"{name}_conv").get_weights()[0], stride)
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    x = np.maximum(conv_bn(x, "stem", 2), 0)
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    x = windows[:, ::2, ::2].max(axis=(-1, -2))
    for stage in range(1, 5):
        name, stride = f"stage{stage}_block1", 1 if stage == 1 else 2
        shortcut = x if stage == 1 else conv_bn(x, f"{name}_shortcut", stride)
        inner = np.maximum(conv_bn(x, f"{name}_1", stride), 0)
        x = np.maximum(conv_bn(inner, f"{name}_2") + shortcut, 0)
    return x.mean(axis=(1, 2))


@pytest.mark.parametrize("size", [(37, 24), (32, 51)])
def test_resnet_equals_numpy(size):
    model = randomize(encoders.resnet18((*size, 2), width=3, blocks_per_stage=1))
    x = pictures(2, *size, 2)
    np.testing.assert_allclose(model(x), numpy_resnet(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "count"), [(1, 11_170_240), (3, 11_176_512)])
def test_resnet18_is_the_reference_network(channels, count):
    model = encoders.resnet18((257, 188, channels))
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == count
    assert sum(v.shape.rank == 4 for v in model.trainable_variables) == 20
    assert model.output_shape == (None, 512)
    last = model.get_layer("stage4_block2_relu").output_shape
    assert last == (None, 9, 6, 512)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
    kernels = [v.numpy() for v in model.trainable_variables if v.shape.rank == 4]
    for kernel in kernels[5:]:
        # Kaiming-normal by fan-out; truncated at two deviations the largest would be 2.27 times.
        stddev = np.sqrt(2 / (kernel.shape[0] * kernel.shape[1] * kernel.shape[3]))
        assert kernel.std() == pytest.approx(stddev, rel=0.03)
        assert np.abs(kernel).max() > 3 * stddev
    assert not np.array_equal(kernels[1], kernels[2])


@pytest.mark.parametrize(
    ("shape", "last"),
    [((129, 626, 1), (5, 20)), ((3, 224, 224, 3), (7, 7)), ((257, 1004, 1), (9, 32))],
)
def test_resnet_feature_maps(shape, last):
    model = encoders.resnet18(shape, width=1, blocks_per_stage=1)
    assert model.get_layer("stage4_block1_relu").output_shape[1:3] == last


def test_small_resnet_parameter_count():
    shapes = [(64, 64, 1), (1, 64, 64, 3)]
    pair = [encoders.resnet18(shape, width=8) for shape in shapes]
    head = (64 + 64 + 1) * 6
    count = sum(int(np.prod(v.shape)) for m in pair for v in m.trainable_variables)
    assert count + head == 353_414


@pytest.mark.parametrize(
    "make",
    [
        lambda shape: encoders.resnet18(shape, width=2, blocks_per_stage=1),
        lambda shape: encoders.small_cnn(shape, channels=(2, 3), frames="average"),
    ],
    ids=["resnet18", "small_cnn"],
)
def test_frames_are_averaged(make):
    folded, single = randomize(make((3, 20, 24, 3))), make((20, 24, 3))
    single.set_weights(folded.get_weights())
    x = pictures(2, 3, 20, 24, 3)
    each = np.stack([single(x[:, index]).numpy() for index in range(3)])
    np.testing.assert_allclose(folded(x), each.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_batch_statistics_are_over_all_frames():
    model = encoders.small_cnn((3, 8, 8, 1), channels=(2,), frames="average")
    x = pictures(2, 3, 8, 8, 1)
    model(x, training=True)
    activations = numpy_conv(x.reshape(6, 8, 8, 1), model.get_layer("stage1_1_conv").kernel, 1)
    moving = model.get_layer("stage1_1_bn").moving_mean
    np.testing.assert_allclose(moving, 0.1 * activations.mean(axis=(0, 1, 2)), rtol=0, atol=1e-6)


def test_stacked_frames_keep_their_order():
    x = pictures(2, 3, 5, 4, 2)
    stacked = encoders.StackFrames()(x).numpy()
    np.testing.assert_array_equal(stacked, np.concatenate([x[:, i] for i in range(3)], axis=-1))
    model = encoders.small_cnn((3, 5, 4, 2), channels=(2, 3))
    assert model.get_layer("stage1_1_conv").kernel.shape == (3, 3, 6, 2)


def test_small_cnn():
    model = encoders.small_cnn((64, 48, 1), name="audio")
    assert (model.name, model.output_shape) == ("audio", (None, 128))
    assert model.get_layer("stage4_2_relu").output_shape == (None, 8, 6, 128)
    # Each stage: two kernels, and scale and offset of two normalisations.
    sizes = [(1, 16), (16, 32), (32, 64), (64, 128)]
    count = sum(9 * c * (previous + c) + 4 * c for previous, c in sizes)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == count
    assert encoders.small_cnn((3, 4, 1)).get_layer("stage4_2_relu").output_shape[1:3] == (1, 2)


@pytest.mark.parametrize("frames", encoders.FRAME_RULES)
def test_saved_encoder_answers_the_same(frames, tmp_path):
    model = encoders.small_cnn((2, 9, None, 3), channels=(2, 3), frames=frames)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for width in (7, 12):
        x = pictures(2, 2, 9, width, 3)
        np.testing.assert_array_equal(model(x), loaded(x))


def test_half_precision_and_graph():
    try:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        model = encoders.resnet18((2, 16, 16, 1), width=1, blocks_per_stage=1)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    features = tf.function(model)(pictures(3, 2, 16, 16, 1))
    assert (features.dtype, features.shape) == (tf.bfloat16, (3, 8))
    assert {v.dtype for v in model.variables} == {tf.float32}


def test_synchronized_replicas_are_one_device(mirrored):
    x = pictures(24, 4, 4, 1)
    # Far from the batch's other half, so that statistics of its own show.
    x[4:8] = 5 * x[4:8] + 3

    def fit(synchronized):
        keras.utils.set_random_seed(0)
        model = encoders.small_cnn((4, 4, 1), channels=(3,), synchronized=synchronized)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, tf.ones([24, 3]), 8, shuffle=False, verbose=0)
        return np.concatenate([weight.ravel() for weight in model.get_weights()])

    one = fit(synchronized=True)
    with mirrored.scope():
        two, local = fit(synchronized=True), fit(synchronized=False)
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-6)
    assert np.abs(local - one).max() > 0.01


@pytest.mark.parametrize("make", [encoders.resnet18, encoders.small_cnn])
def test_every_normalization_is_synchronized_or_none(make):
    for synchronized, model in [
        (False, make((32, 32, 1))),
        (True, make((32, 32, 1), synchronized=True)),
    ]:
        found = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert {layer.synchronized for layer in found} == {synchronized}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: encoders.resnet18((64, 64)), r"Received: input_shape=\(64, 64\)"),
        (lambda: encoders.resnet18((None, 64, 64, 3)), "Received: input_shape=.None, 64"),
        (lambda: encoders.small_cnn((0, 64, 64, 3)), "Received: input_shape=.0, 64"),
        (lambda: encoders.small_cnn((64, 64, None)), "Received: input_shape=.64, 64, None"),
        (lambda: encoders.resnet18((8, 8, 1), width=0), "Received: width=0"),
        (lambda: encoders.resnet18((8, 8, 1), blocks_per_stage=0), "Received: blocks_per_stage=0"),
        (lambda: encoders.small_cnn((8, 8, 1), channels=()), r"Received: channels=\(\)"),
        (lambda: encoders.small_cnn((2, 8, 8, 1), frames="sum"), "Received: frames='sum'"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("build", "shape", "expected"),
    [
        (encoders.resnet18, (2, 64, 96, 3), (2, 3, 32)),
        (encoders.resnet18, (64, 96, 1), (2, 3, 32)),
        (encoders.small_cnn, (2, 16, 24, 3), (8, 12, 6)),
        (functools.partial(encoders.small_cnn, frames="average"), (2, 16, 24, 3), (8, 12, 6)),
    ],
)
def test_maps_are_those_that_an_encoder_pools(build, shape, expected):
    sizes = {"width": 4} if build is encoders.resnet18 else {"channels": (4, 6)}
    encoder = build(shape, **sizes)
    inputs = tf.random.stateless_normal([3, *shape], [1, 2], alg="philox")
    maps = encoders.map_model(encoder)(inputs)
    assert maps.shape == (3, *expected)
    np.testing.assert_allclose(tf.reduce_mean(maps, [1, 2]), encoder(inputs), atol=1e-5)


def test_encoders_whose_output_is_a_map_need_no_pooling_and_others_do():
    encoder = keras.Sequential([keras.layers.Conv2D(2, 3, input_shape=(8, 8, 3))])
    assert encoders.map_model(encoder) is encoder
    flat = keras.Sequential([keras.layers.Flatten(input_shape=(8, 8, 3))], name="flat")
    with pytest.raises(ValueError, match=r"Received: flat, .* \(None, 192\)"):
        encoders.map_model(flat)
