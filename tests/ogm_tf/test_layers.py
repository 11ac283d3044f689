"""Random layers: against TensorFlow's own definitions, on replicas, and across a restart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf import layers


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def on_replicas(strategy, layer, batch):
    """Calls the layer in training, each replica with its share; returns the global batch."""
    shares = np.split(batch, strategy.num_replicas_in_sync)
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(shares[context.replica_id_in_sync_group])
    )
    step = tf.function(lambda share: layer(share, training=True))
    outputs = strategy.experimental_local_results(strategy.run(step, args=(values,)))
    return np.concatenate([output.numpy() for output in outputs])


@pytest.mark.parametrize("shape", [(6, 7), (4, 3, 5)])
def test_dropout_keeps_what_the_stream_says(shape):
    layer, x = layers.Dropout(0.3, seed=5), numbers(*shape)
    row_size = int(np.prod(shape[1:]))
    for call in range(3):
        # Each row takes a multiple of four numbers, of which the last may go unused.
        bits = tf.random.stateless_uniform(
            [shape[0], -(-row_size // 4) * 4], [5, call], None, None, tf.uint32, "philox"
        )
        keep = (bits.numpy()[:, :row_size] >= 0.3 * 2**32).reshape(shape)
        with tf.GradientTape() as tape:
            inputs = tf.Variable(x)
            outputs = layer(inputs, training=True)
        np.testing.assert_allclose(outputs, np.where(keep, x / 0.7, 0), rtol=1e-6)
        np.testing.assert_allclose(tape.gradient(outputs, inputs), keep / 0.7, rtol=1e-6)
    assert layer.random_stream.numpy().tolist() == [5, 3]


def test_dropout_drops_its_share_independently():
    kept = []
    for seed in (1, 2):
        layer = layers.Dropout(0.25, seed=seed)
        kept += [layer(tf.ones([1000, 300]), training=True).numpy() > 0 for _ in range(2)]
    pairs = [(first, second) for i, first in enumerate(kept) for second in kept[:i]]
    pairs += [(kept[0][:, 1:], kept[0][:, :-1]), (kept[0][1:], kept[0][:-1])]
    assert [mask.mean() for mask in kept] == pytest.approx([0.75] * 4, abs=0.004)
    # Five standard deviations of what independent masks would show.
    for first, second in pairs:
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_only_training_calls_draw():
    x = numbers(2, 9, 3)
    dropout, pool = layers.Dropout(0.5, seed=0), layers.FractionalMaxPooling1D(4, seed=0)
    np.testing.assert_array_equal(dropout(x), x)
    np.testing.assert_array_equal(pool(x), pool(x, training=False))
    np.testing.assert_array_equal(layers.Dropout(0.0)(x, training=True), x)
    assert dropout.random_stream[1] == pool.random_stream[1] == 0


def test_shared_axes_drop_whole_channels():
    layer = layers.Dropout(0.5, seed=3, shared_axes=(1, 2))
    outputs = layer(tf.ones([16, 4, 5, 8]), training=True).numpy()
    np.testing.assert_array_equal(outputs, np.broadcast_to(outputs[:, :1, :1], outputs.shape))
    assert 0.3 < (outputs[:, 0, 0] > 0).mean() < 0.7


LAYERS = {
    "dropout": lambda: layers.Dropout(0.4, seed=1),
    "pseudo_random": lambda: layers.FractionalMaxPooling1D(7, seed=2),
    "random": lambda: layers.FractionalMaxPooling1D(7, pseudo_random=False, seed=3),
}


@pytest.fixture(params=LAYERS)
def make_layer(request):
    return LAYERS[request.param]


def test_replicas_draw_as_one_device(make_layer, mirrored):
    one = make_layer()
    with mirrored.scope():
        two = make_layer()
        two.build([None, 17, 3])
    for step in range(4):
        x = numbers(8, 17, 3) + step
        np.testing.assert_array_equal(on_replicas(mirrored, two, x), one(x, training=True))
    counts = mirrored.experimental_local_results(two.random_stream)
    assert [count.numpy()[1] for count in counts] == [4, 4]


def test_replicas_fit_as_one_device(mirrored):
    def fit():
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.layers.Dense(9, activation="tanh"),
                layers.Dropout(0.5, seed=1),
                layers.FractionalMaxPooling1D(4, seed=2),
                layers.Dropout(0.2, seed=3, shared_axes=(1,)),
                keras.layers.Dense(1),
            ]
        )
        model.build([None, 10, 3])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(numbers(32, 10, 3), numbers(32, 4, 1), 8, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    one = fit()
    with mirrored.scope():
        two = fit()
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)
    assert sorted(weight.tolist() for weight in one if weight.dtype == np.int64) == [
        [1, 8],
        [2, 8],
        [3, 8],
    ]


@pytest.mark.parametrize("way", ["keras", "checkpoint", "replicas_to_one"])
def test_a_restart_goes_on_in_the_stream(make_layer, way, tmp_path, mirrored):
    x = numbers(4, 17, 3)

    def make():
        return keras.Sequential([keras.Input([17, 3]), make_layer()])

    if way == "replicas_to_one":
        with mirrored.scope():
            model = make()
        for _ in range(3):
            on_replicas(mirrored, model, x)
    else:
        model = make()
        for _ in range(3):
            model(x, training=True)
    if way == "keras":
        model.save(tmp_path / "model.keras")
        restored = keras.models.load_model(tmp_path / "model.keras")
    else:
        path = tf.train.Checkpoint(model=model).write(str(tmp_path / "model"))
        restored = make()
        tf.train.Checkpoint(model=restored).read(path).assert_consumed()
    uninterrupted = make()
    expected = [uninterrupted(x, training=True).numpy() for _ in range(6)][3:]
    continued = [restored(x, training=True).numpy() for _ in range(3)]
    np.testing.assert_array_equal(continued, expected)
    assert len({value.tobytes() for value in expected}) > 1


def test_xla_draws_the_same(make_layer):
    x = numbers(4, 17, 3)
    eager, compiled = make_layer(), make_layer()
    step = tf.function(lambda x: compiled(x, training=True), jit_compile=True)
    for _ in range(3):
        np.testing.assert_allclose(step(x), eager(x, training=True), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_drops_the_same(make_layer, policy):
    x = tf.cast(numbers(4, 17, 3), policy.removeprefix("mixed_"))
    whole = make_layer()(tf.cast(x, tf.float32), training=True)
    keras.mixed_precision.set_global_policy(policy)
    half = make_layer()(x, training=True)
    assert half.dtype == x.dtype
    np.testing.assert_allclose(tf.cast(half, tf.float32), whole, rtol=0.01)


def test_sizes_known_only_at_run_time(make_layer):
    static, dynamic, x = make_layer(), make_layer(), numbers(4, 17, 3)
    dynamic.build([None, None, 3])
    step = tf.function(
        lambda x: dynamic(x, training=True), [tf.TensorSpec([None, None, 3], tf.float32)]
    )
    for _ in range(2):
        np.testing.assert_array_equal(step(x), static(x, training=True))


def test_too_few_steps_at_run_time():
    layer = layers.FractionalMaxPooling1D(5)
    step = tf.function(layer, [tf.TensorSpec([None, None, 3], tf.float32)])
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(numbers(1, 4, 3))


def test_unseeded_layers_differ_and_can_be_repeated():
    def seeds():
        keras.utils.set_random_seed(4)
        return [layers.Dropout(0.5).seed, layers.FractionalMaxPooling1D(2).seed]

    first, second = seeds(), seeds()
    assert first == second and first[0] != first[1]


def region_sizes(layer, length, training):
    """Pools the numbers 0, 1, 2, …, so that each maximum is where its region ends."""
    x = np.arange(length, dtype=np.float32)[np.newaxis, :, np.newaxis]
    ends = layer(x, training=training).numpy()[0, :, 0].astype(int) + 1
    return tuple(np.diff(ends, prepend=0))


@pytest.mark.parametrize(("length", "regions"), [(11, 4), (9, 5), (12, 4), (5, 5), (7, 1)])
@pytest.mark.parametrize("pseudo_random", [True, False])
def test_regions_are_those_of_tensorflow(length, regions, pseudo_random):
    """Both draw often enough to come upon all regions there are."""
    layer = layers.FractionalMaxPooling1D(regions, pseudo_random, seed=0)
    ours = {region_sizes(layer, length, training=True) for _ in range(100)}
    theirs = set()
    for seed in range(1, 101):
        sequence = tf.raw_ops.FractionalMaxPool(
            value=tf.zeros([1, length, 1, 1]),
            pooling_ratio=[1.0, length / regions, 1.0, 1.0],
            pseudo_random=pseudo_random,
            deterministic=True,
            seed=seed,
            seed2=seed,
        ).row_pooling_sequence
        theirs.add(tuple(np.diff(sequence)))
    assert ours == theirs


def test_regions_of_the_paper():
    """All of ceil(alpha * (i + u)) - 1, at AVSA's sizes, are drawn alike often."""
    draws, length, regions = 2000, 86, 32
    layer = layers.FractionalMaxPooling1D(regions, seed=0)
    alpha, smallest = length / regions, length // regions
    counts = {}
    step = tf.function(lambda x: layer(x, training=True))
    x = tf.range(float(length))[tf.newaxis, :, tf.newaxis]
    for _ in range(draws):
        ends = tuple(step(x).numpy()[0, :-1, 0].astype(int) + 1)
        counts[ends] = counts.get(ends, 0) + 1
    expected = set()
    for u in (np.arange(10_000) + 0.5) / 10_000:
        inner = np.ceil(alpha * (np.arange(1, regions) + u)).astype(int) - 1
        sizes = np.diff([0, *inner, length])
        if set(sizes) <= {smallest, smallest + 1}:
            expected.add(tuple(inner))
    assert set(counts) == expected and len(expected) == 21
    # Chi-square with 20 degrees of freedom: above 52.4 once in 10,000.
    mean = draws / 21
    assert sum((count - mean) ** 2 / mean for count in counts.values()) < 52.4


