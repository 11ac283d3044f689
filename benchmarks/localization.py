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
all of its segments. Minutes are of the whole training, and unknown of runs that were stopped on the
way. Differences are paired by seed; their interval is Student's, 95 %.
"""

import dataclasses
import json
import pathlib

from absl import logging

from benchmarks import comparison, launched
from launchers.localizing import MODELS, SUPERVISIONS
from launchers.settings import LauncherSettings, launch, setting

MEASURES = {
    "segments": "accuracy",
    "audio": "audio_accuracy",
    "visual": "visual_accuracy",
    "event": "event_accuracy",
    "background": "background_accuracy",
    "all event": "all_event_accuracy",
}


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
    methods: tuple[str, ...] = comparison.methods(("none", "ogm_ge"))
    seeds: tuple[int, ...] = comparison.seeds((0, 1, 2, 3, 4))
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
    launched.write_results(settings, "localization", results=results)
    print(table(results))


def table(results: dict[str, dict[str, comparison.Rows]]) -> str:
    """Returns Markdown: means and standard deviations, and paired differences against "none".

    Args:
      results: Of every network and method, what each seed gave, in the order of the seeds.
    """
    rows = [[network, *line] for network, own in results.items() for line in comparison.lines(own)]
    names = next(iter(next(iter(results.values())).values()))[0]
    return comparison.markdown(["network, supervision", "method", *names], rows)


def _result(
    settings: LocalizationSettings, model: str, supervision: str, method: str, seed: int
) -> dict[str, float | None]:
    features_dir = _features(settings, seed)
    run_dir = pathlib.Path(settings.output_dir) / f"{model}_{supervision}_{method}_seed{seed}"
    title = f"{model}, {supervision}, {method}, seed {seed}"
    logging.info("%s.", title)
    found = launched.train(
        "localize", run_dir, f"--flagfile={launched.preset(settings.preset_prefix, model)}",
        f"--features_dir={features_dir}", f"--model={model}", f"--supervision={supervision}",
        f"--modulation={method}", f"--seed={seed}",
    )  # fmt: skip
    result = {name: found[measure] for name, measure in MEASURES.items()}
    result["minutes"] = found["minutes"]
    logging.info("%s: %s", title, json.dumps(result))
    return result


def _features(settings: LocalizationSettings, seed: int) -> str:
    if settings.features_dir is not None:
        return settings.features_dir
    features_dir = pathlib.Path(settings.output_dir) / f"features_seed{seed}"
    # Of features that are there it compares the settings, and nothing else.
    launched.launch(
        "extract", "--dataset=synthetic_sequences", f"--dataset_seed={seed}",
        f"--output_dir={features_dir}",
    )  # fmt: skip
    return str(features_dir)


if __name__ == "__main__":
    launch(LocalizationSettings, run)
