r"""What a training step of event localisation costs, and whether features are read as fast.

  python -m benchmarks.localization_step --output_dir=runs/bench_localization_step

Full-size AGVA and PSP, on batches of 64 videos of AVE's sizes (ten segments of 128 numbers and of
maps of 7 x 7 x 512), in milliseconds a video: a step of plain Keras and one with OGM-GE, on a batch
in memory; the latter on batches from a features folder on the disk, and from the same features in
files as AVE's are published, which are of float64 and twice as large; and the reading of either
alone. All take turns of a few steps, so that what else the machine does meets all of them. Before
each turn the files leave the system's memory. It prints a table and writes it as JSON.
"""

import dataclasses
import mmap
import os
import pathlib
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping

import h5py
import keras
import numpy as np
import tensorflow as tf
from absl import logging

import ogm_tf
from input_pipelines import ave_features, feature_folder, synthetic_features
from input_pipelines.feature_sequences import FeatureSequences, train_dataset
from launchers.localizing import MODELS
from launchers.runs import write_json
from launchers.settings import LauncherSettings, launch, positive, setting
from ogm_tf.localization import EventModel, agva, dmrn, losses, psp

NETWORKS = {"agva": agva, "dmrn": dmrn, "psp": psp}
NUM_CLASSES = 29
METHODS = ("plain", "OGM-GE")
# Where features are read from.
FOLDER, AVE_FILES = "disk", "AVE's files"
READING = "reading alone, from"
# What the pipeline reads ahead must not have been read while others had their turns.
BATCHES_AHEAD = 3


@dataclasses.dataclass(frozen=True)
class LocalizationStepSettings(LauncherSettings):
    """Settings of the benchmark."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of the features and the table.")
    models: tuple[str, ...] = setting(
        ("agva", "psp"), "Networks, with commas.",
        rule=f"among {', '.join(MODELS)}",
        holds=lambda value: value and set(value) <= set(MODELS),
    )  # fmt: skip
    size: str = setting("full", "Of the networks and the features.", choices=("full", "small"))
    batch_size: int = positive(64, "Videos in a step.")
    steps: int = positive(3, "Steps of a turn.")
    rounds: int = positive(10, "Turns that each has.")


def run(settings: LocalizationStepSettings) -> None:
    """Measures, prints the table and writes it."""
    folder = pathlib.Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    features_dir = folder / f"features_{settings.size}_{settings.batch_size}_{settings.steps}"
    _write_features(settings, features_dir)
    ave_dir = features_dir.with_name(f"ave_{features_dir.name}")
    _write_ave_files(feature_folder.open_folder(features_dir), ave_dir)
    sources = {
        FOLDER: feature_folder.open_folder(features_dir),
        AVE_FILES: ave_features.open_features(ave_dir),
    }
    load = [os.getloadavg()[0]]
    times, bytes_read = _measure(settings, sources)
    load.append(os.getloadavg()[0])
    write_json(
        folder / "localization_step.json",
        {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
         "machine": platform.machine(), "load before and after": load,
         "bytes of a video": {name: _bytes_of_a_video(own) for name, own in sources.items()},
         "bytes read from the disk for a video": bytes_read, "ms a video": times},
    )  # fmt: skip
    print(table(times))


def table(times: dict[str, list[float]]) -> str:
    """Returns Markdown: the median, the range, and round by round the ratio to plain Keras."""
    lines = ["| | ms a video | range | to plain |", "| --- | --- | --- | --- |"]
    for title, values in times.items():
        plain = times.get(f"{title.split(', ')[0]}, plain")
        ratio = "" if plain is None else f"{np.median(np.divide(values, plain)):.3f}"
        lines.append(
            f"| {title} | {np.median(values):.2f} | {min(values):.2f} to {max(values):.2f} "
            f"| {ratio} |"
        )
    return "\n".join(lines)


def _measure(
    settings: LocalizationStepSettings, sources: Mapping[str, FeatureSequences]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Returns the milliseconds a video of every turn, and how much each source's readings were."""
    from_disk = _batches(settings, sources[FOLDER])
    in_memory = iter(tf.data.Dataset.from_tensors(next(from_disk)).repeat())
    turns = {
        f"{name}, {method}": _step(_model(settings, name, method))
        for name in settings.models
        for method in METHODS
    }
    # Not before all are made: the seed of the next one's weights takes what has been prepared.
    for step in turns.values():
        for batches in (in_memory, in_memory, from_disk):
            step(batches)
    reading: dict[str, tuple[str, Callable[[Iterator], object]]] = {}
    for source in sources:
        for name in settings.models:
            own = f"{name}, {METHODS[1]}"
            reading[f"{own}, from {source}"] = source, turns[own]
        reading[f"{READING} {source}"] = source, next
    times: dict[str, list[float]] = {title: [] for title in [*turns, *reading]}
    bytes_read: dict[str, list[float]] = {source: [] for source in sources}
    for number in range(settings.rounds):
        # The first of a round meets other caches than the last: they take turns at that, too.
        for title in map(str, np.roll(list(times), number)):
            if title in turns:
                seconds = _timed(turns[title], in_memory, settings.steps)
            else:
                source, step = reading[title]
                batches = _batches(settings, sources[source])
                before = _bytes_read()
                for _ in range(BATCHES_AHEAD):
                    next(batches)
                seconds = _timed(step, batches, settings.steps)
                if step is next:
                    num_videos = (BATCHES_AHEAD + settings.steps) * settings.batch_size
                    bytes_read[source].append((_bytes_read() - before) / num_videos)
                del batches
            times[title].append(1000 * seconds / settings.steps / settings.batch_size)
        logging.info("%s", {title: f"{own[-1]:.2f} ms" for title, own in times.items()})
    return times, bytes_read


