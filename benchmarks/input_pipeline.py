r"""How fast clips are prepared and read, stage by stage.

  python -m benchmarks.input_pipeline --output_dir=runs/bench_input

Three tables, each of figures from one run, medians and ranges over interleaved repeats:

- reading: CREMA-D's setting (3 s of sound at 22.05 kHz to 257 x 188; one 480 x 360 picture to a
  random crop of 224 x 224), one stage more a row, beside the plain way to write the same: the
  spectrogram by tensorflow-io, the whole picture decoded, then cropped, resized and normalised;
- training: `fit` of a pair of ResNet-18 on records, beside `fit` on the same tensors in memory;
- preparing: 10 s clips of 640 x 360 in H.264 to 10 pictures and mono sound at 16 kHz.

It also writes them as JSON to the output folder.
"""

import dataclasses
import os
import pathlib
import platform
import tempfile
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import ogm_tf
from input_pipelines import clips, dataset, manifest, preparation, records, synthetic
from input_pipelines.index import Index, read_index
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from input_pipelines.sounding_objects import CLASS_NAMES, draw_picture, draw_sound
from launchers.runs import write_json
from launchers.settings import LauncherSettings, launch, positive, setting

CREMA_D = ClipSettings(
    window_s=3.0,
    window="start",
    audio=AudioSettings(sample_rate_hz=22_050, fft_length=512, hop_length=353),
    video=VideoSettings(frames_per_second=0.3, stored_short_side=360, num_frames=1),
)
LONG_CLIPS = ClipSettings(
    window_s=5.0,
    audio=AudioSettings(sample_rate_hz=16_000),
    video=VideoSettings(frames_per_second=1.0, stored_short_side=256),
)
BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class InputPipelineSettings(LauncherSettings):
    """Settings of the benchmark."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of clips, records and tables.")
    num_clips: int = positive(192, "Clips of the reading table; they are read over and over.")
    seconds: float = positive(4.0, "Of each measurement of reading.")
    repeats: int = positive(5, "Measurements of each row.")
    train_steps: int = positive(40, "Steps of each measurement of training; a second or so each.")
    train_batch_size: int = positive(16, "Clips in such a step.")
    num_long_clips: int = positive(40, "Clips of the preparing table.")


def run(settings: InputPipelineSettings) -> None:
    """Measures, prints the tables and writes them."""
    folder = pathlib.Path(settings.output_dir)
    short = _records(folder / "short", settings.num_clips, CREMA_D, 3.0, (360, 480))
    results = {
        "reading, clips/s": _reading(settings, short),
        **_training(settings, short),
        "preparing, clips/s": _preparing(settings, folder / "long"),
    }
    for title, rows in results.items():
        print(f"\n| {title} | median | range | to the first row |\n| --- | --- | --- | --- |")
        first = np.median(next(iter(rows.values())))
        for name, values in rows.items():
            median = np.median(values)
            spread = f"{min(values):.1f} to {max(values):.1f}"
            print(f"| {name} | {median:.1f} | {spread} | {median / first:.2f} |")
    write_json(
        folder / "input_pipeline.json",
        {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
         "machine": platform.machine(), "results": results},
    )  # fmt: skip


def _reading(settings: InputPipelineSettings, records_dir: pathlib.Path) -> dict[str, list[float]]:
    index = read_index(records_dir)
    stages = _stages(records_dir, index)
    rows: dict[str, list[float]] = {name: [] for name in stages}
    # Stages take turns, so that what else the machine does meets all of them.
    for _ in range(settings.repeats):
        for name in stages:
            # Made anew: a waiting dataset would have filled its buffers meanwhile.
            iterator = iter(stages[name]())
            _rate(iterator, 0.5)
            rows[name].append(_rate(iterator, settings.seconds))
    return rows


def _stages(records_dir: pathlib.Path, index: Index) -> dict[str, Callable[[], tf.data.Dataset]]:
    files = [str(records_dir / shard.file) for shard in index.splits["train"].shards]
    load = clips.Loader(index.input_settings, 0, True)

    def read():
        return tf.data.TFRecordDataset(files).repeat().enumerate()

    def mapped(function):
        return lambda: read().map(function, tf.data.AUTOTUNE).batch(BATCH_SIZE, True).prefetch(2)

    def parse(number, serialized):
        return clips.parse(serialized, index.settings).label

    def sound(number, serialized):
        clip = clips.parse(serialized, index.settings)
        return clips.waveform(clip, load.window(clip, number), index.settings)

    def only(modality):
        removed = {"audio": "visual", "visual": "audio"}[modality]
        one = dataclasses.replace(load, removed=removed)
        return lambda number, serialized: one(number, serialized)[0][modality]

    return {
        "plain tf.data": mapped(lambda number, serialized: _plain(serialized, index.settings)),
        "read": lambda: read().batch(BATCH_SIZE, True).prefetch(2),
        "read, parse": mapped(parse),
        "read, parse, decode sound": mapped(sound),
        "read, parse, spectrogram": mapped(only("audio")),
        "read, parse, picture": mapped(only("visual")),
        "all, in batches": mapped(load),
        "train_dataset": lambda: dataset.train_dataset(records_dir, BATCH_SIZE, 0).dataset,
    }


def _plain(serialized: tf.Tensor, settings: ClipSettings) -> tuple[tf.Tensor, tf.Tensor]:
    """The same inputs as a first version would make them."""
    import tensorflow_io as tfio

    context, sequence = tf.io.parse_single_sequence_example(
        serialized, *records.parsed_features(settings.modalities)
    )
    sound = tf.cast(tf.io.decode_raw(context[records.WAVEFORM_PCM16], tf.int16), tf.float32) / 32768
    sound = tf.tile(sound, [3])[: settings.window_samples]
    fft_length, hop_length = settings.audio.fft_length, settings.audio.hop_length
    padded = tf.pad(sound, [[fft_length // 2] * 2], "REFLECT")
    magnitude = tfio.audio.spectrogram(padded, fft_length, fft_length, hop_length)
    frame = tf.cast(tf.image.decode_jpeg(sequence["image/encoded"][0], channels=3), tf.float32)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(frame), tf.zeros([1, 0, 4]), [0, 1], area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )  # fmt: skip
    frame = tf.image.resize(tf.slice(frame, begin, size), (224, 224))
    frame = tf.image.stateless_random_flip_left_right(frame, [0, 1]) / 255.0
    frame = (frame - settings.video.mean) / settings.video.deviation
    steps = settings.shapes["audio"][1]
    return tf.math.log(tf.transpose(magnitude[:steps]) + 1e-7), frame


def _rate(batches: Iterator, seconds: float) -> float:
    """Returns clips per second over whole batches."""
    num_batches, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        num_batches += 1
    return num_batches * BATCH_SIZE / elapsed


def _training(
    settings: InputPipelineSettings, records_dir: pathlib.Path
) -> dict[str, dict[str, list[float]]]:
    batch_size, steps = settings.train_batch_size, settings.train_steps
    data = dataset.train_dataset(records_dir, batch_size, 0)
    shapes = data.index.settings.shapes
    model = ogm_tf.OGMModel(
        encoders={name: ogm_tf.encoders.resnet18(shape, name=name)
                  for name, shape in shapes.items()},
        fusion=ogm_tf.fusion.Concat(num_classes=len(data.index.class_names)),
        modulation=ogm_tf.OGMGE(alpha=0.5),
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(ogm_tf.optimizers.SGD(1e-3, momentum=0.9), loss, ["accuracy"])
    # Whole batches, ready: nothing is left to do but to hand them over.
    ready = list(data.dataset.take(4).as_numpy_iterator())
    stacked = tf.nest.map_structure(lambda *values: np.stack(values), *ready)
    sources = {
        "tensors in memory": tf.data.Dataset.from_tensor_slices(stacked).repeat(),
        "records": data.dataset,
    }
    rates: dict[str, list[float]] = {name: [] for name in sources}
    costs: dict[str, list[float]] = {name: [] for name in sources}
    # Sources take turns. A tenth of the steps of each turn warms up: buffers are filled ahead of
    # the first step, and the figure is of what is made while the model trains.
    warm_up = max(2, steps // 10)
    model.fit(sources["records"], steps_per_epoch=2, verbose=0)
    for _ in range(settings.repeats):
        for name, source in sources.items():
            clock = _StepClock()
            model.fit(source, steps_per_epoch=warm_up + steps, verbose=0, callbacks=[clock])
            elapsed_s, busy_s = clock.ends[-1] - clock.ends[warm_up - 1]
            rates[name].append(steps * batch_size / elapsed_s)
            costs[name].append(1000 * busy_s / (steps * batch_size))
            logging.info("%s: %.2f clips/s", name, rates[name][-1])
    # Training keeps all cores busy, so that what a clip costs them is what it costs the run; on a
    # machine shared with others it spreads less than the rate.
    return {"training, clips/s": rates, "training, CPU ms/clip": costs}


class _StepClock(keras.callbacks.Callback):
    """Notes when every step ends: seconds of the clock, and of all cores' work."""

    def __init__(self):
        super().__init__()
        self.ends: list[np.ndarray] = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(np.array([time.perf_counter(), time.process_time()]))


