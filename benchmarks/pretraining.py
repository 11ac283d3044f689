r"""Does balancing help representation learning? Plain and OGM-GE over paired seeds, table and JSON.

The built-in pairs, the same clips for every seed: how well each small network tells them apart, and
in what time.

  python -m benchmarks.pretraining --models=l3net,avsa,avca --output_dir=runs/pretraining

Your own videos, whole, and what the audio encoders then know of other sounds:

  python -m benchmarks.pretraining --models=l3net,avsa --preset_prefix=grid \
      --manifest=$GRID_DIGITS/manifest.csv --output_dir=runs/pretraining_grid --esc50_dir=$ESC10

The preset of a network is launchers/presets/<prefix>_<model>.flags. Finished runs are kept: the
same command goes on where it was stopped; so are probes with the settings of this command.
Accuracies are of the test split's pairs, at the epoch that validation chose; minutes are of the
whole training, and unknown of runs that were stopped on the way. Differences are paired by seed;
their interval is Student's, 95 %.
"""

import dataclasses
import json
import pathlib

from absl import logging

from benchmarks import comparison, launched
from launchers import prepare, probe
from launchers.pretraining import KINDS
from launchers.settings import LauncherSettings, from_flagfile, launch, setting

PAIRS = {"pairs": "accuracy", "positive": "positive_accuracy", "negative": "negative_accuracy"}
PROBED = {"probe": "encoder", "random encoder": "random_encoder", "log-mel": "log_mel"}


@dataclasses.dataclass(frozen=True)
class PretrainingSettings(LauncherSettings):
    """Settings of the comparison."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of records, runs and tables.")
    models: tuple[str, ...] = setting(
        tuple(KINDS), "Networks, with commas.",
        rule=f"among {', '.join(KINDS)}", holds=lambda value: value and set(value) <= set(KINDS),
    )  # fmt: skip
    methods: tuple[str, ...] = comparison.methods(("none", "ogm_ge"))
    seeds: tuple[int, ...] = comparison.seeds((0, 1, 2))
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
    launched.write_results(settings, "pretraining", results=results)
    print(table(results))


def table(results: dict[str, dict[str, comparison.Rows]]) -> str:
    """Returns Markdown: means and standard deviations, and paired differences against "none".

    Args:
      results: Of every network and method, what each seed gave, in the order of the seeds.
    """
    rows = [[model, *line] for model, own in results.items() for line in comparison.lines(own)]
    names = next(iter(next(iter(results.values())).values()))[0]
    return comparison.markdown(["network", "method", *names], rows)


def _result(
    settings: PretrainingSettings, model: str, method: str, seed: int
) -> dict[str, float | None]:
    records_dir = _records(settings, model)
    run_dir = pathlib.Path(settings.output_dir) / f"{model}_{method}_seed{seed}"
    logging.info("%s, %s, seed %d.", model, method, seed)
    found = launched.train(
        "pretrain", run_dir, f"--flagfile={_preset(settings, model)}",
        f"--records_dir={records_dir}", f"--modulation={method}", f"--seed={seed}",
    )  # fmt: skip
    result = {title: found[name] for title, name in PAIRS.items()}
    if settings.esc50_dir is not None:
        probed = _probe(probe.ProbeSettings(str(run_dir), "esc50", settings.esc50_dir, seed=seed))
        result |= {title: probed[name]["mean"] for title, name in PROBED.items()}
    result["minutes"] = found["minutes"]
    logging.info("%s, %s, seed %d: %s", model, method, seed, json.dumps(result))
    return result


def _probe(settings: probe.ProbeSettings) -> dict[str, dict[str, float]]:
    """Returns the results of a probe: those it has, if it was made with these settings."""
    report = probe.kept_report(settings)
    if report is None:
        launched.launch(
            "probe", f"--run_dir={settings.run_dir}", f"--dataset={settings.dataset}",
            f"--data_dir={settings.data_dir}", f"--seed={settings.seed}",
        )  # fmt: skip
        report = probe.kept_report(settings)
    return report["results"]


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
    return launched.preset(settings.preset_prefix, model)


if __name__ == "__main__":
    launch(PretrainingSettings, run)
