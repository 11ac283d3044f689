"""On which devices a run trains, and what becomes of it when one of its workers is lost."""

import contextlib
import faulthandler
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from input_pipelines import dataset
from launchers.cluster import Cluster
from launchers.training import STRATEGIES

# TensorFlow's own part of the start; a worker lost in it would keep the others for ever.
_START_OF_TENSORFLOW_S = 120
# A worker that lives and yet never comes to the others' step would keep them for ever as well. What
# one worker does alone, such as writing a checkpoint, must take less.
_LONGEST_STEP_S = 1800


def make_strategy(
    kind: str,
    num_logical_devices: int | None = None,
    settings: Mapping[str, Any] | None = None,
    start_timeout_s: float = 600.0,
) -> tf.distribute.Strategy:
    """Returns the strategy of a run; to be called before TensorFlow touches a device.

    With "multi_worker" it returns once all workers are up, so a handler of SIGTERM is better
    installed afterwards. A process has one such strategy: a second call returns the same.

    Args:
      kind: "default": one device. "mirrored": all GPUs of this machine, or its CPU.
        "multi_worker": all GPUs, or the CPU, of every worker that TF_CONFIG names.
      num_logical_devices: With "mirrored", the CPU as so many devices, >= 1, to try things out;
        None: what is there.
      settings: With "multi_worker", what must be equal on all workers, of values that JSON holds.
      start_timeout_s: With "multi_worker", seconds after which absent workers are given up.

    Raises:
      ValueError: where an argument is out of range, TF_CONFIG is missing or wrong, or the workers'
        settings or numbers of GPUs differ.
      RuntimeError: where a worker did not come, or a device is in use already.
      OSError: where this worker's port is taken.
    """
    if kind not in STRATEGIES:
        raise ValueError(
            f"--strategy must be one of {', '.join(STRATEGIES)}. Received: strategy={kind!r}."
        )
    if num_logical_devices is not None:
        if kind != "mirrored" or num_logical_devices < 1:
            raise ValueError(
                "--logical_devices must be >= 1 and needs --strategy=mirrored. Received: "
                f"logical_devices={num_logical_devices}, strategy={kind!r}."
            )
        return _logical_cpus(num_logical_devices)
    if kind == "mirrored":
        gpus = [f"GPU:{index}" for index in range(len(tf.config.list_physical_devices("GPU")))]
        return tf.distribute.MirroredStrategy(gpus) if gpus else _logical_cpus(1)
    if kind == "multi_worker":
        return _multi_worker(Cluster.from_environment(), settings or {}, start_timeout_s)
    return tf.distribute.get_strategy()


def _logical_cpus(count: int) -> tf.distribute.Strategy:
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu)
    if len(configured or [None]) < count:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError as error:
            raise RuntimeError(
                "The CPU must be divided before TensorFlow uses it. Received: "
                f"logical_devices={count} in a process that has used it."
            ) from error
    # The collectives that TensorFlow chooses for CPUs can abort in a process's second strategy.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(count)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


# TensorFlow joins a cluster once in a process.
_joined: dict[Cluster, tf.distribute.Strategy] = {}