def test_regions_in_evaluation():
    # Starts at (10 * i + 3) // 4: 0, 3, 5, 8.
    assert region_sizes(layers.FractionalMaxPooling1D(4), 10, training=False) == (3, 2, 3, 2)
    assert layers.FractionalMaxPooling1D(32)(numbers(2, 86, 5)).shape == (2, 32, 5)


def test_pooling_takes_the_maximum_and_sends_its_gradient_back():
    x = numbers(2, 10, 3)
    pool = layers.FractionalMaxPooling1D(4)
    regions = [slice(0, 3), slice(3, 5), slice(5, 8), slice(8, 10)]
    expected = np.stack([x[:, region].max(axis=1) for region in regions], axis=1)
    np.testing.assert_array_equal(pool(x), expected)
    analytic, numeric = tf.test.compute_gradient(pool, [tf.constant(x, tf.float32)], delta=1e-3)
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-3)
    weights = numbers(2, 4, 3)
    with tf.GradientTape() as tape:
        inputs = tf.Variable(x)
        loss = tf.reduce_sum(weights * pool(inputs))
    gradient = np.zeros_like(x)
    for index, region in enumerate(regions):
        is_largest = x[:, region] == expected[:, index : index + 1]
        gradient[:, region] = is_largest * weights[:, index : index + 1]
    np.testing.assert_allclose(tape.gradient(loss, inputs), gradient, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dropout(1.0), "Received: rate=1.0"),
        (lambda: layers.Dropout(-0.1), "Received: rate=-0.1"),
        (lambda: layers.Dropout("half"), "Received: rate='half'"),
        (lambda: layers.Dropout(0.5, seed=-1), "Received: seed=-1"),
        (lambda: layers.Dropout(0.5, seed=2**31), "Received: seed=2147483648"),
        (lambda: layers.Dropout(0.5, shared_axes=(0,)), r"Received: shared_axes=\(0,\)"),
        (lambda: layers.Dropout(0.5, shared_axes=(2,)).build([8, 4]), r"have 2.*axes=\(2,\)"),
        (lambda: layers.FractionalMaxPooling1D(0), "Received: output_length=0"),
        (lambda: layers.FractionalMaxPooling1D(2.5), "Received: output_length=2.5"),
        (
            lambda: layers.FractionalMaxPooling1D(5)(keras.Input([4, 1])),
            r"Received: inputs of shape \(None, 4, 1\)",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
