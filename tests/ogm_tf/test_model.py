"""OGMModel's step against by-hand computations, plain Keras, replicas and reloads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf

CLASSES = 3
BATCH = 8


def encoder(name, units=4, regularizer=None, dtype=None):
    return keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(5, activation="tanh", kernel_regularizer=regularizer, dtype=dtype),
            keras.layers.Dense(units, dtype=dtype),
        ],
        name=name,
    )


def logits_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build(
    modulation=None, fusion="Concat", regularizer=None, names=("visual", "audio"), called=True
):
    keras.utils.set_random_seed(1)
    model = ogm_tf.OGMModel(
        encoders={name: encoder(name, regularizer=regularizer) for name in names},
        fusion=getattr(ogm_tf.fusion, fusion)(num_classes=CLASSES),
        modulation=modulation,
    )
    if called:
        model({name: tf.zeros([1, 6]) for name in names})
    return model


def compiled(model, optimizer=None, **kwargs):
    model.compile(optimizer or keras.optimizers.SGD(0.1), logits_loss(), ["accuracy"], **kwargs)
    return model


def data(batch=BATCH, names=("visual", "audio"), seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, batch).astype(np.int32)
    inputs = {}
    for index, name in enumerate(names):
        # The first modality carries the class, so that it is ahead after a few steps.
        signal = np.eye(6)[labels] * (2.0 if index == 0 else 0.2)
        inputs[name] = (signal + random.normal(size=(batch, 6))).astype(np.float32)
    return inputs, labels


def dataset(steps=5, batch=BATCH, **kwargs):
    inputs, labels = data(batch * steps, **kwargs)
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(batch, drop_remainder=True)


def plain_twin():
    """The same layers and weights as `build()`, and a functional keras.Model over them."""
    twin = build()
    inputs = {name: keras.Input((6,)) for name in twin.encoders}
    features = [twin.encoders[name](inputs[name]) for name in twin.encoders]
    return twin, keras.Model(inputs, twin.fusion(features)[0])


def ahead_by_hand(model, inputs, labels, alpha):
    """Scores, ratios and coefficients in NumPy from the model's own logits."""
    scores = {}
    for name, logits in model.unimodal_logits(inputs, training=True).items():
        exponentials = np.exp(logits.numpy().astype(np.float64))
        probabilities = exponentials / exponentials.sum(-1, keepdims=True)
        scores[name] = probabilities[np.arange(len(labels)), labels].sum()
    first, second = scores
    ratios = {first: scores[first] / scores[second], second: scores[second] / scores[first]}
    return {n: 1 - np.tanh(alpha * r) if r > 1 else 1.0 for n, r in ratios.items()}


@pytest.mark.parametrize("fusion", ["Concat", "Sum", "FiLM", "Gated"])
def test_one_step_equals_the_computation_by_hand(fusion):
    model = compiled(build(ogm_tf.OGM(alpha=0.7), fusion))
    inputs, labels = data()
    model(inputs)
    coefficients = ahead_by_hand(model, inputs, labels, 0.7)
    assert min(coefficients.values()) < 0.6
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    kernels = {
        v.ref(): name
        for name, e in model.encoders.items()
        for v in e.trainable_variables
        if "kernel" in v.name
    }
    expected = [
        v.numpy() - 0.1 * (coefficients[kernels[v.ref()]] if v.ref() in kernels else 1.0) * g
        for v, g in zip(variables, gradients, strict=True)
    ]
    model.train_on_batch(inputs, labels)
    assert len(kernels) == 4
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6)


def test_history_holds_every_tracker():
    model = compiled(build(ogm_tf.OGM(alpha=0.7)), keras.optimizers.SGD(0.0))
    inputs, labels = data()
    history = model.fit(inputs, labels, batch_size=BATCH, verbose=0).history
    expected = ahead_by_hand(model, inputs, labels, 0.7)
    for name, coefficient in expected.items():
        assert history[f"{name}_coefficient"][0] == pytest.approx(coefficient, abs=1e-6)
        logits = model.unimodal_logits(inputs)[name]
        scores = tf.nn.softmax(logits).numpy()[np.arange(BATCH), labels]
        assert history[f"{name}_score"][0] == pytest.approx(scores.mean(), abs=1e-6)
        accuracy = np.mean(logits.numpy().argmax(-1) == labels)
        assert history[f"{name}_accuracy"][0] == pytest.approx(accuracy)
    assert history["visual_ratio"][0] * history["audio_ratio"][0] == pytest.approx(1, abs=1e-5)
    assert {"loss", "accuracy"} < set(history)
    assert set(model.evaluate(inputs, labels, verbose=0, return_dict=True)) == {
        "loss",
        "accuracy",
        "audio_accuracy",
        "visual_accuracy",
    }


