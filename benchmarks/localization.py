r"""Does balancing help event localisation? Plain and OGM-GE over paired seeds, table and JSON.

The built-in feature sequences, new ones for every seed, with the small networks:

  python -m benchmarks.localization --models=agva,dmrn,psp --supervisions=full,weak \
      --output_dir=runs/localization

Features of your own, the same for every seed, by presets of your own:

  python -m benchmarks.localization --models=agva,psp --preset_prefix=grid --seeds=0,1,2 \
      --features_dir=features/grid --output_dir=runs/localization_grid

The preset of a network is launchers/presets/<prefix>_<model>.flags. Finished runs are kept: the
same command goes on where it was stopped. Accuracies are of the test split's segments, background
among them, at the epoch that validation chose; "all event" is that of naming each video's event in
all of its segments. Differences are paired by seed; their interval is Student's, 95 %.
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

from launchers.localizing import MODELS, SUPERVISIONS
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings, launch, setting
from ogm_tf.analysis.paired import MAX_SEEDS, difference, spread

METHODS = ("none", "ogm", "ogm_ge")
PRESETS = pathlib.Path(__file__).resolve().parents[1] / "launchers" / "presets"
MEASURES = {
    "segments": "accuracy",
    "audio": "audio_accuracy",
    "visual": "visual_accuracy",
    "event": "event_accuracy",
    "background": "background_accuracy",
    "all event": "all_event_accuracy",
}
_TIME = "training.json"


@dataclasses.dataclass(frozen=True)
class LocalizationSettings(LauncherSettings):
    """Settings of the comparison."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of features, runs and tables.")
    models: tuple[str, ...] = setting(
        ("agva", "psp"), "Networks, with commas.",
        rule=f"among {', '.join(MODELS)}",
        holds=lambda value: value and set(value) <= set(MODELS),
    )  # fmt: skip
    supervisions: tuple[str, ...] = setting(
        ("full",), "Supervisions, with commas.",
        rule=f"among {', '.join(SUPERVISIONS)}",
        holds=lambda value: value and set(value) <= set(SUPERVISIONS),
    )  # fmt: skip
    methods: tuple[str, ...] = setting(
        ("none", "ogm_ge"), "Methods, with commas.",
        rule=f"among {', '.join(METHODS)}",
        holds=lambda value: value and set(value) <= set(METHODS),
    )  # fmt: skip
    seeds: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4), "Seeds, with commas.",
        rule=f"2 to {MAX_SEEDS} different seeds",
        holds=lambda value: 2 <= len(set(value)) == len(value) <= MAX_SEEDS,
    )  # fmt: skip
    preset_prefix: str = setting("synthetic", "First part of the presets' names.")
    features_dir: str | None = setting(
        None, "Of your own features; by default the built-in feature sequences."
    )


def run(settings: LocalizationSettings) -> None:
    """Trains what is missing, and prints the table."""
    results = {
        f"{model}, {supervision}": {
            method: [_result(settings, model, supervision, method, seed) for seed in settings.seeds]
            for method in settings.methods
        }
        for supervision in settings.supervisions
        for model in settings.models
    }
    write_json(
        pathlib.Path(settings.output_dir) / "localization.json",
        {"settings": dataclasses.asdict(settings), "cores": len(os.sched_getaffinity(0)),
         "machine": platform.machine(), "results": results},
    )  # fmt: skip
    print(table(results))


def table(results: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Returns Markdown: means and standard deviations, and paired differences against "none".

    Args:
      results: Of every network and method, what each seed gave, in the order of the seeds.
    """
    names = list(next(iter(next(iter(results.values())).values()))[0])
    header = ["network, supervision", "method", *names]
    lines = [header, ["---" for _ in header]]
    for network, methods in results.items():
        for method, rows in methods.items():
            cells = [spread([row[name] for row in rows]) for name in names]
            lines.append([network, method, *cells])
        for method, rows in methods.items():
            if method == "none" or "none" not in methods:
                continue
            both = list(zip(rows, methods["none"], strict=True))
            cells = [difference([a[name] - b[name] for a, b in both]) for name in names]
            lines.append([network, f"{method} - none", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _result(
    settings: LocalizationSettings, model: str, supervision: str, method: str, seed: int
) -> dict[str, float]:
    features_dir = _features(settings, seed)
    run_dir = pathlib.Path(settings.output_dir) / f"{model}_{supervision}_{method}_seed{seed}"
    title = f"{model}, {supervision}, {method}, seed {seed}"
    logging.info("%s.", title)
    begin = time.monotonic()
    # Of a finished run it compares the settings, and nothing else.
    _launch(
        "localize", f"--flagfile={PRESETS / f'{settings.preset_prefix}_{model}.flags'}",
        f"--features_dir={features_dir}", f"--output_dir={run_dir}", f"--model={model}",
        f"--supervision={supervision}", f"--modulation={method}", f"--seed={seed}",
    )  # fmt: skip
    if not (run_dir / _TIME).exists():
        write_json(run_dir / _TIME, {"seconds": time.monotonic() - begin})
    metrics = RunFolder(run_dir).read_metrics()["test"]
    result = {name: metrics[measure] for name, measure in MEASURES.items()}
    result["minutes"] = json.loads((run_dir / _TIME).read_text())["seconds"] / 60
    logging.info("%s: %s", title, json.dumps(result))
    return result


def _features(settings: LocalizationSettings, seed: int) -> str:
    if settings.features_dir is not None:
        return settings.features_dir
    features_dir = pathlib.Path(settings.output_dir) / f"features_seed{seed}"
    # Of features that are there it compares the settings, and nothing else.
    _launch(
        "extract", "--dataset=synthetic_sequences", f"--dataset_seed={seed}",
        f"--output_dir={features_dir}",
    )  # fmt: skip
    return str(features_dir)


def _launch(name: str, *arguments: str) -> None:
    """Runs a launcher in a process of its own, so that its time and memory are its own."""
    subprocess.run([sys.executable, "-m", f"launchers.{name}", *arguments], check=True)


if __name__ == "__main__":
    launch(LocalizationSettings, run)
