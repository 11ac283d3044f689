"""OGMModel among the rest of Keras: inputs, precision, optimisers, files, evaluation, errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from tests.ogm_tf.tiny_models import (
    BATCH,
    CLASSES,
    build,
    compiled,
    data,
    dataset,
    encoder,
    logits_loss,
)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluation_counts_only_rows_of_non_zero_weight(jit_compile):
    model = compiled(build(), jit_compile=jit_compile)
    inputs, labels = data(13)
    exact = model.evaluate(inputs, labels, batch_size=13, verbose=0, return_dict=True)
    padded = {n: np.concatenate([v, np.zeros((3, 6), np.float32)]) for n, v in inputs.items()}
    weights = np.r_[np.ones(13), np.zeros(3)].astype(np.float32)
    labels = np.r_[labels, np.zeros(3, np.int32)]
    received = model.evaluate(
        padded, labels, sample_weight=weights, batch_size=8, verbose=0, return_dict=True
    )
    assert received == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("rows", [13, 9, 3])
def test_evaluation_with_padding_on_two_replicas(mirrored, rows):
    """Of 9 rows in batches of 8 one replica gets nothing but padding; of 3 rows, a batch does."""
    inputs, labels = data(rows)
    exact = compiled(build()).evaluate(inputs, labels, verbose=0, return_dict=True)
    missing = 16 - rows
    padded = {n: np.concatenate([v, np.zeros((missing, 6), np.float32)]) for n, v in inputs.items()}
    labels = np.r_[labels, np.zeros(missing, np.int32)]
    weights = np.r_[np.ones(rows), np.zeros(missing)].astype(np.float32)
    with mirrored.scope():
        model = compiled(build())
    batches = tf.data.Dataset.from_tensor_slices((padded, labels, weights)).batch(8)
    received = model.evaluate(batches, verbose=0, return_dict=True)
    assert received == pytest.approx(exact, abs=1e-6)
    assert set(model.metrics_names) >= set(received)


@pytest.mark.parametrize("form", ["dict", "list", "tuple"])
def test_inputs_by_name_or_by_position(form):
    inputs, labels = data()
    reference = compiled(build())
    expected = reference.predict(inputs, verbose=0)
    ordered = [inputs["visual"], inputs["audio"]]
    given = {"dict": inputs, "list": ordered, "tuple": tuple(ordered)}[form]
    model = compiled(build())
    np.testing.assert_array_equal(model.predict(given, verbose=0), expected)
    model.fit(given, labels, verbose=0)


@pytest.mark.parametrize(
    "settings", [{"steps_per_execution": 5}, {"jit_compile": True}, {"run_eagerly": True}]
)
def test_execution_settings_change_no_weight(settings):
    reference = compiled(build(ogm_tf.OGMGE(0.5, seed=2)))
    model = compiled(build(ogm_tf.OGMGE(0.5, seed=2)), **settings)
    for network in (reference, model):
        network.fit(dataset(), epochs=2, verbose=0)
    for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("form", ["batch", "arrays", "evaluated", "dataset", "distributed"])
def test_a_step_is_traced_once(form, mirrored):
    """One that makes variables is traced twice."""
    traced = []

    class Counted(ogm_tf.OGMModel):
        def train_step(self, data):
            traced.append(tf.distribute.get_replica_context().replica_id_in_sync_group)
            return super().train_step(data)

    strategy = mirrored if form == "distributed" else tf.distribute.get_strategy()
    with strategy.scope():
        parts = build()
        model = compiled(Counted(parts.encoders, parts.fusion, ogm_tf.OGM(0.5)))
        model(data()[0])
    if form == "evaluated":
        model.evaluate(*data(), verbose=0)
    if form == "batch":
        model.train_on_batch(*data())
    else:
        batches = {
            "arrays": lambda: data(),
            "evaluated": lambda: data(),
            "dataset": lambda: (dataset(),),
            "distributed": lambda: (strategy.experimental_distribute_dataset(dataset()),),
        }[form]()
        model.fit(*batches, steps_per_epoch=1, epochs=2, verbose=0)
    # By the thread of each replica.
    assert len(traced) == strategy.num_replicas_in_sync


def test_what_is_frozen_after_compile_is_trained_on():
    model = compiled(build(ogm_tf.OGM(0.5)), keras.optimizers.Adam(0.01))
    model.encoders["audio"].trainable = False
    before = model.encoders["audio"].get_weights()
    model.fit(*data(), verbose=0)
    model.train_on_batch(*data())
    assert not np.array_equal(model.encoders["audio"].get_weights()[0], before[0])


def test_layers_that_only_training_calls_are_trained():
    class Deeper(ogm_tf.OGMModel):
        def forward(self, inputs, training=False):
            fused, parts = super().forward(inputs, training)
            return (self.last(fused) if training else fused), parts

    parts = build()
    model = Deeper(parts.encoders, parts.fusion)
    model.last = keras.layers.Dense(CLASSES)
    compiled(model, keras.optimizers.Adam(0.01))
    model(data()[0])
    model.fit(*data(), verbose=0)
    assert model.last.built and np.abs(model.last.bias).max() > 0


def test_a_step_of_ones_own_takes_what_it_likes():
    class Named(ogm_tf.OGMModel):
        def train_step(self, data):
            inputs, labels, weights, _ = data
            return super().train_step((inputs, labels, weights))

    parts = build()
    model = compiled(Named(parts.encoders, parts.fusion))
    model(data()[0])
    inputs, labels = data()
    batches = (inputs, labels, np.ones(BATCH, np.float32), np.array(["name"] * BATCH))
    history = model.fit(tf.data.Dataset.from_tensors(batches), verbose=0).history
    assert history["loss"][0] > 0


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_follows_float32(policy):
    reference = compiled(build(ogm_tf.OGM(0.5)))
    reference.fit(dataset(), verbose=0)
    keras.mixed_precision.set_global_policy(policy)
    model = compiled(build(ogm_tf.OGM(0.5)))
    history = model.fit(dataset(), verbose=0).history
    assert model(data()[0]).dtype == tf.float32
    assert history["visual_coefficient"][0] < 1
    is_scaled = isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert is_scaled == (policy == "mixed_float16")
    for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-2)


def test_loss_scaling_changes_no_float32_step():
    """Scaled by 2**15 and back, noise and coefficients see the true gradients."""
    plain = compiled(build(ogm_tf.OGMGE(0.5), regularizer="l2"))
    scaled = compiled(
        build(ogm_tf.OGMGE(0.5), regularizer="l2"),
        keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    )
    for network in (plain, scaled):
        network.fit(dataset(), verbose=0)
    for ours, theirs in zip(scaled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_legacy_keras_optimizers(name, mirrored):
    weights = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            optimizer = getattr(keras.optimizers.legacy, name)(0.01)
            model = compiled(build(ogm_tf.OGMGE(0.5)), optimizer)
        model.fit(dataset(), verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_frozen_branch_is_left_alone():
    model = build(ogm_tf.OGMGE(0.9))
    model.encoders["visual"].trainable = False
    compiled(model)
    model(data()[0])
    before = model.encoders["visual"].get_weights()
    history = model.fit(dataset(), verbose=0).history
    assert model.branches["visual"] == []
    assert history["visual_coefficient"][0] == 1
    for old, new in zip(before, model.encoders["visual"].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam(0.01), "ours"])
def test_a_reloaded_model_continues_to_the_same_weights(tmp_path, optimizer):
    if optimizer == "ours":
        optimizer = ogm_tf.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4)
    model = compiled(build(ogm_tf.OGMGE(0.5, end_epoch=4, seed=7), "FiLM"), optimizer)
    model.fit(dataset(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert list(again.encoders) == ["visual", "audio"]
    assert again.modulation.get_config() == model.modulation.get_config()
    for network in (model, again):
        network.fit(dataset(), initial_epoch=1, epochs=3, verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_encoders_that_are_built_by_the_first_batch():
    encoders = {name: keras.Sequential([keras.layers.Dense(4)]) for name in ("visual", "audio")}
    model = compiled(ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(CLASSES), ogm_tf.OGMGE(0.5)))
    assert model.branches == {"visual": [], "audio": []}
    history = model.fit(dataset(), epochs=2, verbose=0).history
    assert min(history["visual_coefficient"]) < 1
    assert [len(variables) for variables in model.branches.values()] == [2, 2]


def test_unimodal_logits_before_the_first_call():
    parts = build(called=False).unimodal_logits(data()[0])
    assert {name: part.shape for name, part in parts.items()} == {
        "visual": (BATCH, CLASSES),
        "audio": (BATCH, CLASSES),
    }


def test_one_hot_and_column_labels_train_alike():
    inputs, labels = data()
    weights = []
    for form in (labels[:, None], np.eye(CLASSES, dtype=np.float32)[labels]):
        model = build(ogm_tf.OGM(0.5))
        loss = (
            logits_loss()
            if form.shape[-1] == 1
            else keras.losses.CategoricalCrossentropy(from_logits=True)
        )
        model.compile(keras.optimizers.SGD(0.1), loss, ["accuracy"])
        model.fit(inputs, form, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(),
        keras.losses.sparse_categorical_crossentropy,
    ],
)
def test_losses_on_probabilities_are_refused(loss):
    with pytest.raises(ValueError, match="from_logits=True.*Received"):
        build().compile("sgd", loss)


def test_jit_compile_is_refused_on_two_replicas(mirrored):
    with mirrored.scope():
        model = build()
        with pytest.raises(ValueError, match="one device only.*2 replicas"):
            compiled(model, jit_compile=True)


def test_clear_errors():
    inputs, labels = data()
    with pytest.raises(
        ValueError, match="at least two modalities. Received: encoders=\\['audio'\\]"
    ):
        ogm_tf.OGMModel({"audio": encoder("audio")}, ogm_tf.fusion.Concat(3))
    with pytest.raises(ValueError, match="`fusion` must be a layer.*Received: fusion=None"):
        ogm_tf.OGMModel({"audio": encoder("a"), "visual": encoder("v")})
    with pytest.raises(TypeError, match="`modulation` must be.*Received: modulation='ogm'"):
        build("ogm")
    with pytest.raises(ValueError, match="\\['visual', 'audio'\\]. Received: \\['audio'\\]"):
        build(called=False)({"audio": inputs["audio"]})
    with pytest.raises(ValueError, match="list in that order. Received: 1 tensors"):
        build(called=False)([inputs["audio"]])
    for train in ("fit", "train_on_batch"):
        with pytest.raises(RuntimeError, match="must compile your model"):
            getattr(build(), train)(inputs, labels)
    conv = compiled(build(ogm_tf.OGM(0.5, variables="conv")))
    with pytest.raises(ValueError, match="'visual' owns 4 trainable variables"):
        conv.fit(inputs, labels, verbose=0)


def test_callbacks_of_every_kind():
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model = compiled(build(ogm_tf.OGM(0.5)))
    model.fit(dataset(), epochs=1, callbacks=[callback], verbose=0)
    model.fit(dataset(), epochs=1, callbacks=callback, verbose=0)
    ready = keras.callbacks.CallbackList([callback], model=model, add_history=True)
    model.fit(dataset(), epochs=1, callbacks=ready, verbose=0)
    model.fit(dataset(), None, None, 1, 0, [callback])
    assert seen == [0, 0, 0, 0]
    assert len(model.weights) == 10, "trackers are no weights"
