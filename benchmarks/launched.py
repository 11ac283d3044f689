"""Launchers in processes of their own, what their runs took, and where the results are kept."""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

from benchmarks import memory
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings

_PRESETS = pathlib.Path(__file__).resolve().parents[1] / "launchers" / "presets"
_TIME = "training.json"
_BETWEEN_LOOKS_S = 0.2


def preset(prefix: str, model: str) -> str:
    """Returns the flagfile of a network, launchers/presets/<prefix>_<model>.flags."""
    return str(_PRESETS / f"{prefix}_{model}.flags")


def launch(name: str, *arguments: str) -> float:
    """Runs a launcher in a process of its own, and returns the peak of its memory, MiB.

    Raises:
      subprocess.CalledProcessError: where it fails.
    """
    command = [sys.executable, "-m", f"launchers.{name}", *arguments]
    with subprocess.Popen(command) as process:
        peak_mib = 0.0
        try:
            while process.poll() is None:
                # Nothing is known of one that has ended.
                with contextlib.suppress(OSError):
                    peak_mib = memory.peak_mib(process.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_BETWEEN_LOOKS_S)
        except BaseException:
            # So that it saves what it has done.
            process.terminate()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak_mib


def train(name: str, run_dir: pathlib.Path, *arguments: str) -> dict[str, float | None]:
    """Trains a run, or goes on with it; of a finished one it compares the settings.

    Args:
      name: Of the launcher.
      run_dir: Folder of the run.
      *arguments: Of the launcher, but for --output_dir.

    Returns:
      The metrics of the test split, and "minutes", those of the whole command; None where the run
      went on after it had been stopped: what was done again, and what the end of a killed process
      took, nobody knows.

    Raises:
      subprocess.CalledProcessError: where the launcher fails.
      RuntimeError: where it was asked to stop, or its data have no test split.
    """
    is_whole = not run_dir.exists()
    begin = time.monotonic()
    peak_mib = launch(name, f"--output_dir={run_dir}", *arguments)
    seconds = time.monotonic() - begin
    metrics = RunFolder(run_dir).read_metrics()
    if "test" not in metrics:
        found = ", ".join(metrics) or "no split"
        raise RuntimeError(
            "A run must end with what it says of the test split; the same command goes on with one "
            f"that was stopped. Received: {run_dir}, with metrics of {found}."
        )
    path = run_dir / _TIME
    if not path.exists():
        write_json(path, {"seconds": seconds if is_whole else None, "peak_mib": peak_mib})
    seconds = json.loads(path.read_text())["seconds"]
    return {**metrics["test"], "minutes": None if seconds is None else seconds / 60}


def is_finished(run_dir: pathlib.Path) -> bool:
    """Returns whether `train` has seen the end of a run."""
    return (run_dir / _TIME).exists()


def peak_mib(run_dir: pathlib.Path) -> float:
    """Returns the peak of the memory of the first process that found a run's training ended, MiB.

    As a rule it has trained the run, or its end.
    """
    return json.loads((run_dir / _TIME).read_text())["peak_mib"]


def write_results(settings: LauncherSettings, name: str, **results: Any) -> None:
    """Writes <output_dir>/<name>.json: settings, machine and results."""
    write_json(
        pathlib.Path(settings.output_dir) / f"{name}.json",
        {
            "settings": dataclasses.asdict(settings),
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            **results,
        },
    )