def _timed(step: Callable[[Iterator], object], batches: Iterator, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step(batches)
    return time.perf_counter() - start


class _Plain(keras.Model):
    """A network with Keras' own training step, which asks nothing of each modality."""

    def __init__(self, network: EventModel):
        super().__init__()
        self.network = network

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return self.network.compute_loss(x, y, y_pred, sample_weight)


def _model(settings: LocalizationStepSettings, name: str, method: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    policy = ogm_tf.OGMGE(0.3) if method == "OGM-GE" else None
    model = NETWORKS[name].build(settings.size, num_classes=NUM_CLASSES, modulation=policy)
    arguments = {"loss": losses.CrossEntropy(), "metrics": ["accuracy"]}
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), **arguments)
    if method == "plain":
        # Its loss is the network's own, which must therefore have been compiled, too.
        model = _Plain(model)
        model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), **arguments)
    return model


def _step(model: keras.Model) -> Callable[[Iterator], np.ndarray]:
    """Returns what does one step of `fit`, and waits for it."""
    train = model.make_train_function()
    return lambda batches: train(batches)["accuracy"].numpy()


def _write_features(settings: LocalizationStepSettings, features_dir: pathlib.Path) -> None:
    """Writes as many videos as a turn reads, so that it reads none twice."""
    sizes = agva.PRESETS[settings.size]
    wanted = synthetic_features.SequenceSettings(
        num_classes=NUM_CLASSES - 1,
        train_videos=max((BATCHES_AHEAD + settings.steps) * settings.batch_size, NUM_CLASSES - 1),
        validation_videos=NUM_CLASSES - 1,
        test_videos=NUM_CLASSES - 1,
        background_videos=0,
        audio_size=sizes["audio_shape"][-1],
        visual_shape=sizes["visual_shape"][1:],
    )
    features = synthetic_features.make(wanted)
    feature_folder.write_features(
        features_dir,
        feature_folder.videos_of(features),
        class_names=features.class_names,
        segment_s=1.0,
        settings=dataclasses.asdict(wanted),
    )


def _write_ave_files(features: FeatureSequences, ave_dir: pathlib.Path) -> None:
    """Writes features as AVE's are published: whole or not at all."""
    if ave_dir.is_dir():
        return
    partial = ave_dir.with_name(f".{ave_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, file_name in ave_features.FEATURES.items():
        array = features.arrays[name]
        with h5py.File(partial / file_name, "w") as file:
            stored = file.create_dataset(ave_features.FEATURE_KEY, array.shape, "f8")
            for row in range(len(array)):
                stored[row] = array[row]
    for split, file_name in ave_features.ORDERS.items():
        with h5py.File(partial / file_name, "w") as file:
            file[ave_features.ORDER_KEY] = features.splits[split]
    (partial / ave_features.ANNOTATIONS).write_text(
        "".join(_line(features, row) for row in range(len(features.labels)))
    )
    os.rename(partial, ave_dir)


def _line(features: FeatureSequences, row: int) -> str:
    """Returns the line of Annotations.txt of a video, which has an event."""
    (segments,) = np.nonzero(features.labels[row] != features.background)
    category = features.class_names[features.labels[row, segments[0]]]
    return f"{category}&{features.video_ids[row]}&good&{segments[0]}&{segments[-1] + 1}\n"


def _batches(settings: LocalizationStepSettings, features: FeatureSequences) -> Iterator:
    """Returns batches of features that are on the disk alone."""
    for array in features.arrays.values():
        if isinstance(array, np.memmap):
            # The system keeps what some process has mapped.
            array.base.madvise(mmap.MADV_DONTNEED)
            path = array.filename
        else:
            path = array.file.filename
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return iter(train_dataset(features, settings.batch_size, seed=0).dataset)


def _bytes_of_a_video(features: FeatureSequences) -> int:
    return sum(array[0].nbytes for array in features.arrays.values())


def _bytes_read() -> int:
    """Returns what this process has had read from the disk."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


if __name__ == "__main__":
    launch(LocalizationStepSettings, run)
