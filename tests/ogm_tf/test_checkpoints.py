"""A training that was stopped ends, bit for bit, as one that was not."""

import pathlib
import resource
import shutil
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from ogm_tf.checkpoint_files import CheckpointFiles, Position
from ogm_tf.checkpoints import Checkpoint, Stopped
from tests.ogm_tf import tiny_models

STEPS, EPOCHS = 5, 3


def sgd():
    return keras.optimizers.SGD(0.1, momentum=0.9)


def scaled_adam():
    adam = keras.optimizers.Adam(0.1)
    return keras.mixed_precision.LossScaleOptimizer(adam, initial_scale=8, dynamic_growth_steps=2)


class StopAt:
    """Asks to stop when it is called for the n-th time; Checkpoint asks after every step."""

    def __init__(self, calls=-1):
        self.calls = calls

    def __call__(self):
        self.calls -= 1
        return self.calls == 0


class Memory:
    """Counts epochs, as what `extra` is for."""

    def __init__(self):
        self.epochs = []

    def get_state(self):
        return {"epochs": self.epochs}

    def set_state(self, state):
        self.epochs = state["epochs"]


def make_model(optimizer=sgd, policy="float32"):
    keras.mixed_precision.set_global_policy(policy)
    return tiny_models.compiled(tiny_models.build(ogm_tf.OGMGE(alpha=0.8)), optimizer())


def train(model, folder, stop_after=-1, every_steps=2, **kwargs):
    """Trains from where the folder stands; returns the history of all epochs, or None."""
    memory = Memory()
    checkpoint = Checkpoint(
        folder,
        every_steps,
        extra={"memory": memory},
        should_stop=StopAt(stop_after),
        **kwargs,
    )
    epoch, step = checkpoint.progress()
    whole = tiny_models.dataset(STEPS).repeat().skip(epoch * STEPS + step)
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: memory.epochs.append(logs)
    )
    try:
        model.fit(
            whole,
            epochs=EPOCHS,
            steps_per_epoch=STEPS,
            validation_data=tiny_models.dataset(2, seed=1),
            callbacks=[remember, checkpoint],
            verbose=0,
        )
    except Stopped:
        return None
    return memory.epochs


def state(model):
    return [*model.get_weights(), *(value.numpy() for value in model.optimizer.variables())]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def scramble(model):
    """Takes everything from a model that a checkpoint must bring back; its traces stay."""
    for variable in [*model.weights, *model.optimizer.variables(), *metric_variables(model)]:
        variable.assign(tf.cast(tf.fill(variable.shape, 7), variable.dtype))


def metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]


@pytest.mark.slow
def test_stopped_anywhere_it_ends_like_an_uninterrupted_one(tmp_path):
    model, resumed = make_model(), make_model()
    assert train(model, tmp_path / "start", 1) is None
    expected = train(model, tmp_path / "whole")
    assert len(expected) == EPOCHS and "accuracy" in expected[0]
    expected_state = state(model)
    # An epoch asks once at its begin, 5 times after steps and twice in validation.
    stops = {1: (0, 0), 4: (0, 3), 6: (0, 5), 7: (0, 5), 9: (1, 0), 11: (1, 2)}
    for calls, position in stops.items():
        folder = shutil.copytree(tmp_path / "start", tmp_path / f"run{calls}")
        scramble(model)
        assert train(model, folder, calls) is None
        assert Checkpoint(folder).progress() == position
        assert train(resumed, folder) == expected
        assert_same(state(resumed), expected_state)
        scramble(resumed)


