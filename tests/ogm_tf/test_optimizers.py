"""Optimisers against NumPy, and going on after save and load."""

import functools
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf import optimizers

RATE = {"learning_rate": 0.02}
# Arguments that reach the state and the configuration that differ from the defaults.
ADDONS = {
    "adabelief": {**RATE, "amsgrad": True},
    "cocob": {},
    "conditional_gradient": {"learning_rate": 0.9, "lambda_": 0.1},
    "lamb": {**RATE, "weight_decay": 0.01, "exclude_from_weight_decay": ["bias"]},
    "lazy_adam": RATE,
    "novograd": {**RATE, "grad_averaging": True, "amsgrad": True},
    "proximal_adagrad": RATE,
    "radam": {**RATE, "total_steps": 10, "warmup_proportion": 0.5},
    "sgdw": {**RATE, "weight_decay": 0.01, "momentum": 0.9},
    "yogi": RATE,
}
CONTINUED = ADDONS | {"adam": RATE, "adagrad": RATE, "sgd": {**RATE, "momentum": 0.9}}


def data():
    random = np.random.default_rng(0)
    return random.normal(size=(24, 6)).astype(np.float32), random.integers(0, 3, 24)


def tiny_model(optimizer, run_eagerly=False):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((6,)), keras.layers.Dense(5, "relu"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=run_eagerly)
    return model


def train(model, **kwargs):
    """Three steps."""
    return model.fit(*data(), batch_size=8, shuffle=False, verbose=0, **kwargs)


