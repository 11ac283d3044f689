"""What a step on pairs must come to, from the explicit gradients of each group of pairs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

LEARNING_RATE = 0.5


def compile_model(model, scaled=False, **kwargs):
    """Compiles with plain SGD, whose change of a weight is its gradient times a constant."""
    optimizer = keras.optimizers.SGD(LEARNING_RATE)
    if scaled:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=64.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, ["accuracy"], **kwargs)
    return model


def balance_by_hand(logits, labels, alpha):
    """Scores, ratios and coefficients of negative and positive pairs, float64 `[2]` each."""
    logits = np.asarray(logits, np.float64)
    right = np.exp(logits[np.arange(len(labels)), labels]) / np.exp(logits).sum(-1)
    scores = np.array([right[labels == group].mean() for group in (0, 1)])
    ratios = scores / scores[::-1]
    return scores, ratios, np.where(ratios > 1, 1 - np.tanh(alpha * ratios), 1.0)


def assert_a_step_equals_explicit_group_gradients(model, inputs, labels, alpha, tolerance=2e-6):
    """Takes a step, and compares it with one backward pass for each group's losses alone.

    The tolerance is a share of the largest of gradient, weight and 1; float32 rounds all that is
    summed, and the weights that the gradient is told from.
    """
    weights = model.get_weights()

    def losses():
        # Running averages and random streams are as before the step.
        model.set_weights(weights)
        logits = model(inputs, training=True)
        return logits, keras.losses.sparse_categorical_crossentropy(labels, logits, True)

    k = balance_by_hand(losses()[0], labels, alpha)[2]
    assert min(k) < 0.6
    gradients = []
    for group in (0, 1):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(losses()[1] * (labels == group)) / len(labels)
        gradients.append(tape.gradient(loss, model.trainable_variables))
    model.set_weights(weights)
    with tf.GradientTape() as tape:
        penalty = tf.reduce_sum(model.losses)
    penalties = tape.gradient(penalty, model.trainable_variables, unconnected_gradients="zero")
    in_encoders = {id(v) for e in model.encoders.values() for v in e.trainable_variables}
    starts = [variable.numpy() for variable in model.trainable_variables]
    changes = []
    for variable, negative, positive, of_penalty in zip(
        model.trainable_variables, *gradients, penalties, strict=True
    ):
        own = k if id(variable) in in_encoders else (1.0, 1.0)
        changes.append((own[0] * negative + own[1] * positive + of_penalty).numpy())
    result = model.train_on_batch(inputs, labels, return_dict=True)
    assert [result["negative_coefficient"], result["positive_coefficient"]] == pytest.approx(
        k, rel=1e-4
    )
    telling = []
    for variable, start, change, negative, positive in zip(
        model.trainable_variables, starts, changes, *gradients, strict=True
    ):
        found = (start - variable.numpy()) / LEARNING_RATE
        allowed = tolerance * max(1.0, np.max(np.abs(change)), np.max(np.abs(start)))
        np.testing.assert_allclose(found, change, rtol=0, atol=allowed, err_msg=variable.name)
        if id(variable) in in_encoders:
            balanced = (k[0] - 1) * negative + (k[1] - 1) * positive
            telling.append(np.max(np.abs(balanced)) / allowed)
    # Where the balance changes next to nothing, plain training would pass.
    assert np.median(telling) > 50, telling
