r"""What more devices cost: the same global batch on 1, 2, 4 and 8 replicas, and what to expect.

  python -m benchmarks.scaling --output_dir=runs/bench_scaling

The replicas are logical devices of this machine's CPU, each number of them in a process of its own:
they share the cores, so a step cannot get faster, and what it gets slower is the price of dividing
and of reducing. The table shows that the weights stay equal, and the bytes and calls of each
reduction; the prediction says, by formulas that it prints, how efficient 8 devices of one machine
and 64 workers would be, each as fast as what was measured and with a batch of its own. It prints
everything and writes it as JSON.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import platform
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

import ogm_tf
from launchers.runs import write_json
from launchers.settings import LauncherSettings, launch, positive, setting

SHAPES = {"audio": (128, 128, 1), "visual": (128, 128, 3)}
NUM_CLASSES = 6
CLUSTERS = (("8 devices of one machine", 8, "device_link_gb_s"), ("64 workers", 64, "network_gb_s"))
FORMULAS = """
bytes of one reduction by a ring, a replica:  2 * (N - 1) / N * bytes
seconds of it:                                2 * (N - 1) * latency + bytes of it / bandwidth
seconds of a step on N replicas:              compute + reduction of gradients + of scores
efficiency:                                   compute / seconds of a step
"""


@dataclasses.dataclass(frozen=True)
class ScalingSettings(LauncherSettings):
    """Settings of the benchmark."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of the tables.")
    replicas: tuple[int, ...] = setting(
        (1, 2, 4, 8), "Numbers of logical devices, with commas; the first is compared with."
    )
    batch_size: int = positive(64, "Samples in a step, over all replicas.")
    steps: int = positive(10, "Measured steps of each number.")
    width: int = positive(32, "Channels of the first of an encoder's four convolutions.")
    resnet_step_s: float | None = positive(
        None, "Prediction: seconds of a step of the ResNet-18 pair on one device, as train_step.py "
        "measures; by default only the network measured here is predicted.",
    )  # fmt: skip
    device_link_gb_s: float = positive(
        25.0, "Prediction: bandwidth between the devices of a machine, GB/s; 25 is PCIe 4."
    )
    network_gb_s: float = positive(
        1.25, "Prediction: bandwidth between machines, GB/s; 1.25 is Ethernet of 10 Gbit/s."
    )
    latency_s: float = positive(20e-6, "Prediction: of one message.")