def test_the_loss_scale_goes_on(tmp_path):
    whole, resumed = (make_model(scaled_adam, "mixed_float16") for _ in range(2))
    checkpoint = Checkpoint(tmp_path / "run", should_stop=StopAt(12))
    data = tiny_models.dataset(STEPS)
    with pytest.raises(Stopped, match="Stopped and saved at epoch 1, step 5"):
        whole.fit(data, epochs=EPOCHS, callbacks=[checkpoint], verbose=0)
    assert checkpoint.progress() == (1, 5)
    whole.fit(data, initial_epoch=2, epochs=EPOCHS, verbose=0)
    resumed.fit(data, epochs=EPOCHS, callbacks=[Checkpoint(tmp_path / "run")], verbose=0)
    assert_same(state(resumed), state(whole))
    # 15 steps of which every second doubles the scale.
    assert float(resumed.optimizer.loss_scale) == 8 * 2**7


def test_every_replica_gets_its_own_back(tmp_path, mirrored):
    def make():
        keras.utils.set_random_seed(1)
        encoders = {
            name: keras.Sequential(
                [
                    keras.layers.Input((6,)),
                    keras.layers.Dense(4),
                    keras.layers.BatchNormalization(momentum=0.5),
                    ogm_tf.layers.Dropout(0.5, seed=1),
                ]
            )
            for name in ("visual", "audio")
        }
        model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(3))
        model({name: tf.zeros([1, 6]) for name in encoders})
        return tiny_models.compiled(model, sgd())

    def per_replica(model):
        own = [w for w in model.weights if w.synchronization == tf.VariableSynchronization.ON_READ]
        assert len(own) == 6, "two moving statistics and a random stream of each encoder"
        return [[value.numpy() for value in weight.values] for weight in own]

    with mirrored.scope():
        whole, resumed = make(), make()
    data = tiny_models.dataset(STEPS)
    begin = Checkpoint(tmp_path / "run", should_stop=StopAt(4))
    with pytest.raises(Stopped):
        whole.fit(data, callbacks=[begin], verbose=0)
    on_one_device = make()
    rest = tiny_models.dataset(STEPS).skip(3).repeat()
    for model in (whole, resumed, on_one_device):
        arguments = {"epochs": 1, "steps_per_epoch": STEPS, "verbose": 0}
        callbacks = [Checkpoint(shutil.copytree(tmp_path / "run", tmp_path / f"run{id(model)}"))]
        # The first to go on is the one that stopped, whose variables hold all they ever held.
        expected = model.fit(rest, callbacks=callbacks, **arguments).history
        if model is whole:
            history = expected
        elif model is resumed:
            assert expected == history
            assert_same(state(resumed), state(whole))
            assert_same(per_replica(resumed), per_replica(whole))
    assert any(np.any(a != b) for a, b in per_replica(whole))
    # 3 steps of 8 rows on two replicas, and 2 on one.
    assert int(on_one_device.metrics[1].count) == STEPS * tiny_models.BATCH