def assert_same_weights(model, other, tolerance=0.0):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_sgd_equals_numpy_over_a_learning_rate_drop(nesterov, jit_compile):
    momentum, decay = 0.9, 0.1
    random = np.random.default_rng(1)
    values = [random.normal(size=(3, 2)).astype(np.float32), np.ones(2, np.float32)]
    variables = [tf.Variable(values[0], name="kernel"), tf.Variable(values[1], name="bias")]
    optimizer = optimizers.SGD(0.1, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(*gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    velocities = [np.zeros_like(value) for value in values]
    for index in range(6):
        rate = 0.1 if index < 3 else 0.01
        optimizer.learning_rate = rate
        gradients = [random.normal(size=value.shape).astype(np.float32) for value in values]
        step(*[tf.constant(gradient) for gradient in gradients])
        for i, gradient in enumerate(gradients):
            gradient = gradient + decay * values[i]
            velocities[i] = momentum * velocities[i] + gradient
            update = gradient + momentum * velocities[i] if nesterov else velocities[i]
            values[i] = values[i] - rate * update
        for variable, value in zip(variables, values, strict=True):
            np.testing.assert_allclose(variable.numpy(), value, rtol=0, atol=1e-6)


def test_sgd_without_momentum_decays_every_variable_but_the_excluded():
    kernel, bias = tf.Variable([2.0], name="kernel"), tf.Variable([2.0], name="bias")
    optimizer = optimizers.SGD(0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    copy = optimizers.get(keras.optimizers.serialize(optimizer))
    for each in (optimizer, copy):
        kernel.assign([2.0])
        bias.assign([2.0])
        each.apply_gradients([(tf.ones([1]), kernel), (tf.ones([1]), bias)])
        np.testing.assert_allclose(kernel.numpy(), [2 - 0.5 * (1 + 0.1 * 2)], rtol=1e-6)
        np.testing.assert_allclose(bias.numpy(), [1.5], rtol=1e-6)
    assert len(optimizer.variables) == 1


def test_sgd_takes_sparse_gradients_and_clips_before_the_decay():
    table = tf.Variable(tf.ones([3, 1]))
    optimizer = optimizers.SGD(1.0, momentum=0.5, weight_decay=0.25, clipnorm=1.0)
    gradient = tf.IndexedSlices(tf.constant([[1.0], [3.0]]), tf.constant([0, 0]), [3, 1])
    optimizer.apply_gradients([(gradient, table)])
    np.testing.assert_allclose(table.numpy()[1:], [[0.75], [0.75]], rtol=1e-6)
    before = table.numpy()
    optimizer.apply_gradients([(tf.constant([[3.0], [0.0], [4.0]]), table)])
    velocity = 0.5 * (1 - before) + np.array([[0.6], [0.0], [0.8]]) + 0.25 * before
    np.testing.assert_allclose(table.numpy(), before - velocity, rtol=1e-6)


@pytest.mark.parametrize("name", CONTINUED)
def test_training_goes_on_after_loading(name, tmp_path):
    model = tiny_model(optimizers.get(name, **CONTINUED[name]), run_eagerly=True)
    start = model.get_weights()
    train(model)
    assert not any(np.array_equal(a, b) for a, b in zip(start, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    train(model)
    train(loaded)
    assert loaded.optimizer.iterations.numpy() == 6
    assert_same_weights(model, loaded)
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_adapter_does_what_the_wrapped_optimizer_does():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_addons as tfa
    adapted = tiny_model(optimizers.get("lamb", **ADDONS["lamb"], clipvalue=0.02))
    bare = tiny_model(tfa.optimizers.LAMB(**ADDONS["lamb"], clipvalue=0.02))
    train(adapted)
    train(bare)
    assert_same_weights(adapted, bare)


def test_adapters_work_in_a_graph():
    start = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    gradients = np.random.default_rng(1).normal(size=(3, 2, 3)).astype(np.float32)

    def weights_after_training(decorate):
        pairs = [
            (optimizers.get(name, **arguments), tf.Variable(start))
            for name, arguments in ADDONS.items()
        ]

        @decorate
        def step(gradient):
            for optimizer, variable in pairs:
                optimizer.apply_gradients([(gradient, variable)])

        for gradient in gradients:
            step(tf.constant(gradient))
        return np.stack([variable.numpy() for _, variable in pairs])

    eager, graph = weights_after_training(lambda f: f), weights_after_training(tf.function)
    np.testing.assert_allclose(eager, graph, rtol=0, atol=1e-6)


def test_adapter_follows_learning_rate_callbacks_and_keeps_the_rate(tmp_path):
    model = tiny_model(optimizers.get("RectifiedAdam", learning_rate=0.02))
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
    history = train(model, epochs=2, callbacks=[schedule]).history
    np.testing.assert_allclose(history["lr"], [0.01, 0.005], rtol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.optimizer.learning_rate.numpy(), 0.005, rtol=1e-6)


def test_adapter_takes_a_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.02, 0.002])
    model = tiny_model(optimizers.get("lamb", learning_rate=schedule))
    copy = optimizers.get(keras.optimizers.serialize(model.optimizer))
    train(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.002)
    assert float(copy.learning_rate) == pytest.approx(0.02)
    with pytest.raises(TypeError, match="not settable"):
        model.optimizer.learning_rate = 0.1


def test_checkpoints_keep_state_and_learning_rate(tmp_path):
    model, restored = (
        tiny_model(optimizers.get("lamb", **RATE), run_eagerly=True) for _ in range(2)
    )
    train(model)
    model.optimizer.learning_rate = 0.01
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    status = tf.train.Checkpoint(model=restored).read(path)
    train(model)
    train(restored)
    status.assert_consumed()
    assert_same_weights(model, restored)


@pytest.mark.parametrize("name", ["sgd", "lamb"])
def test_loss_scaling_wraps_and_loads(name, tmp_path):
    arguments = {**RATE, "weight_decay": 0.1}
    plain = tiny_model(optimizers.get(name, **arguments))
    scaled = keras.mixed_precision.LossScaleOptimizer(
        optimizers.get(name, **arguments), dynamic=False, initial_scale=1024
    )
    scaled = tiny_model(scaled)
    train(plain)
    train(scaled)
    assert_same_weights(plain, scaled, 1e-6)
    scaled.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer.inner_optimizer) is type(plain.optimizer)
    train(scaled)
    train(loaded)
    assert_same_weights(scaled, loaded)


def test_adapter_clips_and_names_unknown_variables():
    weight, other = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer = optimizers.get("sgdw", learning_rate=1.0, global_clipnorm=0.5)
    optimizer.apply_gradients([(tf.constant([4.0]), weight), (None, other)])
    np.testing.assert_allclose([weight.numpy(), other.numpy()], [[0.5], [1.0]])
    with pytest.raises(KeyError, match="Received: stranger"):
        optimizer.apply_gradients([(tf.ones([1]), tf.Variable([1.0], name="stranger"))])


TWO_REPLICAS = """
import keras, numpy as np, tensorflow as tf
from ogm_tf import optimizers

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
random = np.random.default_rng(0)
x, y = random.normal(size=(24, 6)).astype("float32"), random.integers(0, 3, 24)

def weights(name, strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(3)])
        optimizer = optimizers.get(name, learning_rate=0.02, weight_decay=0.1)
        if name == "lamb":
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    return model.get_weights()

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for name in ("sgd", "sgdw", "lamb"):
    for a, b in zip(weights(name, tf.distribute.get_strategy()), weights(name, two)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=name)
"""


def test_two_replicas_equal_one_and_addons_is_imported_silently():
    # Logical devices can only be made before TensorFlow starts, hence another process.
    command = [sys.executable, "-W", "error::UserWarning", "-c", TWO_REPLICAS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sgd", {"momentum": 0.9}),
        ("adam", {"beta_1": 0.9}),
        ("adamw", {"beta_1": 0.9}),
        ("adamax", {"beta_1": 0.9}),
        ("nadam", {"beta_1": 0.9}),
        ("lion", {"beta_2": 0.9}),
        (keras.optimizers.SGD, {"momentum": 0.9}),
        (keras.optimizers.RMSprop, {"momentum": 0.9}),
        (keras.optimizers.legacy.SGD, {"momentum": 0.9}),
        (keras.optimizers.legacy.Adam, {"beta_1": 0.9}),
        ("sgdw", {"momentum": 0.9, "learning_rate": 0.1}),
        ("lamb", {"beta_1": 0.9}),
    ],
)
def test_momentums_are_what_remembers_gradients(name, arguments):
    make = name if callable(name) else functools.partial(optimizers.get, name)
    scaled = keras.mixed_precision.LossScaleOptimizer(make(**arguments), initial_scale=1)
    variables = [tf.Variable([1.0, -2.0]), tf.Variable([[3.0]])]
    for optimizer in (make(**arguments), scaled):
        # Legacy classes make their variables in their first step.
        for size in (0.0, 1.0, 0.0):
            gradients = [tf.fill(variable.shape, size) for variable in variables]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
        found = optimizers.momentums(optimizer)
        assert [tuple(own.shape) for own in found] == [(2,), (1, 1)]
        # The first moment of a gradient of 0 after one of 1 is not 0, and has the gradient's sign.
        assert all(np.all(np.sign(own) == np.sign(found[1])) and np.any(own) for own in found)
    for name in ("sgd", "cocob"):
        without = optimizers.get(name)
        without.build(variables)
        assert optimizers.momentums(without) == []


def test_get_by_name_configuration_and_instance():
    assert isinstance(optimizers.get("SGD", learning_rate=0.1), optimizers.SGD)
    assert type(optimizers.get("AdamW")) is keras.optimizers.AdamW
    assert optimizers.get("LazyAdam").get_config()["class_name"] == "LazyAdam"
    config = {"class_name": "sgd", "config": {"momentum": 0.5}}
    assert optimizers.get(config).momentum == 0.5
    instance = keras.optimizers.Adam()
    assert optimizers.get(instance) is instance


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.get("lambda"), "one of .*lamb, .*sgd.*Received: 'lambda'"),
        (lambda: optimizers.get(3), "Received: 3"),
        (lambda: optimizers.get(keras.optimizers.Adam(), learning_rate=1), "Received: learning_"),
        (lambda: optimizers.AddonsOptimizer("Lookahead"), "Received: class_name='Lookahead'"),
        (lambda: optimizers.SGD(momentum=1.0), "Received: momentum=1.0"),
        (lambda: optimizers.SGD(weight_decay=-1), "Received: weight_decay=-1"),
        (lambda: optimizers.SGD(nesterov=True), "Received: momentum=0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