def run(settings: ScalingSettings) -> None:
    """Measures, prints the tables and writes them."""
    folder = pathlib.Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    measured = {}
    for replicas in settings.replicas:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured[replicas] = pool.apply(_measure, (settings, replicas))
    first = measured[settings.replicas[0]]
    print(
        f"\n| replicas | step, s (range) | to {settings.replicas[0]} | largest difference of "
        "weights | reductions | of gradients, bytes (s) | of scores, bytes (s) | others, bytes |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = {}
    for replicas, result in measured.items():
        step = np.array(result["step_s"])
        difference = max(
            float(np.abs(ours - theirs).max())
            for ours, theirs in zip(result["weights"], first["weights"], strict=True)
        )
        sizes = result["reductions_bytes"]
        gradients, scores = (
            size if size in sizes and replicas > 1 else 0
            for size in (result["gradient_bytes"], 4 * (len(SHAPES) + 1))
        )
        rows[replicas] = {name: value for name, value in result.items() if name != "weights"}
        rows[replicas]["largest_difference"] = difference
        print(
            f"| {replicas} | {np.median(step):.2f} ({step.min():.2f} to {step.max():.2f}) | "
            f"{np.median(step) / np.median(first['step_s']):.2f} | {difference:.1e} | "
            f"{len(sizes)} | {gradients:,} ({result['gradients_s']:.4f}) | "
            f"{scores} ({result['scores_s']:.4f}) | {sum(sizes) - gradients - scores:,} |"
        )
    predicted = _predict(settings, float(np.median(first["step_s"])), first["gradient_bytes"])
    write_json(
        folder / "scaling.json",
        {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
         "machine": platform.machine(), "measured": rows, "predicted": predicted},
    )  # fmt: skip


def _measure(settings: ScalingSettings, replicas: int) -> dict:
    """Returns step times, weights and what is reduced, on a number of logical devices."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
    )
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = ogm_tf.OGMModel(
            {name: _encoder(shape, settings.width, name) for name, shape in SHAPES.items()},
            ogm_tf.fusion.Concat(num_classes=NUM_CLASSES),
            ogm_tf.OGMGE(0.8),
        )  # fmt: skip
        model.compile(
            ogm_tf.optimizers.SGD(1e-3, momentum=0.9, weight_decay=1e-4),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            ["accuracy"],
        )
    batch = (
        {
            name: tf.random.stateless_normal((settings.batch_size, *shape), [0, 1])
            for name, shape in SHAPES.items()
        },
        tf.random.stateless_uniform([settings.batch_size], [0, 2], 0, NUM_CLASSES, tf.int32),
    )
    data = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(data, steps_per_epoch=2, verbose=0)
    with _counted_reductions() as reductions:
        # The first trace, which makes the optimiser's variables, is done twice.
        iterator = iter(strategy.experimental_distribute_dataset(data))
        model.make_train_function(force=True).get_concrete_function(iterator)
    clock = _Clock()
    model.fit(data, steps_per_epoch=settings.steps + 1, verbose=0, callbacks=[clock])
    gradients = [tf.ones(variable.shape) for variable in model.trainable_variables]
    scores = [tf.ones([len(SHAPES) + 1])]
    return {
        "step_s": np.diff(clock.ends).tolist(),
        "weights": model.get_weights(),
        # Every replica asks for the same sums.
        "reductions_bytes": reductions[::replicas],
        "gradient_bytes": 4 * sum(int(tf.size(value)) for value in gradients),
        "gradients_s": _reduction_s(strategy, gradients),
        "scores_s": _reduction_s(strategy, scores),
    }


def _encoder(shape: tuple[int, ...], width: int, name: str) -> keras.Model:
    """Returns convolutions without batch normalisation, which would tell replicas apart."""
    layers = [keras.layers.Input(shape)]
    for stage in range(4):
        layers.append(
            keras.layers.Conv2D(width * 2**stage, 3, 2, padding="same", activation="relu")
        )
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()], name=name)


@contextlib.contextmanager
def _counted_reductions() -> Iterator[list[int]]:
    """Gives the bytes of every sum over replicas in the step that is traced meanwhile."""
    original = tf.distribute.ReplicaContext.all_reduce
    sizes: list[int] = []

    def all_reduce(self, reduce_op, value, options=None):
        parts = tf.nest.flatten(value)
        sizes.append(
            sum(part.dtype.size * tf.TensorShape(part.shape).num_elements() for part in parts)
        )
        return original(self, reduce_op, value, options)

    tf.distribute.ReplicaContext.all_reduce = all_reduce
    try:
        yield sizes
    finally:
        tf.distribute.ReplicaContext.all_reduce = original


class _Clock(keras.callbacks.Callback):
    """Notes when every step ends."""

    def __init__(self):
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())


def _reduction_s(strategy: tf.distribute.Strategy, values: list[tf.Tensor]) -> float:
    """Returns the median seconds of one sum of a list over the replicas."""

    @tf.function
    def reduce():
        def on_replica():
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        return strategy.experimental_local_results(strategy.run(on_replica))[0]

    times = []
    for _ in range(12):
        start = time.perf_counter()
        reduce()[0].numpy()
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def _predict(
    settings: ScalingSettings, step_s: float, gradient_bytes: int
) -> dict[str, dict[str, float]]:
    """Prints and returns the efficiency of clusters, each device with a batch of its own."""
    networks = {"the network above": (step_s, gradient_bytes)}
    if settings.resnet_step_s is not None:
        shapes = ((257, 188, 1), (224, 224, 3))
        count = sum(ogm_tf.encoders.resnet18(shape).count_params() for shape in shapes)
        networks["ResNet-18 pair"] = (settings.resnet_step_s, 4 * count)
    score_bytes = 4 * (len(SHAPES) + 1)
    print(f"{FORMULAS}\n| network | devices | compute, s | gradients, s | scores, s | efficiency | "
          "without scores |\n| --- | --- | --- | --- | --- | --- | --- |")  # fmt: skip
    results = {}
    for network, (compute, num_bytes) in networks.items():
        for cluster, replicas, link in CLUSTERS:
            bandwidth = getattr(settings, link) * 1e9
            gradients, scores = (
                2 * (replicas - 1) * settings.latency_s
                + 2 * (replicas - 1) / replicas * size / bandwidth
                for size in (num_bytes, score_bytes)
            )
            result = {
                "compute_s": compute,
                "gradients_s": gradients,
                "scores_s": scores,
                "efficiency": compute / (compute + gradients + scores),
                "efficiency_without_scores": compute / (compute + gradients),
            }
            print(
                f"| {network} | {cluster}, {bandwidth / 1e9:g} GB/s | {compute:.2f} | "
                f"{gradients:.4f} | {scores:.4f} | {result['efficiency']:.1%} | "
                f"{result['efficiency_without_scores']:.1%} |"
            )
            results[f"{network}, {cluster}"] = result
    return results


if __name__ == "__main__":
    launch(ScalingSettings, run)
