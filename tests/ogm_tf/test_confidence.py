"""Recorded confidence is what the network says of its validation samples after each epoch."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.checkpoints import Checkpoint
from ogm_tf.confidence import ConfidenceRecorder
from tests.ogm_tf.tiny_models import build, compiled, data, dataset

NUM_SAMPLES = 11
INPUTS, LABELS = data(NUM_SAMPLES, seed=5)


def padded(batch_size=4):
    """The validation samples in whole batches, the last filled up with rows of weight 0."""
    missing = -NUM_SAMPLES % batch_size
    arrays = (*INPUTS.values(), LABELS, np.ones(NUM_SAMPLES, np.float32))
    arrays = [np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in arrays]
    inputs = dict(zip(INPUTS, arrays, strict=False))
    return tf.data.Dataset.from_tensor_slices((inputs, *arrays[2:])).batch(batch_size)


class Expected(keras.callbacks.Callback):
    """Asks the model itself after every epoch, outside of training."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_epoch_end(self, epoch, logs=None):
        fused, parts = self.model(INPUTS, training=False, unimodal=True)
        columns = []
        for logits in (fused, parts["visual"], parts["audio"]):
            exponentials = np.exp(logits.numpy().astype(np.float64))
            probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
            columns.append(probabilities[np.arange(NUM_SAMPLES), LABELS])
        self.values.append(np.stack(columns, axis=1))


def fit(model, recorder, validation=None, epochs=1, **kwargs):
    expected = Expected()
    model.fit(
        dataset(),
        validation_data=padded() if validation is None else validation,
        epochs=epochs,
        callbacks=[expected, *([recorder] if recorder else [])],
        verbose=0,
        **kwargs,
    )
    return expected.values


@pytest.fixture(scope="module")
def whole():
    """Four recorded epochs: the recorder, what the model said, and its weights."""
    recorder = ConfidenceRecorder(NUM_SAMPLES)
    model = compiled(build())
    expected = fit(model, recorder, epochs=4)
    model.evaluate(INPUTS, LABELS, verbose=0)
    return recorder, np.array(expected), model.get_weights()


def test_it_is_the_probability_of_the_true_class(whole):
    recorder, expected, _ = whole
    assert recorder.names == ("fused", "visual", "audio")
    # The evaluation after the training is no epoch.
    assert recorder.epochs == [0, 1, 2, 3] and recorder.confidence.shape == (4, NUM_SAMPLES, 3)
    np.testing.assert_allclose(recorder.confidence, expected, atol=1e-5)
    assert np.ptp(recorder.confidence, axis=0).max() > 0.01, "it moves"


def test_it_changes_nothing_of_the_training(whole):
    model = compiled(build())
    fit(model, None, epochs=4)
    for ours, theirs in zip(model.get_weights(), whole[2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_compiled_steps_record_it_and_epochs_without_validation_are_left_out():
    recorder = ConfidenceRecorder(NUM_SAMPLES)
    model = compiled(build(), jit_compile=True, steps_per_execution=3)
    expected = fit(model, recorder, epochs=2, validation_freq=2)
    assert recorder.epochs == [1]
    np.testing.assert_allclose(recorder.confidence[0], expected[1], atol=1e-5)


def test_two_replicas_see_each_sample_once(mirrored):
    with mirrored.scope():
        model = compiled(build())
    # Batches of one replica, of which a replica's turn gives one to each.
    batches = padded(2)
    validation = mirrored.distribute_datasets_from_function(lambda _: batches)
    recorder = ConfidenceRecorder(NUM_SAMPLES, kept=[10, 0, 7])
    expected = fit(model, recorder, validation, epochs=1, validation_steps=3)
    np.testing.assert_allclose(recorder.confidence, np.array(expected)[:, [10, 0, 7]], atol=1e-5)


def test_it_goes_on_from_a_checkpoint(whole, tmp_path):
    kept = range(4)
    for epochs in (2, 4):
        recorder = ConfidenceRecorder(NUM_SAMPLES, kept)
        checkpoint = Checkpoint(tmp_path, extra={"confidence": recorder})
        model = compiled(build())
        model.fit(
            dataset(), validation_data=padded(), epochs=epochs, verbose=0,
            callbacks=[recorder, checkpoint],
        )  # fmt: skip
    assert recorder.epochs == [0, 1, 2, 3]
    np.testing.assert_array_equal(recorder.confidence, whole[0].confidence[:, kept])
    state = json.loads(json.dumps(recorder.get_state()))
    assert state["epochs"] == [0, 1, 2, 3] and len(state["confidence"]) == 4 * 4 * 3 * 4 * 4 / 3


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: ConfidenceRecorder(0), "Received: num_samples=0"),
        (lambda: ConfidenceRecorder(3, kept=[1, 3]), r"in \[0, 3\). Received: kept=\[1, 3\]"),
        (
            lambda: fit(
                compiled(build(), run_eagerly=True),
                ConfidenceRecorder(NUM_SAMPLES + 2),
                (INPUTS, LABELS),
            ),
            "`num_samples`=13 samples once.*Received: 11 samples",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, received):
    with pytest.raises(ValueError, match=received):
        call()