def _preparing(settings: InputPipelineSettings, folder: pathlib.Path) -> dict[str, list[float]]:
    path = _clips(folder, settings.num_long_clips, 10.0, (360, 640))
    rates = []
    for _ in range(settings.repeats):
        with tempfile.TemporaryDirectory(dir=folder) as output:
            start = time.perf_counter()
            index = preparation.prepare(path, output, LONG_CLIPS, progress=False)
            rates.append(settings.num_long_clips / (time.perf_counter() - start))
            shards = index.splits["train"].shards
    num_bytes = sum(shard.num_bytes for shard in shards) / settings.num_long_clips
    logging.info("%.0f kB a prepared clip.", num_bytes / 1000)
    return {"with the start of the processes": rates}


def _records(
    folder: pathlib.Path, num_clips: int, settings: ClipSettings, duration_s: float, size
) -> pathlib.Path:
    output = folder / "records"
    preparation.prepare(_clips(folder, num_clips, duration_s, size), output, settings)
    return output


def _clips(
    folder: pathlib.Path, num_clips: int, duration_s: float, size: tuple[int, int]
) -> pathlib.Path:
    """Writes clips of sounding objects, once, and returns their manifest."""
    path = folder / "manifest.csv"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    rows = []
    for number in range(num_clips):
        rng = np.random.default_rng(number)
        label = CLASS_NAMES[number % 6]
        frames = _film(label, rng, round(duration_s), height, width)
        sound = draw_sound(
            label, rng, num_samples=round(duration_s * 44_100), sample_rate_hz=44_100,
            signal_to_noise_db=20,
        )  # fmt: skip
        file = folder / f"{number:04d}.mp4"
        synthetic.encode_clip(file, frames, sound, frame_rate=25, sample_rate_hz=44_100)
        rows.append(
            {"clip_id": f"c{number:04d}", "split": "train", "label": label, "path": file.name}
        )
    manifest.write_manifest(path, rows)
    return path


def _film(
    label: str, rng: np.random.Generator, seconds: int, height: int, width: int
) -> np.ndarray:
    """Returns 25 pictures a second of an object that moves before a camera that pans."""
    small = draw_picture(
        label, rng, num_frames=seconds, frame_rate=1, frame_size=width // 2, clutter=0.7
    )
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    # A little of a camera's noise, or the files would be smaller than any film's.
    large = np.clip(large + rng.integers(-4, 5, large.shape, np.int16), 0, 255).astype(np.uint8)
    return np.concatenate(
        [
            np.roll(picture, shift, axis=1)[np.newaxis, (width - height) // 2 :][:, :height]
            for picture in large
            for shift in range(25)
        ]
    )


if __name__ == "__main__":
    launch(InputPipelineSettings, run)
