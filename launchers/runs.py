"""The folder of one training run: settings, how it was made, history, metrics, checkpoints."""

import contextlib
import csv
import dataclasses
import fcntl
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ogm_tf.checkpoint_files import CheckpointFiles, flush, reason

_CONFIG, _HISTORY, _METRICS, _STATE = "config.json", "history.csv", "metrics.json", "state.json"
_PROVENANCE = "provenance.json"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths and files of a run; every file appears whole or not at all.

    Args:
      path: The run's folder.
    """

    path: pathlib.Path

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def config_path(self) -> pathlib.Path:
        """The settings of the run."""
        return self.path / _CONFIG

    @property
    def best_model(self) -> pathlib.Path:
        """The model of the best epoch, a `.keras` file."""
        return self.checkpoints / "best.keras"

    @property
    def launcher(self) -> str:
        """Which launcher made the run: "train", "pretrain" or "localize"."""
        config = self.read_config()
        if "features_dir" in config:
            return "localize"
        return "pretrain" if "model" in config else "train"

    @property
    def records_dir(self) -> str:
        """Folder of the records that the run learned from.

        Raises:
          ValueError: where it learned from features.
        """
        config = self.read_config()
        if "records_dir" not in config:
            raise ValueError(
                "A run must have learned from records, as those of `train` and `pretrain`. "
                f"Received: {self.path}, a run of {self.launcher}."
            )
        return config["records_dir"]

    @property
    def is_of_pairs(self) -> bool:
        """Whether `pretrain` made the run."""
        return self.launcher == "pretrain"

    def timelines(self, split: str) -> pathlib.Path:
        """What a run of `localize` says of every segment of a split, a CSV file."""
        return self.path / f"timelines_{split}.csv"

    def predictions(self, split: str) -> pathlib.Path:
        """What a run of `train` says of every clip of a split, a CSV file."""
        return self.path / f"predictions_{split}.csv"

    @property
    def confidence(self) -> pathlib.Path:
        """How sure a run of `train` was of some clips after every epoch, an `.npz` file."""
        return self.path / "confidence.npz"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of TensorBoard's logs."""
        return self.path / "tensorboard"

    @property
    def figures(self) -> pathlib.Path:
        """TensorBoard's log of the run's figures."""
        return self.tensorboard / "figures" / "figures.tfevents"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process.

        Raises:
          RuntimeError: where another run holds it.
          OSError: where it cannot be written.
        """
        with self._reported(self.path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(
                    f"A run folder must be used by one run at a time. Received: {self.path}, in "
                    "use."
                ) from error
            written = (self.path, self.checkpoints, self.figures.parent)
            for stale in [path for place in written for path in place.glob(".*.*.*")]:
                # An evaluation may be writing beside this run.
                if not _is_running(stale.name.split(".")[-2]):
                    stale.unlink(missing_ok=True)
            yield

    def keep_config(self, config: Mapping[str, Any]) -> None:
        """Writes the settings, or, once there is a checkpoint, compares them with those written.

        Raises:
          ValueError: where a setting differs; it is named.
        """
        if CheckpointFiles(self.checkpoints).positions():
            self.check_config(config)
        else:
            self._write_json(_CONFIG, config)

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Compares the settings, where there is a checkpoint, with those written.

        Raises:
          ValueError: where a setting differs; it is named.
        """
        if not CheckpointFiles(self.checkpoints).positions():
            return
        config = json.loads(json.dumps(config))
        previous = self.read_config()
        changed = [
            f"{name} was {previous.get(name)!r} and is {config.get(name)!r}"
            for name in sorted(previous.keys() | config.keys())
            if previous.get(name) != config.get(name)
        ]
        if changed:
            raise ValueError(
                "A run must be resumed with its own settings; choose another --output_dir for "
                f"others. Received: {'; '.join(changed)}."
            )

    def read_config(self) -> dict[str, Any]:
        """Returns the settings of the run.

        Raises:
          FileNotFoundError: where the folder holds no run.
        """
        path = self.path / _CONFIG
        if not path.exists():
            raise FileNotFoundError(
                f"A run folder must hold {_CONFIG}; `train`, `pretrain` or `localize` makes one. "
                f"Received: {self.path}."
            )
        return _read_json(path)

    def read_starts(self) -> list[dict[str, Any]]:
        """Returns how the run was started, and each time that it went on, the first first."""
        path = self.path / _PROVENANCE
        return _read_json(path) if path.exists() else []

    def add_start(self, start: Mapping[str, Any]) -> None:
        """Adds how the run is being started; without a checkpoint it begins anew.

        Args:
          start: Of values that JSON holds: see `provenance.describe`.
        """
        earlier = self.read_starts() if CheckpointFiles(self.checkpoints).positions() else []
        self._write_json(_PROVENANCE, [*earlier, dict(start)])

    def read_history(self) -> dict[str, list[float]]:
        """Returns the columns of the history: one value an epoch."""
        path = self.path / _HISTORY
        if not path.exists():
            return {}
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}

    def write_history(self, history: Mapping[str, list[float]]) -> None:
        """Writes the columns of the history, the epoch first."""
        self._write_csv(self.path / _HISTORY, history, zip(*history.values(), strict=True))

    def write_timelines(
        self, split: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Writes what the run says of every segment of a split."""
        self._write_csv(self.timelines(split), header, rows)

    def write_predictions(
        self, split: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Writes what the run says of every clip of a split."""
        self._write_csv(self.predictions(split), header, rows)

    def write_confidence(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes how sure the run was of some clips after every epoch, by name."""
        with self._reported(self.confidence), _replacing(self.confidence) as partial:
            np.savez_compressed(partial, **arrays)

    def write_figures(self, events: Iterable[tf.compat.v1.Event]) -> None:
        """Writes the log of the run's figures, in place of one that is there."""
        with self._reported(self.figures):
            self.figures.parent.mkdir(parents=True, exist_ok=True)
            with (
                _replacing(self.figures) as partial,
                tf.io.TFRecordWriter(str(partial)) as writer,
            ):
                for event in events:
                    writer.write(event.SerializeToString())

    def read_metrics(self) -> dict[str, dict[str, float]]:
        """Returns the metrics of every split that has been evaluated."""
        path = self.path / _METRICS
        return _read_json(path) if path.exists() else {}

    def add_metrics(self, name: str, values: Mapping[str, float]) -> None:
        """Adds or replaces the metrics of one split."""
        with open(self.path / ".metrics.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._write_json(_METRICS, {**self.read_metrics(), name: dict(values)})

    def read_state(self) -> dict[str, Any]:
        """Returns what history and best model show: `epoch` (done), `best_epoch`, `best_score`."""
        path = self.path / _STATE
        return _read_json(path) if path.exists() else {}

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Writes what history and best model show."""
        self._write_json(_STATE, state)

    def save_best(self, model: keras.Model) -> None:
        """Writes the best model, optimiser included."""
        with self._reported(self.best_model), _replacing(self.best_model) as partial:
            model.save(partial)

    def load_best(self) -> keras.Model:
        """Returns the model of the best epoch.

        Raises:
          FileNotFoundError: where no epoch has finished yet.
        """
        self.read_config()
        if not self.best_model.exists() or not self.read_state():
            raise FileNotFoundError(
                "A run must have finished an epoch before its model is used. "
                f"Received: {self.path}, without one."
            )
        return keras.models.load_model(self.best_model)

    def _write_json(self, name: str, value: Any) -> None:
        with self._reported(self.path / name):
            write_json(self.path / name, value)

    def _write_csv(
        self, path: pathlib.Path, header: Iterable[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        with (
            self._reported(path),
            _replacing(path) as partial,
            open(partial, "w", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)

    @contextlib.contextmanager
    def _reported(self, path: pathlib.Path) -> Iterator[None]:
        """Says of what cannot be written where it was to be, and what of the run is safe."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            safe = CheckpointFiles(self.checkpoints).positions()
            last = safe[-1] if safe else "none"
            raise OSError(
                f"{path} must be written. Received: {reason(error)}. The last checkpoint: {last}."
            ) from error


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file that appears whole or not at all."""
    with _replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n")


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be a JSON file of a run. Received: {error}.") from error


def _is_running(process: str) -> bool:
    return process.isdecimal() and pathlib.Path("/proc", process).exists()


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary name beside `path`, with its suffix, and renames it at the end."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield partial
        # Or a power cut could leave the new name on an empty file.
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)
