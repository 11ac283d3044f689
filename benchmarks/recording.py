r"""What recording the confidence in validation clips costs a run of `train`.

  python -m benchmarks.recording --preset=launchers/presets/synthetic.flags \
      --output_dir=runs/bench_recording

Trains on the built-in dataset with every validation clip recorded, and measures in that run what is
done for it: finding the clips, and after every epoch adding up, writing the file, and the part of
the checkpoints. What the steps of validation do for it is measured on the trained network: passes
over the split with and without it, in turn. It prints a table and writes it as JSON.
"""

import dataclasses
import functools
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np

from input_pipelines import dataset
from launchers import fitting, prepare, recording, train
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings, from_flagfile, launch, positive, setting
from launchers.training import TrainSettings

# What a run does for it outside of validation's steps.
CALLS = ("on_train_begin", "on_test_begin", "on_epoch_end", "get_state", "write")


@dataclasses.dataclass(frozen=True)
class RecordingSettings(LauncherSettings):
    """Settings of the benchmark."""

    preset: str = setting(dataclasses.MISSING, "Flagfile of `prepare` and `train`.")
    output_dir: str = setting(dataclasses.MISSING, "Folder of records, run and table.")
    run_epochs: int = positive(8, "Epochs of the run.")
    rounds: int = positive(10, "Passes over the validation split, with it and without.")


def run(settings: RecordingSettings) -> None:
    """Measures, prints the table and writes it."""
    folder = pathlib.Path(settings.output_dir)
    records_dir = str(folder / "records")
    source = {"dataset": "synthetic", "data_dir": str(folder / "clips")}
    prepare.run(
        from_flagfile(prepare.PrepareSettings, settings.preset, output_dir=records_dir, **source)
    )
    run_dir = folder / f"run_{time.time_ns()}"
    arguments = from_flagfile(
        TrainSettings,
        settings.preset,
        records_dir=records_dir,
        output_dir=str(run_dir),
        modulation="ogm_ge",
        epochs=settings.run_epochs,
        record_samples=-1,
    )
    spent: dict[str, float] = {}
    with _timed(spent):
        train.run(arguments)
    passes = _passes(RunFolder(run_dir), arguments, settings.rounds)
    extra_s = float(np.median(np.subtract(passes["with"], passes["without"])))
    training_s = spent.pop("training")
    spent["steps of validation"] = settings.run_epochs * extra_s
    found = {
        "settings": dataclasses.asdict(settings),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "validation clips": recording.read(RunFolder(run_dir)).confidence.shape[1],
        "training, s": training_s,
        "recording, s": spent,
        "share of the training": sum(spent.values()) / training_s,
        "a pass over the validation split, s": passes,
    }
    write_json(folder / "recording.json", found)
    print(table(found))


def table(found: dict) -> str:
    """Returns Markdown: seconds of each part, and its share of the training."""
    training_s = found["training, s"]
    lines = ["| | s | share of the training |", "| --- | --- | --- |"]
    for name, seconds in found["recording, s"].items():
        lines.append(f"| {name} | {seconds:.3f} | {seconds / training_s:.2%} |")
    total = sum(found["recording, s"].values())
    lines.append(f"| all | {total:.3f} | {total / training_s:.2%} |")
    lines.append(f"| training | {training_s:.1f} | |")
    return "\n".join(lines)


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Has a run add up what it spends, seconds by name."""
    with (
        mock.patch.object(fitting, "_fit", _adding(spent, "training", fitting._fit)),
        mock.patch.object(
            recording, "recorder", _adding(spent, "finding the clips", recording.recorder)
        ),
        mock.patch.multiple(
            recording.ClipRecorder,
            **{name: _adding(spent, name, getattr(recording.ClipRecorder, name)) for name in CALLS},
        ),
    ):
        yield


def _adding(spent: dict[str, float], name: str, call: Callable) -> Callable:
    @functools.wraps(call)
    def timed(*args, **kwargs):
        start = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

    return timed


def _passes(folder: RunFolder, arguments: TrainSettings, rounds: int) -> dict[str, list[float]]:
    """Returns seconds of passes over the validation split, read before, with it and without."""
    model = folder.load_best()
    data = dataset.eval_dataset(arguments.records_dir, recording.SPLIT, arguments.batch_size)
    batches = data.dataset.cache()
    recorder = recording.ClipRecorder(data.num_clips, [], [], [])
    recorder.set_model(model)
    functions = {}
    for name, begin in (("with", recorder.on_train_begin), ("without", recorder.on_train_end)):
        begin()
        # Traces the steps, and fills the cache.
        model.evaluate(batches, verbose=0)
        functions[name] = model.test_function
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds):
        for name in sorted(functions, reverse=bool(number % 2)):
            model.test_function = functions[name]
            start = time.perf_counter()
            model.evaluate(batches, verbose=0)
            seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    launch(RecordingSettings, run)
