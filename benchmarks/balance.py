r"""Does balancing help? Every method over several paired seeds, as a table and JSON.

The built-in dataset, new clips and a new run for every seed:

  python -m benchmarks.balance --preset=launchers/presets/synthetic.flags \
      --output_dir=runs/balance_synthetic --seeds=0,1,2,3,4

Your own clips, the same records for every seed, and white noise in the test sound:

  python -m benchmarks.balance --preset=launchers/presets/grid_digits.flags \
      --manifest=$GRID_DIGITS/manifest.csv --output_dir=runs/balance_grid --seeds=0,1,2 \
      --audio_noise_snr_db=20,5,0,-5,-10

Finished runs are kept: the same command goes on where it was stopped. Methods are compared on the
test split, at the epoch that validation chose. Differences are paired by seed; their interval is
Student's, 95 %.
"""

import dataclasses
import json
import os
import pathlib
import platform

import keras
import numpy as np
from absl import logging

from launchers import evaluate, prepare, train
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings, from_flagfile, launch, setting
from launchers.training import TrainSettings
from ogm_tf.analysis.paired import MAX_SEEDS, difference, spread

METHODS = {
    "visual only": {"remove_modality": "audio"},
    "none": {},
    "ogm": {"modulation": "ogm"},
    "ogm_ge": {"modulation": "ogm_ge"},
}
BRANCHES = ("accuracy", "audio_accuracy", "visual_accuracy")


@dataclasses.dataclass(frozen=True)
class BalanceSettings(LauncherSettings):
    """Settings of the comparison."""

    preset: str = setting(dataclasses.MISSING, "Flagfile of `prepare` and `train`.")
    output_dir: str = setting(dataclasses.MISSING, "Folder of records, runs and tables.")
    manifest: str | None = setting(None, "Of your own clips; by default the built-in dataset.")
    seeds: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4), "Seeds, with commas.",
        rule=f"2 to {MAX_SEEDS} seeds", holds=lambda value: 2 <= len(value) <= MAX_SEEDS,
    )  # fmt: skip
    methods: tuple[str, ...] = setting(
        tuple(METHODS), "Methods, with commas.",
        rule=f"among {', '.join(METHODS)}", holds=lambda value: set(value) <= set(METHODS),
    )  # fmt: skip
    audio_noise_snr_db: tuple[float, ...] = setting((), "Levels of noise in the test sound, dB.")


def run(settings: BalanceSettings) -> None:
    """Trains what is missing and prints the tables."""
    results = {method: [_result(settings, method, seed) for seed in settings.seeds]
               for method in settings.methods}  # fmt: skip
    write_json(
        pathlib.Path(settings.output_dir) / "balance.json",
        {"settings": dataclasses.asdict(settings), "cores": os.cpu_count(),
         "machine": platform.machine(), "test": results},
    )  # fmt: skip
    print(table(results, settings.audio_noise_snr_db))


def table(results: dict[str, list[dict[str, float]]], levels: tuple[float, ...]) -> str:
    """Returns Markdown: means and standard deviations, and paired differences against "none"."""
    keys = {"fused": "accuracy", "audio": "audio_accuracy", "visual": "visual_accuracy"}
    keys |= {f"{snr:g} dB": f"accuracy_{snr:g}db" for snr in levels}
    if levels:
        keys["mean over noise"] = "accuracy_sweep"
    header = ["method", *keys]
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    for method, rows in results.items():
        cells = [spread([row[key] for row in rows]) for key in keys.values()]
        lines.append(" | ".join([method, *cells]))
    for method, rows in results.items():
        if "none" not in results or method == "none":
            continue
        pairs = list(zip(rows, results["none"], strict=True))
        cells = [difference([a[key] - b[key] for a, b in pairs]) for key in keys.values()]
        lines.append(" | ".join([f"{method} - none", *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def _result(settings: BalanceSettings, method: str, seed: int) -> dict[str, float]:
    records_dir = _records(settings, seed)
    run_dir = pathlib.Path(settings.output_dir) / f"{method.replace(' ', '_')}_seed{seed}"
    logging.info("%s, seed %d.", method, seed)
    train.run(
        from_flagfile(
            TrainSettings,
            settings.preset,
            records_dir=records_dir,
            output_dir=str(run_dir),
            seed=seed,
            **METHODS[method],
        )
    )
    levels = {snr: f"test_snr_{snr:g}db" for snr in settings.audio_noise_snr_db}
    if levels and not set(levels.values()) <= set(RunFolder(run_dir).read_metrics()):
        evaluate.run(evaluate.EvaluateSettings(str(run_dir), audio_noise_snr_db=tuple(levels)))
    keras.backend.clear_session()
    metrics = RunFolder(run_dir).read_metrics()
    result = {name: metrics["test"][name] for name in BRANCHES}
    for snr, name in levels.items():
        result[f"accuracy_{snr:g}db"] = metrics[name]["accuracy"]
    if levels:
        result["accuracy_sweep"] = float(np.mean([metrics[n]["accuracy"] for n in levels.values()]))
    logging.info("%s, seed %d: %s", method, seed, json.dumps(result))
    return result


def _records(settings: BalanceSettings, seed: int) -> str:
    folder = pathlib.Path(settings.output_dir)
    if settings.manifest:
        records_dir = str(folder / "records")
        source = {"manifest": settings.manifest}
    else:
        records_dir = str(folder / f"records_seed{seed}")
        clips = str(folder / f"clips_seed{seed}")
        source = {"dataset": "synthetic", "data_dir": clips, "dataset_seed": seed}
    prepare.run(
        from_flagfile(prepare.PrepareSettings, settings.preset, output_dir=records_dir, **source)
    )
    return records_dir


if __name__ == "__main__":
    launch(BalanceSettings, run)
