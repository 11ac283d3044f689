r"""Trains methods by alphas by seeds; validation chooses alpha, test compares the methods.

  python -m launchers.sweep --records_dir=records/mine --output_dir=runs/sweep \
      --methods=none,ogm,ogm_ge --alphas=0.1,0.3,0.8 --seeds=0,1,2 --epochs=50

All flags of `train` are flags of every run, also those of presets (--flagfile); settings of a
method are its own runs' alone. Each run is `train` in a process of its own, one after the other:
runs/sweep/ogm_ge_alpha0.3_seed1 with its log in runs/sweep/logs. The same command goes on where it
was stopped; finished runs are kept. A run that fails costs the others nothing: it is named at the
end, the exit code is 1, and the same command tries it again.

Methods without an alpha run once a seed, with what their own flags say (--unimodal_weight and so
on). Of each other method that alpha is chosen whose fused accuracy on the validation split is
highest, mean over the seeds; of equal ones the smallest. The test split is looked at for the chosen
runs alone: mean and standard deviation over the seeds, differences to `none` paired by seed with
Student's 95 % interval. Writes sweep.json and, of the chosen runs, report/index.html.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from input_pipelines import output_folder
from input_pipelines.index import Index
from launchers import fitting, report, train
from launchers.runs import RunFolder, write_json
from launchers.settings import as_flags, launch
from launchers.stopping import StopRequest, stop_request
from launchers.sweeping import (
    FUSED,
    Job,
    Result,
    SweepSettings,
    choose,
    final_table,
    progress_table,
    summary,
)
from launchers.training import TrainSettings

_PROGRAM = (sys.executable, "-m", "launchers.train")
# In the folder of a run: for how long `train` ran, and whether it came to its end.
_STATE_FILE = "sweep_run.json"


def run(settings: SweepSettings) -> dict[str, Any]:
    """Trains what is missing and returns what it writes into sweep.json.

    Raises:
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
      RuntimeError: at the end, where a run failed; it names the log.
    """
    jobs = settings.jobs()
    index = _check(settings, jobs)
    folder = pathlib.Path(settings.output_dir)
    with output_folder.locked(os.path.abspath(folder)):
        results, failed = _train_all(settings, jobs)
        chosen = choose(jobs, results)
        columns = FUSED | {name: f"{name}_accuracy" for name in index.settings.modalities}
        found = _found(settings, jobs, results, chosen, columns)
        write_json(folder / "sweep.json", found)
        if chosen:
            print(final_table(chosen, results, columns).as_text())
        if chosen and settings.report:
            run_dirs = [
                str(settings.run_dir(job)) for members in chosen.values() for job in members
            ]
            report.run(report.ReportSettings(tuple(run_dirs), str(folder / "report")))
    logging.info("Wrote %s.", folder / "sweep.json")
    if failed:
        lines = [f"\n  {job.name}: {_log_path(settings, job)}" for job in failed]
        raise RuntimeError(
            "All runs must come to their end; the same command tries again. Received: "
            f"{len(failed)} of {len(jobs)} that did not:{''.join(lines)}"
        )
    return found


def _check(settings: SweepSettings, jobs: Sequence[Job]) -> Index:
    """Returns the index of the records, if every run can be made of them and of its folder."""
    # The first of each method, for what one cannot do fails for every seed and alpha.
    firsts = {job.method: job for job in reversed(jobs)}
    for job in firsts.values():
        index = train.check(settings.train_settings(job))
    for split in ("validation", "test"):
        if split not in index.splits:
            raise ValueError(
                "Alpha is chosen on a validation split and methods are compared on a test split "
                "(prepare --validation_fraction). Received: "
                f"records_dir={settings.records_dir!r} of {', '.join(index.splits)}."
            )
    for job in jobs:
        config = fitting.run_config(settings.train_settings(job))
        RunFolder(settings.run_dir(job)).check_config(config)
    return index


def _train_all(settings: SweepSettings, jobs: Sequence[Job]) -> tuple[dict[Job, Result], list[Job]]:
    """Returns the results of all runs, and those that failed."""
    results = {
        job: result for job in jobs if (result := _result(settings.run_dir(job))) is not None
    }
    if results:
        logging.info("Going on after %d of %d runs.", len(results), len(jobs))
    failed: list[Job] = []
    with stop_request() as stop:
        for job in [job for job in jobs if job not in results]:
            logging.info("%s: its log is %s.", job.name, _log_path(settings, job))
            code = _train(settings.train_settings(job), _log_path(settings, job), stop)
            if stop():
                logging.info("Stopped in %s. The same command goes on from there.", job.name)
                raise SystemExit(0)
            result = _result(settings.run_dir(job))
            if code or result is None:
                logging.warning("%s ended with exit code %d.", job.name, code)
                failed.append(job)
            else:
                results[job] = result
            print(progress_table(jobs, results, failed).as_text(), flush=True)
    return results, failed


def _train(settings: TrainSettings, log: pathlib.Path, stop: StopRequest) -> int:
    """Runs `train` in a process of its own and returns its exit code."""
    folder = pathlib.Path(settings.output_dir)
    command = [*_PROGRAM, *as_flags(settings)]
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with open(log, "a") as file:
        file.write(f"{shlex.join(command)}\n")
        file.flush()
        code = _wait(command, file, stop)
    state = folder / _STATE_FILE
    seconds = json.loads(state.read_text())["seconds"] if state.exists() else 0.0
    if folder.exists():
        # A run that was asked to stop has exit code 0 as well.
        is_done = code == 0 and RunFolder(folder).read_state().get("epoch") == settings.epochs
        seconds += time.monotonic() - begin
        write_json(state, {"seconds": seconds, "is_done": is_done and not stop()})
    return code


def _wait(command: Sequence[str], log: Any, stop: Callable[[], bool]) -> int:
    """Runs a program, passes a request to stop on to it, and returns its exit code."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    is_asked = False
    try:
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if stop() and not is_asked:
                    process.terminate()
                    is_asked = True
    finally:
        # Interrupted a second time.
        if process.poll() is None:
            process.kill()
            process.wait()


def _result(run_dir: pathlib.Path) -> Result | None:
    """Returns what a run gave; None where it has not come to its end."""
    state = run_dir / _STATE_FILE
    if not state.exists():
        return None
    values = json.loads(state.read_text())
    if not values["is_done"]:
        return None
    return Result(RunFolder(run_dir).read_metrics(), values["seconds"] / 60)


def _found(
    settings: SweepSettings,
    jobs: Sequence[Job],
    results: Mapping[Job, Result],
    chosen: Mapping[str, Sequence[Job]],
    columns: Mapping[str, str],
) -> dict[str, Any]:
    """Returns all numbers; those of the test split of the chosen runs alone."""
    runs = []
    for job in jobs:
        about = {"name": job.name, **job._asdict(), "is_done": job in results}
        if job in results:
            shown = ["validation", *(["test"] if job in chosen.get(job.method, ()) else [])]
            about["minutes"] = results[job].minutes
            about |= {split: results[job].metrics[split] for split in shown}
        runs.append(about)
    return {
        "settings": dataclasses.asdict(settings),
        "runs": runs,
        "chosen": summary(chosen, results, columns),
    }


def _log_path(settings: SweepSettings, job: Job) -> pathlib.Path:
    return pathlib.Path(settings.output_dir) / "logs" / f"{job.name}.log"


if __name__ == "__main__":
    launch(SweepSettings, run)
