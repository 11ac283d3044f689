r"""Which method balances best? All of them over paired seeds, each tuned with the same budget.

The built-in dataset, the same clips for every seed, and levels of white noise in its sound:

  python -m benchmarks.methods --preset=launchers/presets/synthetic.flags \
      --output_dir=runs/methods_synthetic --audio_noise_snr_db=20,5,0,-5,-10

Your own clips:

  python -m benchmarks.methods --preset=launchers/presets/grid_digits.flags \
      --manifest=$GRID_DIGITS/manifest.csv --output_dir=runs/methods_grid \
      --audio_noise_snr_db=20,5,0,-5,-10

Every method that has something to tune has three trials with one seed; the one whose fused accuracy
on the validation split, its mean over the levels of noise, is highest is trained with the seeds of
the comparison. What is compared is the last epoch: the one that a small validation split finds best
may lie before the slow modality has learned what it will. Finished runs are kept, each in a process
of its own: the same command goes on where it was stopped.
Differences to plain training are paired by seed, their interval is Student's, 95 %, and their p of
a two-sided paired t-test, corrected after Holm over the methods. Memory is the peak of the process
that trains. Time is of a step on one batch, relative to plain training's: the methods take turns,
and medians are compared; what G-Blend does between epochs is not in it.
"""

import dataclasses
import functools
import json
import pathlib
import time

import keras
import numpy as np
from absl import logging

from benchmarks import comparison, launched
from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import evaluate, fitting, networks, prepare
from launchers.runs import RunFolder
from launchers.settings import LauncherSettings, from_flagfile, launch, setting
from launchers.training import TrainSettings
from ogm_tf.analysis import intervals, paired

# Of each method, what it is tried with; one of a single trial has nothing to tune. The cosines that
# are joined with losses keep the scale that they were found to want by themselves.
TRIALS = {
    "none": [[]],
    "visual only": [["--remove_modality=audio"]],
    "audio only": [["--remove_modality=visual"]],
    "mmcosine": [["--fusion=mmcosine", f"--mmcosine_scale={scale}"] for scale in (5, 15, 30)],
    "mmcosine unimodal": [
        [
            "--fusion=mmcosine",
            "--mmcosine_scale=5",
            "--modulation=unimodal",
            f"--unimodal_weight={weight}",
        ]
        for weight in (0.5, 1, 2)
    ],
    **{
        method: [[f"--modulation={method}", *flags] for flags in trials]
        for method, trials in {
            "ogm": [["--alpha=0.3"], ["--alpha=0.8"], ["--alpha=2"]],
            "ogm_ge": [["--alpha=0.3"], ["--alpha=0.8"], ["--alpha=2"]],
            "agm": [["--alpha=0.3"], ["--alpha=0.8"], ["--alpha=2"]],
            "unimodal": [[f"--unimodal_weight={weight}"] for weight in (0.5, 1, 2)],
            "gblend": [[f"--gblend_super_epoch={epochs}"] for epochs in (5, 10, 20)],
            "mmpareto": [[f"--pareto_gamma={gamma}"] for gamma in (1, 1.5, 2)],
            "opm": [[f"--opm_probability={share}"] for share in (0.3, 0.7, 1)],
            "pmr": [[f"--pmr_strength={strength}"] for strength in (0.5, 1, 2)],
            "ogm_ge+unimodal": [["--alpha=0.3"], ["--alpha=0.8"], ["--alpha=2"]],
            "opm+unimodal": [[f"--unimodal_weight={weight}"] for weight in (0.5, 1, 2)],
        }.items()
    },
}
BRANCHES = {"fused": "accuracy", "audio": "audio_accuracy", "visual": "visual_accuracy"}
SWEEP = "mean over noise"
# Ends the name of the fused accuracy at one level of noise, which the results have and no table.
_LEVEL = " dB"
_PEAK = "peak, MiB"
_TIMED_STEPS = 30


