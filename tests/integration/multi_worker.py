"""One worker of the test of several: trains small networks, and writes what came of them.

TF_CONFIG=... python -m tests.integration.multi_worker FOLDER --cases plain batch_norm
"""

import argparse
import os
import pathlib
import signal
import socket

import keras
import numpy as np
import tensorflow as tf

import ogm_tf
from input_pipelines import dataset
from launchers import strategies

BATCH_SIZE = 8
NUM_CLASSES = 4
STEPS_PER_EPOCH = 10
EPOCHS = 2
VALIDATION_STEPS = 2
CASES = {
    "plain": {"validate": True},
    "batch_norm": {"batch_norm": True},
    "float16": {"precision": "mixed_float16"},
    "bfloat16": {"precision": "mixed_bfloat16"},
}


def free_addresses() -> tuple[str, str]:
    """Returns two addresses of this machine that nobody listens at."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    names = tuple(f"localhost:{held.getsockname()[1]}" for held in sockets)
    for held in sockets:
        held.close()
    return names


def build_model(batch_norm: bool, precision: str) -> ogm_tf.OGMModel:
    """Two convolutional encoders whose sizes differ, under OGM-GE that is active from the start."""
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy(precision)
    encoders = {}
    for name, width in (("audio", 6), ("visual", 4)):
        layers = [keras.layers.Conv2D(width, 3, use_bias=not batch_norm)]
        if batch_norm:
            layers.append(keras.layers.BatchNormalization(synchronized=True))
        layers += [keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D()]
        encoders[name] = keras.Sequential([keras.Input((8, 8, 1)), *layers], name=name)
    model = ogm_tf.OGMModel(
        encoders, ogm_tf.fusion.Concat(NUM_CLASSES), ogm_tf.OGMGE(alpha=0.8, seed=3)
    )
    model.compile(
        ogm_tf.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ["accuracy"],
        weighted_metrics=[],
    )
    # Layers that are built in a strategy's threads draw other weights.
    model({name: tf.zeros((1, 8, 8, 1)) for name in encoders})
    return model


def examples(num_steps: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns sound and pictures `[steps * B, 8, 8, 1]` that labels `[steps * B]` shine through."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, NUM_CLASSES, num_steps * BATCH_SIZE).astype(np.int32)
    audio, visual = random.normal(size=(2, len(labels), 8, 8, 1)).astype(np.float32)
    audio += labels[:, np.newaxis, np.newaxis, np.newaxis]
    visual[:, :, :4] += 0.3 * labels[:, np.newaxis, np.newaxis, np.newaxis]
    return audio, visual, labels


def batches(num_steps: int, rows: dataset.Rows, seed: int, weighted: bool = False):
    """Returns this worker's rows of every global batch, in batches of one replica."""
    arrays = list(examples(num_steps, seed))
    if weighted:
        # The last global batch is half padding, all of it among the last worker's rows.
        weights = np.ones(len(arrays[0]), np.float32)
        weights[-BATCH_SIZE // 2 :] = 0
        arrays.append(weights)
    share = BATCH_SIZE // rows.num_workers
    own = [
        array.reshape(num_steps, rows.num_workers, share, *array.shape[1:])[:, rows.worker]
        for array in arrays
    ]
    audio, visual, *rest = [array.reshape(-1, *array.shape[2:]) for array in own]
    inputs = {"audio": audio, "visual": visual}
    return tf.data.Dataset.from_tensor_slices((inputs, *rest)).batch(rows.batch_size)


def train(
    strategy: tf.distribute.Strategy,
    batch_norm: bool = False,
    precision: str = "float32",
    validate: bool = False,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> dict[str, np.ndarray]:
    """Trains 20 steps and returns the history's columns and the weights."""
    rows = strategies.input_rows(strategy, BATCH_SIZE)
    with strategy.scope():
        model = build_model(batch_norm, precision)
    training = strategy.distribute_datasets_from_function(
        lambda _: batches(STEPS_PER_EPOCH, rows, seed=1).repeat()
    )
    validation = strategy.distribute_datasets_from_function(
        lambda _: batches(VALIDATION_STEPS, rows, seed=2, weighted=True)
    )
    with strategies.explain_lost_worker(strategy):
        history = model.fit(
            training,
            epochs=EPOCHS,
            steps_per_epoch=STEPS_PER_EPOCH,
            validation_data=validation if validate else None,
            validation_steps=VALIDATION_STEPS if validate else None,
            callbacks=list(callbacks),
            verbose=0,
        ).history
    keras.mixed_precision.set_global_policy("float32")
    weights = {f"weight_{index}": value for index, value in enumerate(model.get_weights())}
    return {**{name: np.array(values) for name, values in history.items()}, **weights}


class Kill(keras.callbacks.Callback):
    """Ends this process as SIGKILL does, in the middle of the others' step."""

    def __init__(self, step: int):
        super().__init__()
        self._step = step

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cases", nargs="+", default=[])
    parser.add_argument("--kill_worker", type=int)
    parser.add_argument("--kill_step", type=int)
    arguments = parser.parse_args()
    strategy = strategies.make_strategy("multi_worker", start_timeout_s=120)
    worker = strategies.input_rows(strategy, BATCH_SIZE).worker
    if arguments.kill_step is not None:
        kill = (Kill(arguments.kill_step),) if worker == arguments.kill_worker else ()
        train(strategy, callbacks=kill)
        return
    numbers = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.range(4 * worker, 4 * worker + 4).batch(4)
    )
    np.savez(
        arguments.folder / f"strategy-{worker}.npz",
        numbers=strategy.experimental_local_results(next(iter(numbers)))[0],
        agreed=[
            strategies.agree(strategy, flag) for flag in (False, worker == 0, worker == 1, True)
        ],
        chiefs=strategies.chiefs(strategy, (2**40 + worker, -1 - worker, worker)),
        chief=strategies.is_chief(strategy),
    )
    for name in arguments.cases:
        np.savez(arguments.folder / f"{name}-{worker}.npz", **train(strategy, **CASES[name]))


if __name__ == "__main__":
    main()