def plain_model():
    keras.utils.set_random_seed(1)
    inputs = {name: keras.layers.Input((6,), name=name) for name in ("visual", "audio")}
    logits = keras.layers.Dense(3)(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, logits)
    model.compile(sgd(), tiny_models.logits_loss(), ["accuracy"])
    return model


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_plain_keras_model_goes_on(tmp_path, eagerly):
    whole, resumed = plain_model(), plain_model()
    for model in (whole, resumed):
        model.run_eagerly = eagerly
    expected = train(whole, tmp_path / "whole")
    assert train(plain_model(), tmp_path / "run", 4) is None
    received = train(resumed, tmp_path / "run")
    assert_same(state(resumed), state(whole))
    assert received[1:] == expected[1:]
    assert (received[0] == expected[0]) != eagerly, "metrics are made by the first eager step"


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_two_are_kept_and_what_killed_writers_left_is_removed(tmp_path):
    train(plain_model(), tmp_path, every_steps=2)
    kept = ["epoch-0002-step-000004", "epoch-0003-step-000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / kept[0], check=True
    )
    (tmp_path / ".epoch-0003-step-000002.77").mkdir()
    (tmp_path / ".epoch-0003-step-000002.77" / "variables.index").write_text("half")
    shutil.copytree(tmp_path / kept[0], tmp_path / "epoch-0001-step-000000")
    train(plain_model(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_who_does_not_write_leaves_nothing(tmp_path):
    assert len(train(plain_model(), tmp_path / "run", writes=False)) == EPOCHS
    assert files_under(tmp_path) == []


def write(files, epoch, step=0):
    with files.writing(Position(epoch, step)) as folder:
        (folder / "variables").write_bytes(bytes(range(200)))


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("hurt", [damage, pathlib.Path.unlink])
@pytest.mark.parametrize("name", ["variables", "SHA256SUMS"])
def test_a_damaged_checkpoint_is_passed_over_and_put_aside(tmp_path, hurt, name, caplog):
    files = CheckpointFiles(tmp_path)
    write(files, 1)
    write(files, 2, 10)
    hurt(tmp_path / "epoch-0002-step-000010" / name)
    assert files.newest() == (1, 0)
    assert "A checkpoint is damaged" in caplog.text and name in caplog.text
    files.sweep(files.newest())
    write(files, 1, 5)
    write(files, 2)
    names = ["damaged-epoch-0002-step-000010", "epoch-0001-step-000005", "epoch-0002-step-000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for position in files.positions():
        hurt(files.path(position) / name)
    with pytest.raises(ValueError, match="must be whole.*Received: .*all damaged"):
        files.newest()


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(tmp_path):
    model = plain_model()
    checkpoint = Checkpoint(tmp_path)
    data = tiny_models.dataset(STEPS)
    model.fit(data, epochs=1, callbacks=[checkpoint], verbose=0)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_under(tmp_path)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Too little for what TensorFlow writes, and for what NumPy does.
    for limit in (100, (tmp_path / "epoch-0001-step-000000" / "local.npz").stat().st_size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError) as caught:
                checkpoint.save(Position(1, 3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        message = str(caught.value)
        assert f"epoch 1, step 3 must be written to {tmp_path}. Received: " in message
        assert f"whole checkpoint: epoch 1, step 0, in {tmp_path}/epoch-0001-" in message
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files_under(tmp_path)} == before


def test_another_length_of_an_epoch_is_refused(tmp_path):
    train(plain_model(), tmp_path, 4)
    data = tiny_models.dataset(STEPS).repeat()
    with pytest.raises(ValueError, match="as many steps as where it was begun, 5. Received: 4"):
        plain_model().fit(data, steps_per_epoch=4, callbacks=[Checkpoint(tmp_path)], verbose=0)


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="`every_steps` must be >= 1. Received: every_steps=0"):
        Checkpoint(tmp_path, 0)
    with pytest.raises(ValueError, match="`keep` must be >= 1. Received: keep=0"):
        Checkpoint(tmp_path, keep=0)


@pytest.mark.slow
def test_accumulated_gradients_go_on_here_and_elsewhere(tmp_path, mirrored):
    """What the replicas hold of a sum is divided among others."""

    def make(strategy):
        with strategy.scope():
            model = tiny_models.build(ogm_tf.OGMGE(alpha=0.8), accumulate_steps=2)
            return tiny_models.compiled(model, sgd())

    def copy(name):
        return shutil.copytree(tmp_path / name, tmp_path / f"copy{len(list(tmp_path.iterdir()))}")

    def assert_close(ours, theirs):
        for one, other in zip(ours.get_weights(), theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)

    one_device = tf.distribute.get_strategy()
    whole, again, replicated = make(one_device), make(one_device), make(mirrored)
    train(whole, tmp_path / "start", 1)
    expected = train(whole, copy("start"))
    expected_state, weights = state(whole), whole.get_weights()
    scramble(whole)
    assert train(whole, folder := copy("start"), 4) is None
    assert Checkpoint(folder).progress() == (0, 3), "in the middle of an update"
    assert train(again, copy(folder.name)) == expected
    assert_same(state(again), expected_state)
    train(replicated, folder)
    assert_close(replicated, weights)
    # And from two replicas to one device.
    assert train(replicated, folder := copy("start"), 4) is None
    scramble(again)
    train(again, folder)
    assert_close(again, weights)