@dataclasses.dataclass(frozen=True)
class MethodsSettings(LauncherSettings):
    """Settings of the comparison."""

    preset: str = setting(dataclasses.MISSING, "Flagfile of `prepare` and `train`.")
    output_dir: str = setting(dataclasses.MISSING, "Folder of records, runs and tables.")
    manifest: str | None = setting(None, "Of your own clips; by default the built-in dataset.")
    seeds: tuple[int, ...] = comparison.seeds((0, 1, 2, 3, 4))
    tuning_seed: int = setting(100, "Of the trials.")
    methods: tuple[str, ...] = comparison.methods(tuple(TRIALS), tuple(TRIALS))
    audio_noise_snr_db: tuple[float, ...] = setting((), "Levels of noise in the sound, dB.")


def run(settings: MethodsSettings) -> None:
    """Tunes and trains what is missing, and prints the table."""
    records_dir = _records(settings)
    tuning = {method: _tune(settings, records_dir, method) for method in settings.methods}
    chosen = {method: best(TRIALS[method], scores) for method, scores in tuning.items()}
    results: dict[str, list[dict[str, float]]] = {method: [] for method in settings.methods}
    # Seed by seed, so that a comparison that was stopped has pairs.
    for seed in settings.seeds:
        for method, flags in chosen.items():
            results[method].append(_result(settings, records_dir, method, flags, seed))
    times = _step_times(settings, records_dir, chosen)
    launched.write_results(
        settings, "methods", tuning=tuning, chosen=chosen, test=results, step_ms=times
    )
    print(table(results, times))
    print(f"\n{trials_table(tuning)}")


def table(results: dict[str, list[dict[str, float]]], times: dict[str, list[float]]) -> str:
    """Returns Markdown: means and standard deviations, then paired differences against "none".

    Args:
      results: Of every method, what each seed gave, in the order of the seeds.
      times: Of every method, those of its steps.
    """
    names = [name for name in next(iter(results.values()))[0] if not name.endswith(_LEVEL)]
    plain = np.median(times["none"]) if "none" in times else np.nan
    rows = [
        [
            method,
            *(_cell(name, [row[name] for row in own]) for name in names),
            f"{np.median(times[method]) / plain:.2f}",
        ]
        for method, own in results.items()
    ]
    lines = comparison.markdown(["method", *names, "time"], rows)
    others = [method for method in results if method != "none" and "only" not in method]
    if "none" not in results or not others:
        return lines
    measures = [name for name in names if name != _PEAK]
    cells = {method: [method] for method in others}
    for name in measures:
        differences = {
            method: [
                ours[name] - theirs[name]
                for ours, theirs in zip(results[method], results["none"], strict=True)
            ]
            for method in others
        }
        ps = intervals.holm([intervals.student_p(differences[method]) for method in others])
        for method, p in zip(others, ps, strict=True):
            cells[method].append(f"{paired.difference(differences[method])}, p = {p:.3g}")
    header = ["minus none", *measures]
    return f"{lines}\n\n{comparison.markdown(header, list(cells.values()))}"


def trials_table(tuning: dict[str, list[float]]) -> str:
    """Returns Markdown: what the trials of each method were, and scored; the best is bold.

    Args:
      tuning: Of every method, the score of each trial; none where there was nothing to tune.
    """
    rows = []
    for method, scores in tuning.items():
        if not scores:
            continue
        # What they differ in comes last.
        names, values = zip(*(flags[-1].split("=") for flags in TRIALS[method]), strict=True)
        chosen = TRIALS[method].index(best(TRIALS[method], scores))
        cells = [f"**{x:.3f}**" if i == chosen else f"{x:.3f}" for i, x in enumerate(scores)]
        rows.append([method, f"`{names[0]}` {', '.join(values)}", ", ".join(cells)])
    return comparison.markdown(["method", "trials", "score on validation"], rows)


def _cell(name: str, values: list[float]) -> str:
    return f"{np.mean(values):.0f}" if name == _PEAK else paired.spread(values)


def best(trials: list[list[str]], scores: list[float]) -> list[str]:
    """Returns the flags of the best trial; the first where several are as good, or one is all."""
    return trials[int(np.argmax(scores))] if scores else trials[0]