@pytest.mark.parametrize(
    "modulation",
    [None, ogm_tf.OGM(0.9, start_epoch=1), ogm_tf.OGMGE(0.9, start_epoch=3, end_epoch=9)],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_off_or_outside_the_window_equals_plain_keras_exactly(modulation, optimizer):
    model = build(modulation)
    twin, plain = plain_twin()
    for network in (model, plain):
        compiled(network, keras.optimizers.get(optimizer))
        network.fit(dataset(), verbose=0)
    assert int(model.optimizer.iterations) == 5
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_window_is_followed_epoch_by_epoch():
    model = compiled(build(ogm_tf.OGM(0.9, start_epoch=1, end_epoch=2)))
    history = model.fit(dataset(), epochs=4, verbose=0).history
    lowest = np.minimum(history["visual_coefficient"], history["audio_coefficient"])
    assert lowest[0] == 1 and lowest[3] == 1 and max(lowest[1:3]) < 1
    resumed = model.fit(dataset(), initial_epoch=2, epochs=3, verbose=0).history
    assert resumed["visual_coefficient"][0] < 1


def test_noise_is_added_to_every_kernel_and_nothing_else():
    keras.utils.set_random_seed(0)
    names = ("audio", "visual")
    model = ogm_tf.OGMModel(
        {
            name: keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(512, name=name)])
            for name in names
        },
        ogm_tf.fusion.Concat(CLASSES),
        ogm_tf.OGMGE(alpha=0.0, seed=5),
    )
    compiled(model, keras.optimizers.SGD(1.0))
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(BATCH, 64)).astype(np.float32) for name in names}
    labels = random.integers(0, CLASSES, BATCH)
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    gradients = tape.gradient(loss, model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch(inputs, labels)
    noises = []
    for variable, gradient, old in zip(model.trainable_variables, gradients, before, strict=True):
        added = old - variable.numpy() - gradient.numpy()
        if variable.shape == (64, 512):
            assert added.std() == pytest.approx(gradient.numpy().std(ddof=1), rel=0.02)
            noises.append(added.ravel() / added.std())
        else:
            np.testing.assert_allclose(added, 0, atol=1e-6)
    assert len(noises) == 2
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.025


def test_one_device_equals_two_replicas(mirrored):
    histories, weights = [], []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = build(ogm_tf.OGMGE(alpha=0.5, seed=3), regularizer="l2")
            compiled(model, ogm_tf.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-3))
        histories.append(model.fit(dataset(), epochs=2, verbose=0).history)
        weights.append(model.get_weights())
        assert model.evaluate(dataset(), verbose=0, return_dict=True)["audio_accuracy"] <= 1
    assert histories[0].keys() == histories[1].keys()
    for key in histories[0]:
        np.testing.assert_allclose(histories[0][key], histories[1][key], atol=1e-5, err_msg=key)
    assert min(histories[0]["visual_coefficient"]) < 1
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_regularization_is_never_modulated():
    """With a data loss of zero weight, the regulariser alone moves the weights, undamped."""
    model = compiled(build(ogm_tf.OGM(alpha=5.0), regularizer=keras.regularizers.L2(0.5)))
    inputs, labels = data()
    model(inputs)
    kernels = [v for e in model.encoders.values() for v in e.trainable_variables[:1]]
    before = [v.numpy() for v in kernels]
    assert min(ahead_by_hand(model, inputs, labels, 5.0).values()) < 0.01
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    gradients = tape.gradient(loss, kernels)
    total = loss + tf.add_n(model.losses)
    logged = model.train_on_batch(inputs, labels, return_dict=True)["loss"]
    assert logged == pytest.approx(float(total), rel=1e-6)
    ks = ahead_by_hand_from(gradients, before, kernels)
    assert max(ks) == pytest.approx(1.0, abs=1e-3)
    assert min(ks) < 0.01


def ahead_by_hand_from(gradients, before, kernels, rate=0.1, strength=0.5):
    """The factor of the data gradient in each update, once 2 * strength * w is taken away."""
    factors = []
    for gradient, old, variable in zip(gradients, before, kernels, strict=True):
        data_part = (old - variable.numpy()) / rate - 2 * strength * old
        factors.append(float(np.vdot(data_part, gradient) / np.vdot(gradient, gradient)))
    return factors


