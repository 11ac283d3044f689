"""A method of a user's own: a hook that it overrides is all that it takes."""

import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.modulation import AGM, OGM, OPM, PMR, MMPareto, Modulation, Unimodal
from tests.ogm_tf.tiny_models import data, eager, gradients_of, logits_loss, step_change


class Quieter(Modulation):
    def change_features(self, features, moment):
        return {**features, "audio": 0.5 * features["audio"]}


class Thrice(Modulation):
    def loss(self, step):
        return 2.0 * step.loss(step.logits)


class Slower(Modulation):
    def coefficients(self, ratios):
        return {name: tf.constant(0.25 if name == "visual" else 1.0) for name in ratios}


class Stopped(Modulation):
    def modulate(self, gradients, coefficients, step, owners=(), added=None):
        return [tf.zeros_like(gradient) for gradient in gradients]


def test_features_that_it_changes_reach_the_fusion():
    model = eager(Quieter())
    inputs, labels = data()
    with tf.GradientTape() as tape:
        features = [encoder(inputs[name]) for name, encoder in model.encoders.items()]
        features[list(model.encoders).index("audio")] *= 0.5
        loss = logits_loss()(labels, model.fusion(features)[0])
    expected = tape.gradient(loss, model.trainable_variables)
    for found, gradient in zip(step_change(model, inputs, labels), expected, strict=True):
        np.testing.assert_allclose(found, gradient, atol=2e-6)


def test_a_loss_of_its_own_is_added():
    model = eager(Thrice())
    fused, *_ = gradients_of(model, *data())
    for found, gradient in zip(step_change(model, *data()), fused, strict=True):
        np.testing.assert_allclose(found, 3 * gradient, atol=2e-6)


def test_its_coefficients_multiply_the_gradients_of_encoders():
    model = eager(Slower())
    fused, *_ = gradients_of(model, *data())
    slowed = {id(variable) for variable in model.branches["visual"]}
    changes = step_change(model, *data())
    for variable, found, gradient in zip(model.trainable_variables, changes, fused, strict=True):
        factor = 0.25 if id(variable) in slowed else 1.0
        np.testing.assert_allclose(found, factor * gradient, atol=2e-6)


def test_gradients_of_encoders_may_become_anything_and_those_of_heads_may_not():
    model = eager(Stopped())
    fused, *_ = gradients_of(model, *data())
    of_encoders = {id(variable) for own in model.branches.values() for variable in own}
    changes = step_change(model, *data())
    for variable, found, gradient in zip(model.trainable_variables, changes, fused, strict=True):
        factor = 0.0 if id(variable) in of_encoders else 1.0
        np.testing.assert_allclose(found, factor * gradient, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        (Modulation, ""),
        (Quieter, "features"),
        (Thrice, "loss"),
        (Slower, "gradients"),
        (Stopped, "gradients"),
        (OPM, "features"),
        (Unimodal, "loss"),
        (PMR, "loss"),
        (OGM, "gradients"),
        (AGM, "gradients"),
        (MMPareto, "loss gradients"),
    ],
)
def test_the_places_are_those_of_the_hooks(kind, places):
    found = [name for name in ("features", "loss", "gradients") if getattr(kind, f"acts_on_{name}")]
    assert " ".join(found) == places


def test_what_a_class_says_of_itself_stands():
    class Silent(Unimodal):
        acts_on_loss = False

    assert not Silent.acts_on_loss
    with pytest.raises(TypeError, match="must override `modulate`.* Received: Apart"):

        class Apart(Unimodal):
            separates_losses = True


def test_a_loss_of_its_own_sees_the_features():
    class Short(Modulation):
        def loss(self, step):
            return tf.add_n([tf.reduce_sum(own**2) for own in step.features.values()])

    model = eager(Short())
    inputs, labels = data()
    fused, *_ = gradients_of(model, inputs, labels)
    with tf.GradientTape() as tape:
        features = [encoder(inputs[name]) for name, encoder in model.encoders.items()]
        length = tf.add_n([tf.reduce_sum(own**2) for own in features])
    own = tape.gradient(length, model.trainable_variables, unconnected_gradients="zero")
    changes = step_change(model, inputs, labels)
    for found, gradient, added in zip(changes, fused, own, strict=True):
        np.testing.assert_allclose(found, gradient + added, rtol=1e-4, atol=1e-5)
