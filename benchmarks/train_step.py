r"""What balancing costs a training step: plain Keras, OGM and OGM-GE side by side.

  python -m benchmarks.train_step --output_dir=runs/bench_train_step

A pair of ResNet-18 at CREMA-D's setting (spectrograms of 257 x 188 and one frame of 224 x 224)
takes one step of each method in turn, so that what else the machine does meets all of them. Also
measured: the multiplication of large matrices, which is the most the machine could do, and the peak
of memory of each method, in a process of its own. It prints a table and writes it as JSON.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import platform
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import ogm_tf
from benchmarks import memory
from launchers.runs import write_json
from launchers.settings import LauncherSettings, launch, positive, setting

SHAPES = {"audio": (257, 188, 1), "visual": (1, 224, 224, 3)}
NUM_CLASSES = 6
METHODS = ("plain keras.Model", "OGM", "OGM-GE")
WARM_UP_STEPS = 2


@dataclasses.dataclass(frozen=True)
class TrainStepSettings(LauncherSettings):
    """Settings of the benchmark."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of the tables.")
    batch_size: int = positive(64, "Samples in a step.")
    steps: int = positive(10, "Measured steps of each method.")
    precisions: tuple[str, ...] = setting(
        ("float32", "mixed_bfloat16"), "Of the computation, with commas."
    )


def run(settings: TrainStepSettings) -> None:
    """Measures, prints the tables and writes them."""
    folder = pathlib.Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for precision in settings.precisions:
        # A process of its own: what one measurement leaves in memory must not count for another.
        memory = {method: _alone(_peak_memory, settings, precision, method) for method in METHODS}
        times, peak = _alone(_step_times, settings, precision)
        results[precision] = {
            "step, s": times,
            "peak memory, MiB": memory,
            "matrix multiplication, GFLOP/s": peak,
        }
        _print_table(settings, precision, times, memory, float(np.median(peak)))
    write_json(
        folder / "train_step.json",
        {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
         "machine": platform.machine(), "results": results},
    )  # fmt: skip


def _alone(function, *arguments):
    """Returns what a function returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _print_table(settings, precision, times, memory, peak_gflops) -> None:
    plain = np.array(times[METHODS[0]])
    print(f"\n| {precision} | samples/s | step, s (range) | to plain | of peak | memory, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for method in METHODS:
        values = np.array(times[method])
        step = np.median(values)
        # Step by step: a slow minute of the machine is in both.
        ratio = np.median(values / plain)
        share = _flops_per_sample() * settings.batch_size / step / 1e9 / peak_gflops
        print(
            f"| {method} | {settings.batch_size / step:.2f} | {step:.2f} "
            f"({values.min():.2f} to {values.max():.2f}) | {ratio:.3f} | {share:.0%} | "
            f"{memory[method]:.0f} |"
        )


def _step_times(
    settings: TrainStepSettings, precision: str
) -> tuple[dict[str, list[float]], list[float]]:
    """Returns the seconds of every step of each method, and the machine's GFLOP/s."""
    keras.mixed_precision.set_global_policy(precision)
    batch = _batch(settings.batch_size)
    steps = {method: _step(_model(method), batch) for method in METHODS}
    for step in steps.values():
        for _ in range(WARM_UP_STEPS):
            step()
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    peak = []
    for number in range(settings.steps):
        # The first of a round meets other caches than the last: they take turns at that, too.
        for method in np.roll(METHODS, number):
            start = time.perf_counter()
            steps[method]()
            times[str(method)].append(time.perf_counter() - start)
        peak.append(_matrix_gflops("float32" if precision == "float32" else precision[6:]))
        logging.info("%s: %s", precision, {name: f"{v[-1]:.2f} s" for name, v in times.items()})
    return times, peak


def _peak_memory(settings: TrainStepSettings, precision: str, method: str) -> float:
    """Returns the most memory that a process with a method took, MiB."""
    keras.mixed_precision.set_global_policy(precision)
    batch = _batch(settings.batch_size)
    step = _step(_model(method), batch)
    for _ in range(WARM_UP_STEPS):
        step()
    return memory.peak_mib()


def _model(method: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    encoders = {n: ogm_tf.encoders.resnet18(shape, name=n) for n, shape in SHAPES.items()}
    fusion = ogm_tf.fusion.Concat(num_classes=NUM_CLASSES)
    if method == "plain keras.Model":
        inputs = {name: keras.Input(shape) for name, shape in SHAPES.items()}
        features = [encoders[name](inputs[name]) for name in SHAPES]
        model = keras.Model(inputs, fusion(features)[0])
    else:
        policy = ogm_tf.OGM(0.8) if method == "OGM" else ogm_tf.OGMGE(0.8)
        model = ogm_tf.OGMModel(encoders, fusion, policy)
    model.compile(
        ogm_tf.optimizers.SGD(1e-3, momentum=0.9, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ["accuracy"],
    )
    return model


def _step(
    model: keras.Model, batch: tuple[dict[str, tf.Tensor], tf.Tensor]
) -> Callable[[], np.ndarray]:
    """Returns what does one step of `fit`, and waits for it.

    Not `train_on_batch`, which makes and ends a tf.data pipeline for every step: ending one can
    take until its tuning thread wakes, 10 s after the start.
    """
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    train = model.make_train_function()
    return lambda: train(iterator)["loss"].numpy()


def _batch(size: int) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    inputs = {
        name: tf.random.stateless_normal((size, *shape), [0, 1]) for name, shape in SHAPES.items()
    }
    return inputs, tf.random.stateless_uniform([size], [0, 2], 0, NUM_CLASSES, tf.int32)


def _matrix_gflops(dtype: str, size: int = 2048, repeats: int = 3) -> float:
    left = tf.cast(tf.random.stateless_normal([size, size], [0, 3]), dtype)
    start = time.perf_counter()
    for _ in range(repeats):
        product = tf.matmul(left, left)
    product.numpy()
    return repeats * 2 * size**3 / (time.perf_counter() - start) / 1e9


def _flops_per_sample() -> float:
    """Returns the multiplications and additions of all convolutions in one sample's step.

    A training step does each of them three times: forward, and for the gradients of the kernel and
    of the input, which the first layer does not need.
    """
    total = 0
    for shape in SHAPES.values():
        for layer in ogm_tf.encoders.resnet18(shape[-3:]).layers:
            if isinstance(layer, keras.layers.Conv2D):
                height, width = layer.output_shape[1:3]
                times = 2 if layer.name == "stem_conv" else 3
                total += times * 2 * height * width * int(np.prod(layer.kernel.shape))
    return total


if __name__ == "__main__":
    launch(TrainStepSettings, run)