def test_a_loss_of_ones_own_without_regularization_is_modulated_whole():
    class OwnLoss(ogm_tf.OGMModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return logits_loss()(y, y_pred, sample_weight)

    weights = []
    for regularizer in (None, "l2"):
        plain = build(regularizer=regularizer)
        model = OwnLoss(plain.encoders, plain.fusion, ogm_tf.OGM(0.7))
        compiled(model).train_on_batch(*data())
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradients_are_clipped_after_modulation():
    model = compiled(build(ogm_tf.OGMGE(0.5)), keras.optimizers.SGD(1.0, global_clipnorm=1e-3))
    inputs, labels = data()
    model(inputs)
    before = model.get_weights()
    model.train_on_batch(inputs, labels)
    changes = [(a - b).ravel() for a, b in zip(before, model.get_weights(), strict=True)]
    assert np.linalg.norm(np.concatenate(changes)) == pytest.approx(1e-3, rel=1e-3)


def test_sample_weight_counts_in_loss_and_scores():
    weights = np.array([1, 1, 0, 2, 0, 1, 1, 1], np.float32)
    repeated = np.repeat(np.arange(BATCH), weights.astype(int))
    inputs, labels = data()
    weighted = compiled(build(ogm_tf.OGM(0.5)), keras.optimizers.SGD(0.1))
    twice = compiled(build(ogm_tf.OGM(0.5)), keras.optimizers.SGD(0.1 * len(repeated) / BATCH))
    logs = weighted.train_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    others = twice.train_on_batch(
        {n: v[repeated] for n, v in inputs.items()}, labels[repeated], return_dict=True
    )
    for key in ("visual_ratio", "visual_coefficient", "visual_score", "audio_score"):
        assert logs[key] == pytest.approx(others[key], abs=1e-6)
    for ours, theirs in zip(weighted.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_class_weight_equals_sample_weight():
    inputs, labels = data()
    class_weight = {0: 1.0, 1: 2.0, 2: 0.5}
    weights = np.array([class_weight[label] for label in labels], np.float32)
    by_class, by_sample = compiled(build(ogm_tf.OGM(0.5))), compiled(build(ogm_tf.OGM(0.5)))
    by_class.fit(inputs, labels, batch_size=BATCH, class_weight=class_weight, verbose=0)
    by_sample.fit(inputs, labels, batch_size=BATCH, sample_weight=weights, verbose=0)
    for ours, theirs in zip(by_class.get_weights(), by_sample.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


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


def test_sparse_gradients_are_modulated():
    def embed(name):
        return keras.Sequential(
            [
                keras.layers.Input((6,), dtype=tf.int32),
                keras.layers.Embedding(20, 4),
                keras.layers.GlobalAveragePooling1D(),
            ],
            name=name,
        )

    keras.utils.set_random_seed(0)
    model = ogm_tf.OGMModel(
        {"text": embed("text"), "tags": embed("tags")}, ogm_tf.fusion.Sum(3), ogm_tf.OGM(0.5)
    )
    compiled(model, keras.optimizers.SGD(1.0))
    inputs = {
        n: np.arange(12, dtype=np.int32).reshape(2, 6) + i for i, n in enumerate(model.encoders)
    }
    labels = np.array([0, 1])
    table = model.encoders["text"].trainable_variables[0]
    with tf.GradientTape() as tape:
        loss = logits_loss()(labels, model(inputs))
    gradient = tape.gradient(loss, table)
    assert isinstance(gradient, tf.IndexedSlices)
    coefficient = ahead_by_hand(model, inputs, labels, 0.5)["text"]
    before = table.numpy()
    model.train_on_batch(inputs, labels)
    np.testing.assert_allclose(
        before - table.numpy(), coefficient * tf.convert_to_tensor(gradient).numpy(), atol=1e-6
    )


def test_three_modalities():
    names = ("a", "b", "c")
    model = compiled(build(ogm_tf.OGMGE(0.5), names=names))
    history = model.fit(dataset(names=names), verbose=0).history
    assert all(np.isfinite(history[f"{name}_ratio"][0]) for name in names)
    inputs = data(names=names)[0]
    parts = model.unimodal_logits(inputs)
    np.testing.assert_allclose(sum(parts.values()), model(inputs), atol=1e-5)


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


def test_weights_of_every_segment():
    class Segments(ogm_tf.OGMModel):
        def forward(self, inputs, training=False):
            parts = {name: inputs[name] @ tf.eye(6)[:, :CLASSES] for name in inputs}
            return sum(parts.values()), parts

        @property
        def branches(self):
            return {"visual": [], "audio": []}

    random = np.random.default_rng(0)
    inputs = {n: random.normal(size=(4, 5, 6)).astype(np.float32) for n in ("visual", "audio")}
    labels = random.integers(0, CLASSES, (4, 5))
    weights = random.integers(0, 2, (4, 5)).astype(np.float32)
    model = compiled(Segments())
    received = model.evaluate(
        inputs, labels, sample_weight=weights, batch_size=2, verbose=0, return_dict=True
    )
    correct = (inputs["audio"][..., :CLASSES].argmax(-1) == labels)[weights != 0]
    assert received["audio_accuracy"] == pytest.approx(correct.mean(), abs=1e-6)


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