def _tune(settings: MethodsSettings, records_dir: str, method: str) -> list[float]:
    """Returns the validation score of each trial of a method; none of a single one."""
    trials, scores = TRIALS[method], []
    if len(trials) == 1:
        return scores
    for number, flags in enumerate(trials):
        run_dir = _folder(settings, method) / f"trial{number}"
        _train(settings, records_dir, run_dir, flags, settings.tuning_seed)
        scores.append(_accuracies(settings, run_dir, "validation")[_measure(settings)])
    logging.info("%s: %s gave %s.", method, trials, np.round(scores, 3))
    return scores


def _measure(settings: MethodsSettings) -> str:
    return SWEEP if settings.audio_noise_snr_db else "fused"


def _result(
    settings: MethodsSettings, records_dir: str, method: str, flags: list[str], seed: int
) -> dict[str, float]:
    run_dir = _folder(settings, method) / f"{'_'.join(flags).strip('-') or 'plain'}_seed{seed}"
    _train(settings, records_dir, run_dir, flags, seed)
    result = _accuracies(settings, run_dir, "test")
    result[_PEAK] = launched.peak_mib(run_dir)
    logging.info("%s, seed %d: %s", method, seed, json.dumps(result))
    return result


def _step_times(
    settings: MethodsSettings, records_dir: str, chosen: dict[str, list[str]]
) -> dict[str, list[float]]:
    """Returns the milliseconds of the steps of every method, which take turns."""
    index = read_index(records_dir)
    steps = {}
    for method, flags in chosen.items():
        own = from_flagfile(
            TrainSettings, settings.preset, *flags, records_dir=records_dir, output_dir="unused",
        )  # fmt: skip
        data = dataset.train_dataset(
            records_dir, own.batch_size, own.seed, removed=own.remove_modality
        )
        keras.mixed_precision.set_global_policy(own.precision)
        model = networks.build_model(own, index)
        model.make_train_function()
        batches = iter(data.dataset.take(1).cache().repeat())
        steps[method] = functools.partial(model.train_function, batches)
        # Traces it.
        steps[method]()
    times = {method: [] for method in steps}
    for number in range(_TIMED_STEPS):
        for method in np.roll(list(steps), number):
            begin = time.perf_counter()
            steps[method]()
            times[str(method)].append(1000 * (time.perf_counter() - begin))
    return times


def _train(
    settings: MethodsSettings, records_dir: str, run_dir: pathlib.Path, flags: list[str], seed: int
) -> None:
    """Trains a run, or goes on with it; the settings of a finished one are compared."""
    own = [f"--seed={seed}", "--keep=last", *flags]
    if launched.is_finished(run_dir):
        wanted = from_flagfile(
            TrainSettings, settings.preset, *own, records_dir=records_dir, output_dir=str(run_dir)
        )
        RunFolder(run_dir).check_config(fitting.run_config(wanted))
        return
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    launched.train(
        "train", run_dir, f"--flagfile={settings.preset}", f"--records_dir={records_dir}", *own
    )


def _accuracies(settings: MethodsSettings, run_dir: pathlib.Path, split: str) -> dict[str, float]:
    levels = {snr: f"{split}_snr_{snr:g}db" for snr in settings.audio_noise_snr_db}
    folder = RunFolder(run_dir)
    if levels and not set(levels.values()) <= set(folder.read_metrics()):
        evaluate.run(evaluate.EvaluateSettings(str(run_dir), split, tuple(levels)))
    metrics = folder.read_metrics()
    found = {title: metrics[split][name] for title, name in BRANCHES.items()}
    if levels:
        fused = {f"{snr:g}{_LEVEL}": metrics[name]["accuracy"] for snr, name in levels.items()}
        found |= {SWEEP: float(np.mean(list(fused.values()))), **fused}
    return found


def _folder(settings: MethodsSettings, method: str) -> pathlib.Path:
    return pathlib.Path(settings.output_dir) / method.replace(" ", "_")


def _records(settings: MethodsSettings) -> str:
    folder = pathlib.Path(settings.output_dir)
    if settings.manifest:
        source = {"manifest": settings.manifest}
    else:
        source = {"dataset": "synthetic", "data_dir": str(folder / "clips")}
    records_dir = str(folder / "records")
    prepare.run(
        from_flagfile(prepare.PrepareSettings, settings.preset, output_dir=records_dir, **source)
    )
    return records_dir


if __name__ == "__main__":
    launch(MethodsSettings, run)
