"""Models of a few numbers, their steps, and data of which one modality is ahead, for tests."""

import keras
import numpy as np
import tensorflow as tf

import ogm_tf

CLASSES = 3
BATCH = 8
RATE = 0.1


def encoder(name, units=4, regularizer=None, dtype=None):
    return keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(5, activation="tanh", kernel_regularizer=regularizer, dtype=dtype),
            keras.layers.Dense(units, dtype=dtype),
        ],
        name=name,
    )


def logits_loss(**kwargs):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **kwargs)


def build(
    modulation=None,
    fusion="Concat",
    regularizer=None,
    names=("visual", "audio"),
    called=True,
    accumulate_steps=1,
):
    keras.utils.set_random_seed(1)
    model = ogm_tf.OGMModel(
        encoders={name: encoder(name, regularizer=regularizer) for name in names},
        fusion=getattr(ogm_tf.fusion, fusion)(num_classes=CLASSES),
        modulation=modulation,
        accumulate_steps=accumulate_steps,
    )
    if called:
        model({name: tf.zeros([1, 6]) for name in names})
    return model


def compiled(model, optimizer=None, **kwargs):
    model.compile(optimizer or keras.optimizers.SGD(RATE), logits_loss(), ["accuracy"], **kwargs)
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


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def step_change(model, inputs, labels):
    """Takes a step of plain SGD; returns of each variable the gradient it was changed by."""
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_on_batch(inputs, labels)
    return [
        (start - variable.numpy()) / RATE
        for start, variable in zip(before, model.trainable_variables, strict=True)
    ]


def gradients_of(model, inputs, labels):
    """Returns the gradients of the fused loss, and of each modality's own."""
    with tf.GradientTape(persistent=True) as tape:
        logits, parts = model(inputs, training=True, unimodal=True)
        losses = [logits_loss()(labels, own) for own in (logits, *parts.values())]
    variables = model.trainable_variables
    found = [tape.gradient(loss, variables, unconnected_gradients="zero") for loss in losses]
    return [[np.array(gradient) for gradient in own] for own in found]


def eager(modulation, fusion="Concat", **kwargs):
    model = build(modulation, fusion, **kwargs)
    return compiled(model, keras.optimizers.SGD(RATE), run_eagerly=True)
