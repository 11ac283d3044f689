r"""How fast the SavedModel answers: each signature beside `model.predict` and the model itself.

  python -m benchmarks.serving --output_dir=runs/bench_serving

A pair of ResNet-18 at CREMA-D's setting (3 s of sound at 22,050 Hz and one frame) is exported and
loaded again, and asked about batches of equal clips, each way in turn, so that what else the
machine does meets all of them; there is no network between. It prints a table of the latency's 50th
and 99th percentile and the throughput, and writes it, with every call's time, as JSON. On two cores
the 100 calls of 32 clips take the most time, about half an hour.
"""

import dataclasses
import os
import pathlib
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import ogm_tf
from input_pipelines import audio, video
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from launchers.runs import write_json
from launchers.settings import LauncherSettings, launch, positive, setting

CLIP = ClipSettings(
    audio=AudioSettings(sample_rate_hz=22_050, fft_length=512, hop_length=353),
    video=VideoSettings(num_frames=1),
)
STORED_SIZE = (256, 340)
NUM_CLASSES = 6
# Of fewer, the 99th percentile is little else than the slowest.
MIN_CALLS_OF_P99 = 100


@dataclasses.dataclass(frozen=True)
class ServingSettings(LauncherSettings):
    """Settings of the benchmark."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of the table.")
    batch_sizes: tuple[int, ...] = setting((1, 32), "Clips in a call, with commas.")
    seconds: float = positive(60.0, "How long each batch size is measured at least, over all ways.")
    min_calls: int = positive(
        MIN_CALLS_OF_P99,
        "Calls of each way at least; fewer than 100 have no 99th percentile.",
    )


def run(settings: ServingSettings) -> None:
    """Measures, prints the table and writes it."""
    folder = pathlib.Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    model = _model()
    signatures = _exported(model, folder / "saved_model")
    print("| clips a call | asked | calls | p50, ms | p99, ms | clips/s |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    results = {}
    for batch_size in settings.batch_sizes:
        times = measure(_ways(model, signatures, batch_size), settings.seconds, settings.min_calls)
        results[str(batch_size)] = {name: summary(t, batch_size) for name, t in times.items()}
        for name, found in results[str(batch_size)].items():
            print(row(name, batch_size, found), flush=True)
        write_json(
            folder / "serving.json",
            {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
             "machine": platform.machine(), "results": results},
        )  # fmt: skip


def measure(
    ways: dict[str, Callable[[], object]], seconds: float, min_calls: int = 1
) -> dict[str, list[float]]:
    """Returns the seconds of every call of each way.

    Args:
      ways: By name, what makes one call.
      seconds: Whole rounds, of a call of each, go on as long as one begins in this time.
      min_calls: Rounds at least, however long they take.
    """
    for call in ways.values():
        # The first call makes plans and reads weights.
        call()
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    number = 0
    while number < min_calls or time.perf_counter() < end:
        # The first of a round meets other caches than the last: they take turns at that, too.
        for name in np.roll(list(ways), number):
            start = time.perf_counter()
            ways[name]()
            times[str(name)].append(time.perf_counter() - start)
        number += 1
    return times


def summary(times: list[float], batch_size: int) -> dict[str, float | list[float] | None]:
    """Returns what the table says of the calls of one way, and their times in milliseconds.

    There is no 99th percentile, None, of fewer than `MIN_CALLS_OF_P99` calls.
    """
    milliseconds = 1000 * np.array(times)
    p99 = round(float(np.percentile(milliseconds, 99)), 3)
    return {
        "p50, ms": round(float(np.percentile(milliseconds, 50)), 3),
        "p99, ms": p99 if len(times) >= MIN_CALLS_OF_P99 else None,
        "clips/s": round(batch_size * len(times) / sum(times), 3),
        "calls, ms": [round(float(value), 2) for value in milliseconds],
    }


def row(name: str, batch_size: int, found: Mapping[str, Any]) -> str:
    """Returns the table's line of a way's summary."""
    p99 = "–" if found["p99, ms"] is None else f"{found['p99, ms']:.1f}"
    return (
        f"| {batch_size} | {name} | {len(found['calls, ms'])} | {found['p50, ms']:.1f} | {p99} | "
        f"{found['clips/s']:.1f} |"
    )


def _model() -> keras.Model:
    keras.utils.set_random_seed(0)
    shapes = CLIP.shapes
    encoders = {name: ogm_tf.encoders.resnet18(shapes[name], name=name) for name in shapes}
    model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(num_classes=NUM_CLASSES))
    model({name: tf.zeros([1, *shape]) for name, shape in shapes.items()})
    return model


def _exported(model: keras.Model, path: pathlib.Path) -> dict[str, Callable]:
    """Returns the signatures of the model, from disk."""
    shutil.rmtree(path, ignore_errors=True)
    start = time.perf_counter()
    ogm_tf.serving.export(
        model,
        path,
        {"audio": audio.front_end(CLIP), "visual": video.front_end(CLIP)},
        [f"class {number}" for number in range(NUM_CLASSES)],
        CLIP.audio.sample_rate_hz,
    )
    logging.info("Exported in %.1f s.", time.perf_counter() - start)
    return tf.saved_model.load(str(path)).signatures


def _ways(
    model: keras.Model, signatures: dict[str, Callable], batch_size: int
) -> dict[str, Callable[[], object]]:
    random = np.random.default_rng(0)
    shape = (batch_size, CLIP.window_samples)
    waveform = tf.constant(random.uniform(-1, 1, shape), tf.float32)
    # As smooth as pictures are, for which JPEG is made.
    coarse = random.integers(0, 256, (batch_size, 8, 8, 3))
    frames = tf.cast(tf.image.resize(coarse, STORED_SIZE, "bicubic", antialias=True), tf.float32)
    frames = tf.saturate_cast(frames, tf.uint8)[:, tf.newaxis]
    features = {
        "audio": audio.front_end(CLIP)(waveform),
        "visual": video.front_end(CLIP)(frames),
    }
    files = {
        "audio_wav": tf.stack(
            [tf.audio.encode_wav(w[:, tf.newaxis], CLIP.audio.sample_rate_hz) for w in waveform]
        ),
        "frames_jpeg": tf.stack([[tf.io.encode_jpeg(clip[0], quality=95)] for clip in frames]),
    }
    asked = {
        "features": features,
        "serving_default": {"waveform": waveform, "frames": frames},
        "encoded": files,
        "raw_audio": {"waveform": waveform},
        "raw_visual": {"frames": frames},
    }
    by_name = {name: value.numpy() for name, value in features.items()}
    ways = {
        "model.predict": lambda: model.predict(by_name, batch_size=batch_size, verbose=0),
        "model(...)": lambda: model(features).numpy(),
    }
    for name, inputs in asked.items():
        ways[name] = lambda name=name, inputs=inputs: signatures[name](**inputs)[
            "probabilities"
        ].numpy()
    expected = tf.nn.softmax(ways["model.predict"]()).numpy()
    for name in ("features", "serving_default"):
        difference = float(np.abs(ways[name]() - expected).max())
        logging.info("%s differs from model.predict by at most %.1e.", name, difference)
    return ways


if __name__ == "__main__":
    launch(ServingSettings, run)
