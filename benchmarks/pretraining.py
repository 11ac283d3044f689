r"""Does balancing help representation learning? Plain and OGM-GE over paired seeds, table and JSON.

The built-in pairs, the same clips for every seed: how well each small network tells them apart, and
in what time.

  python -m benchmarks.pretraining --models=l3net,avsa,avca --output_dir=runs/pretraining

Your own videos, whole, and what the audio encoders then know of other sounds:

  python -m benchmarks.pretraining --models=l3net,avsa --preset_prefix=grid \
      --manifest=$GRID_DIGITS/manifest.csv --output_dir=runs/pretraining_grid --esc50_dir=$ESC10

The preset of a network is launchers/presets/<prefix>_<model>.flags. Finished runs are kept: the
same command goes on where it was stopped. Accuracies are of the test split's pairs, at the epoch
that validation chose. Differences are paired by seed; their interval is Student's, 95 %.
"""

import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

from absl import logging

from launchers import prepare
from launchers.pretraining import KINDS
from launchers.probe import FILE as PROBE_FILE
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings, from_flagfile, launch, setting
from ogm_tf.analysis.paired import MAX_SEEDS, difference, spread

METHODS = ("none", "ogm", "ogm_ge")
PRESETS = pathlib.Path(__file__).resolve().parents[1] / "launchers" / "presets"
PAIRS = {"pairs": "accuracy", "positive": "positive_accuracy", "negative": "negative_accuracy"}
PROBED = {"probe": "encoder", "random encoder": "random_encoder", "log-mel": "log_mel"}
_TIME = "training.json"


@dataclasses.dataclass(frozen=True)
class PretrainingSettings(LauncherSettings):
    """Settings of the comparison."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of records, runs and tables.")
    models: tuple[str, ...] = setting(
        tuple(KINDS), "Networks, with commas.",
        rule=f"among {', '.join(KINDS)}", holds=lambda value: value and set(value) <= set(KINDS),
    )  # fmt: skip
    methods: tuple[str, ...] = setting(
        ("none", "ogm_ge"), "Methods, with commas.",
        rule=f"among {', '.join(METHODS)}",
        holds=lambda value: value and set(value) <= set(METHODS),
    )  # fmt: skip
    seeds: tuple[int, ...] = setting(
        (0, 1, 2), "Seeds, with commas.",
        rule=f"2 to {MAX_SEEDS} seeds", holds=lambda value: 2 <= len(value) <= MAX_SEEDS,
    )  # fmt: skip
    preset_prefix: str = setting("synthetic", "First part of the presets' names.")
    manifest: str | None = setting(
        None, "Of your own videos, which are taken whole; by default the built-in datasets."
    )
    esc50_dir: str | None = setting(None, "Folder of ESC-50, to probe the audio encoders on.")


def run(settings: PretrainingSettings) -> None:
    """Trains and probes what is missing, and prints the tables."""
    results = {
        model: {
            method: [_result(settings, model, method, seed) for seed in settings.seeds]
            for method in settings.methods
        }
        for model in settings.models
    }
    write_json(
        pathlib.Path(settings.output_dir) / "pretraining.json",
        {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
         "machine": platform.machine(), "results": results},
    )  # fmt: skip
    print(table(results))


def table(results: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Returns Markdown: means and standard deviations, and paired differences against "none"."""
    names = list(next(iter(next(iter(results.values())).values()))[0])
    header = ["network", "method", *names]
    lines = [header, ["---" for _ in header]]
    for model, methods in results.items():
        for method, rows in methods.items():
            lines.append([model, method, *(spread([row[name] for row in rows]) for name in names)])
        for method, rows in methods.items():
            if method == "none" or "none" not in methods:
                continue
            both = list(zip(rows, methods["none"], strict=True))
            cells = [difference([a[name] - b[name] for a, b in both]) for name in names]
            lines.append([model, f"{method} - none", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _result(settings: PretrainingSettings, model: str, method: str, seed: int) -> dict[str, float]:
    records_dir = _records(settings, model)
    run_dir = pathlib.Path(settings.output_dir) / f"{model}_{method}_seed{seed}"
    logging.info("%s, %s, seed %d.", model, method, seed)
    begin = time.monotonic()
    # Of a finished run it compares the settings, and nothing else.
    _launch(
        "pretrain", f"--flagfile={_preset(settings, model)}", f"--records_dir={records_dir}",
        f"--output_dir={run_dir}", f"--modulation={method}", f"--seed={seed}",
    )  # fmt: skip
    if not (run_dir / _TIME).exists():
        write_json(run_dir / _TIME, {"seconds": time.monotonic() - begin})
    folder = RunFolder(run_dir)
    metrics = folder.read_metrics()["test"]
    result = {title: metrics[name] for title, name in PAIRS.items()}
    if settings.esc50_dir is not None:
        if not (run_dir / PROBE_FILE).exists():
            _launch(
                "probe", f"--run_dir={run_dir}", "--dataset=esc50", f"--seed={seed}",
                f"--data_dir={settings.esc50_dir}",
            )  # fmt: skip
        probed = json.loads((run_dir / PROBE_FILE).read_text())["results"]
        result |= {title: probed[name]["mean"] for title, name in PROBED.items()}
    result["minutes"] = json.loads((run_dir / _TIME).read_text())["seconds"] / 60
    logging.info("%s, %s, seed %d: %s", model, method, seed, json.dumps(result))
    return result


def _records(settings: PretrainingSettings, model: str) -> str:
    folder = pathlib.Path(settings.output_dir)
    if settings.manifest is None:
        dataset = f"synthetic_{KINDS[model]}"
        source = {"dataset": dataset, "data_dir": str(folder / dataset)}
    else:
        source = {"manifest": settings.manifest, "whole_files": True}
    records_dir = folder / f"records_{model}"
    prepare.run(
        from_flagfile(
            prepare.PrepareSettings,
            _preset(settings, model),
            output_dir=str(records_dir),
            **source,
        )
    )
    return str(records_dir)


def _preset(settings: PretrainingSettings, model: str) -> str:
    return str(PRESETS / f"{settings.preset_prefix}_{model}.flags")


def _launch(name: str, *arguments: str) -> None:
    """Runs a launcher in a process of its own, so that its time and memory are its own."""
    subprocess.run([sys.executable, "-m", f"launchers.{name}", *arguments], check=True)


if __name__ == "__main__":
    launch(PretrainingSettings, run)