def _multi_worker(
    cluster: Cluster, settings: Mapping[str, Any], start_timeout_s: float
) -> tf.distribute.Strategy:
    if cluster in _joined:
        return _joined[cluster]
    # It tells of every exchange between workers.
    tf.get_logger().setLevel("WARNING")
    # TensorFlow leaves the outcome open where these differ.
    num_gpus = len(tf.config.list_physical_devices("GPU"))
    cluster.meet({"number of GPUs": num_gpus, **settings}, start_timeout_s)
    logging.info(
        "All %d workers are up; this is %s. TensorFlow joins them within %d s, or ends here.",
        len(cluster.addresses),
        cluster.name(cluster.index),
        _START_OF_TENSORFLOW_S,
    )
    # TensorFlow holds Python's lock while it waits, so that no thread of Python could end it.
    faulthandler.dump_traceback_later(_START_OF_TENSORFLOW_S, exit=True)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                timeout_seconds=_LONGEST_STEP_S
            )
        )
    finally:
        faulthandler.cancel_dump_traceback_later()
    return _joined.setdefault(cluster, strategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes files.

    Reading is for all: a value that replicas keep by themselves, such as a metric's or the moving
    mean of a BatchNormalization, is collected from all workers, and whoever reads it alone waits
    for the others. So every worker calls `model.get_weights()` or a checkpoint's `read`, and the
    chief alone writes what it got.

    Args:
      strategy: Of `make_strategy`.
    """
    return _place(strategy)[0] == 0


def input_rows(strategy: tf.distribute.Strategy, batch_size: int) -> dataset.Rows:
    """Returns which rows of a global batch this process reads, and in batches of how many.

    Example:

    ```python
    rows = strategies.input_rows(strategy, settings.batch_size)
    training = strategy.distribute_datasets_from_function(
        lambda context: dataset.train_dataset(..., rows=rows).dataset
    )
    validation = strategy.distribute_datasets_from_function(
        lambda context: dataset.eval_dataset(..., rows=rows).dataset
    )
    model.fit(training, steps_per_epoch=..., validation_data=validation, validation_steps=...)
    ```

    Replica r of a strategy of R gets rows [r * B / R, (r + 1) * B / R) of every global batch B.

    Args:
      strategy: Of `make_strategy`.
      batch_size: Clips a global batch, a multiple of the number of replicas.

    Raises:
      ValueError: where it is none.
    """
    num_replicas = strategy.num_replicas_in_sync
    if batch_size % num_replicas:
        raise ValueError(
            f"--batch_size must be a multiple of the {num_replicas} devices of all workers. "
            f"Received: batch_size={batch_size}."
        )
    return dataset.Rows(*_place(strategy), batch_size // num_replicas)


def agree(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Returns whether any worker's flag is set; every worker calls it at the same steps.

    So all of them stop after the same step: `should_stop=lambda: agree(strategy, stop())`. It costs
    about 2 ms with two workers on one machine.

    Args:
      strategy: Of `make_strategy`; with one worker nothing is sent.
      flag: Of this worker.
    """
    if _place(strategy)[1] == 1:
        return bool(flag)
    with strategy.scope():
        return bool(_sum_over_workers(tf.constant(float(flag))) > 0)


def chiefs(strategy: tf.distribute.Strategy, numbers: Sequence[float]) -> tuple[float, ...]:
    """Returns the chief's numbers; every worker calls it at the same steps, with as many.

    Args:
      strategy: Of `make_strategy`; with one worker nothing is sent.
      numbers: Of this worker; the chief's arrive exactly, in double precision.
    """
    worker, num_workers = _place(strategy)
    if num_workers == 1:
        return tuple(numbers)
    with strategy.scope():
        *total, times = _sum_over_workers(
            tf.constant([*numbers, 1.0], tf.float64) * float(worker == 0)
        ).numpy()
        return tuple(float(number / times) for number in total)


@tf.function
def _sum_over_workers(value: tf.Tensor) -> tf.Tensor:
    return tf.distribute.get_strategy().reduce(tf.distribute.ReduceOp.SUM, value, axis=None)


@contextlib.contextmanager
def explain_lost_worker(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns what TensorFlow raises where another worker is gone into one sentence.

    ```python
    with strategies.explain_lost_worker(strategy):
        model.fit(...)
    ```

    TensorFlow sees a process that ended within a second, and a stopped one or a broken network by
    missing heartbeats after 10 to 40 s, wherever this worker waits for the others. A worker that
    works by itself for up to half an hour is not taken for lost.

    Raises:
      RuntimeError: in place of the error; whatever has another cause passes.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        cluster = _cluster(strategy)
        # While a checkpoint is written, as the cause of its not being written.
        message = f"{error} {error.__cause__}"
        if cluster is None or not _LOST.search(message):
            raise
        raise RuntimeError(
            f"{_lost_worker(cluster, message)} was lost; start all workers again with the "
            "same command: the run goes on from its last checkpoint."
        ) from error


_LOST = re.compile(
    "Collective ops is aborted|Collective has timed out|CoordinationService|WorkerService|heartbeat"
)
_TASK = re.compile(r"/job:(chief|worker)/(?:replica:0/)?task:(\d+)")


def _lost_worker(cluster: Cluster, message: str) -> str:
    """Returns the name of the other worker that an error of TensorFlow's is about."""
    for job, task in _TASK.findall(message):
        index = int(task) + (job == "worker") * cluster.num_chiefs
        if index != cluster.index:
            return f"W{cluster.name(index)[1:]}"
    return "Another worker"


def _cluster(strategy: tf.distribute.Strategy) -> Cluster | None:
    return next((key for key, joined in _joined.items() if joined is strategy), None)


def _place(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns this process's index among the workers, and their number."""
    cluster = _cluster(strategy)
    return (cluster.index, len(cluster.addresses)) if cluster else (0, 1)
