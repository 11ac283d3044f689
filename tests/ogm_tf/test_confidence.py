"""Recorded confidence is what the network says of its validation samples after each epoch."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
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


def fit(model, recorder, validation=None, epochs=3, **kwargs):
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


@pytest.mark.parametrize(
    "settings", [{}, {"jit_compile": True}, {"steps_per_execution": 3, "weighted_metrics": []}]
)
def test_it_is_the_probability_of_the_true_class(settings):
    recorder = ConfidenceRecorder(NUM_SAMPLES)
    expected = fit(compiled(build(ogm_tf.OGMGE(0.5)), **settings), recorder)
    assert recorder.names == ("fused", "visual", "audio") and recorder.epochs == [0, 1, 2]
    assert recorder.confidence.shape == (3, NUM_SAMPLES, 3)
    np.testing.assert_allclose(recorder.confidence, expected, atol=1e-5)
    assert np.ptp(recorder.confidence, axis=0).max() > 0.01, "it moves"


def test_two_replicas_see_each_sample_once(mirrored):
    with mirrored.scope():
        model = compiled(build())
    # Batches of one replica, of which a replica's turn gives one to each.
    batches = padded(2)
    validation = mirrored.distribute_datasets_from_function(lambda _: batches)
    recorder = ConfidenceRecorder(NUM_SAMPLES, kept=[10, 0, 7])
    expected = fit(model, recorder, validation, validation_steps=3)
    np.testing.assert_allclose(recorder.confidence, np.array(expected)[:, [10, 0, 7]], atol=1e-5)


def test_it_changes_nothing_of_the_training():
    models = [compiled(build(ogm_tf.OGMGE(0.5))) for _ in range(2)]
    recorder = ConfidenceRecorder(NUM_SAMPLES)
    for model, own in zip(models, (recorder, None), strict=True):
        fit(model, own, (INPUTS, LABELS))
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    values = [model.evaluate(INPUTS, LABELS, verbose=0) for model in models]
    assert values[0] == values[1]
    assert len(recorder.epochs) == 3, "an evaluation after training is no epoch"


def test_it_goes_on_from_a_checkpoint(tmp_path):
    whole = ConfidenceRecorder(NUM_SAMPLES, kept=range(4))
    fit(compiled(build()), whole, epochs=4)
    for epochs in (2, 4):
        recorder = ConfidenceRecorder(NUM_SAMPLES, kept=range(4))
        checkpoint = Checkpoint(tmp_path, extra={"confidence": recorder})
        model = compiled(build())
        model.fit(
            dataset(), validation_data=padded(), epochs=epochs, verbose=0,
            callbacks=[recorder, checkpoint],
        )  # fmt: skip
    assert recorder.epochs == [0, 1, 2, 3]
    np.testing.assert_array_equal(recorder.confidence, whole.confidence)
    state = json.loads(json.dumps(recorder.get_state()))
    assert state["epochs"] == [0, 1, 2, 3] and len(state["confidence"]) == 4 * 4 * 3 * 4 * 4 / 3


def test_epochs_without_validation_are_left_out():
    recorder = ConfidenceRecorder(NUM_SAMPLES)
    fit(compiled(build()), recorder, epochs=4, validation_freq=2)
    assert recorder.epochs == [1, 3]


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: ConfidenceRecorder(0), "Received: num_samples=0"),
        (lambda: ConfidenceRecorder(3, kept=[1, 3]), r"in \[0, 3\). Received: kept=\[1, 3\]"),
        (
            lambda: fit(compiled(build()), ConfidenceRecorder(NUM_SAMPLES + 2), (INPUTS, LABELS)),
            "`num_samples`=13 samples once.*Received: 11 samples",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, received):
    with pytest.raises(ValueError, match=received):
        call()
