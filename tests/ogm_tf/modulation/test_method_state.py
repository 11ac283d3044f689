"""What methods remember: in files, where a training goes on, and of one network alone."""

import copy
import pickle

import keras
import numpy as np
import pytest

import ogm_tf
from ogm_tf.checkpoints import Checkpoint
from ogm_tf.modulation import AGM, OPM, PMR, GBlend
from ogm_tf.training_state import TrainingState
from tests.ogm_tf.tiny_models import build, compiled, data, dataset, eager


def everything():
    return OPM(probability=1.0) + PMR() + AGM() + GBlend()


def values(model):
    return {name: variable.numpy() for name, variable in model.method_state.items()}


def assert_same(model, other):
    assert model.method_state.keys() == other.method_state.keys()
    for name, value in values(model).items():
        np.testing.assert_array_equal(values(other)[name], value, name)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_from_a_file_goes_on_as_it_was(tmp_path):
    model = compiled(build(AGM() + GBlend()))
    model.fit(dataset(3), verbose=0)
    model.modulation.methods[-1].weights(2).assign([0.5, 0.3, 0.2])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert repr(again.modulation) == repr(model.modulation)
    for own in (model, again):
        own.fit(dataset(2, seed=7), verbose=0)
    assert_same(again, model)
    assert again.method_state["AGM.count"] == 5
    np.testing.assert_allclose(again.method_state["GBlend.weights"], [0.5, 0.3, 0.2])


def test_a_file_of_weights_has_what_the_method_remembers(tmp_path):
    model = compiled(build(AGM()))
    model.fit(dataset(3), verbose=0)
    model.save_weights(tmp_path / "own.weights.h5")
    others = [compiled(build(method)) for method in (AGM() + OPM(), ogm_tf.OGM(0.5), None)]
    for other in others:
        other.load_weights(tmp_path / "own.weights.h5")
        np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    others[0].train_on_batch(*data())
    assert others[0].method_state["AGM.count"] == 4


def test_a_model_that_runs_eagerly_remembers_where_it_goes_on(tmp_path):
    whole = compiled(build(everything()), run_eagerly=True)
    whole.fit(dataset(3), epochs=2, verbose=0, steps_per_epoch=3)
    for epochs in (1, 2):
        model = compiled(build(everything()), run_eagerly=True)
        checkpoint = Checkpoint(tmp_path)
        model.fit(dataset(3), epochs=epochs, verbose=0, steps_per_epoch=3, callbacks=[checkpoint])
    assert_same(model, whole)
    assert model.method_state["AGM.count"] == 6


def test_two_replicas_remember_where_they_go_on(tmp_path, mirrored):
    def trained(epochs, *callbacks):
        with mirrored.scope():
            model = compiled(build(OPM(probability=1.0)))
            model.fit(dataset(2), epochs=epochs, verbose=0, callbacks=callbacks)
        return model

    whole = trained(2)
    trained(1, Checkpoint(tmp_path))
    model = trained(2, Checkpoint(tmp_path))
    assert_same(model, whole)
    assert np.any(values(model)["OPM.probabilities"] > 0)


def test_a_model_that_is_saved_before_its_next_step_forgets_nothing(tmp_path):
    model = eager(PMR(), names=("video/rgb", "audio"))
    model.train_on_batch(*data(names=tuple(model.encoders)))
    before = values(model)
    for name in ("first.keras", "second.keras"):
        model.save(tmp_path / name)
        model = keras.models.load_model(tmp_path / name)
    found = model.modulation.pending
    assert found.keys() == before.keys()
    assert np.any(found["PMR.video/rgb_prototypes"])
    for name, value in before.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_checkpoint_that_is_written_before_the_next_step_forgets_nothing(tmp_path):
    model = eager(AGM())
    model.train_on_batch(*data())
    TrainingState(model).write(tmp_path)
    other = eager(AGM())
    state = TrainingState(other)
    state.assign_local(state.read_local(tmp_path))
    state.write(tmp_path)
    plain = eager(None)
    for own in (plain, other):
        state = TrainingState(own)
        state.assign_local(state.read_local(tmp_path))
        own.train_on_batch(*data(seed=1))
    assert other.method_state["AGM.count"] == 2 and not plain.method_state


def test_memory_of_other_classes_is_begun_anew(caplog):
    method = PMR()
    method.restore({"PMR.visual_known": np.ones(7), "AGM.count": np.array(3.0)})
    model = eager(method)
    model.train_on_batch(*data())
    assert "PMR.visual_known must have shape (3,). Received: shape (7,)" in caplog.text
    np.testing.assert_array_equal(method.state["PMR.visual_known"], np.ones(3))
    method.restore({"PMR.visual_known": np.zeros(2)})
    np.testing.assert_array_equal(method.state["PMR.visual_known"], np.ones(3))


def test_a_method_that_remembers_belongs_to_one_network():
    for method in (AGM(), GBlend() + ogm_tf.OGM(0.5)):
        model = compiled(compiled(build(method)))
        with pytest.raises(ValueError, match="must belong to one.*Received: modulation="):
            compiled(build(method))
        # Even of one that is gone.
        del model
        with pytest.raises(ValueError, match="AGM remembers|GBlend remembers"):
            compiled(build(method))
        compiled(build(copy.deepcopy(method)))
        compiled(build(pickle.loads(pickle.dumps(method))))
    stateless = ogm_tf.OGMGE(0.5)
    for _ in range(2):
        compiled(build(stateless))


def test_a_combination_that_is_refused_claims_none_of_its_methods():
    free, taken = OPM(), AGM()
    compiled(build(taken))
    with pytest.raises(ValueError, match="AGM remembers"):
        compiled(build(free + taken))
    compiled(build(free))


def test_a_step_that_is_not_finite_changes_no_state():
    method = OPM() + AGM() + PMR()
    model = eager(method)
    inputs, labels = data()
    model.train_on_batch(inputs, labels)
    before = values(model)
    assert len(before) > 6
    model.train_on_batch({**inputs, "audio": inputs["audio"] * np.nan}, labels)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
