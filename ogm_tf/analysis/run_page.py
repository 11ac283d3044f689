"""What the pages about runs have in common: headlines, table, curves, settings, size."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from ogm_tf.analysis import comparison, figures, pages, run_figures, summaries
from ogm_tf.analysis.embedding import num_bytes_of, themed
from ogm_tf.analysis.headlines import Terms, headlines
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.seed_groups import group_by_seed, has_several_seeds
from ogm_tf.analysis.summaries import RunSummary
from ogm_tf.analysis.tables import Table

# A page under 5 MB can be sent by mail and opened on a phone.
_MAX_CURVES_BYTES = 3_200_000
# With the parts of what was found of the runs; what they leave is for the example clips.
_MAX_FIGURES_BYTES = 4_100_000
_MAX_PICTURES_BYTES = 4_600_000


def write_page(
    output_dir: str | os.PathLike,
    template: str,
    runs: Sequence[RunSummary],
    modalities: Sequence[str],
    class_names: Sequence[str],
    terms: Terms,
    clips_within: Callable[[int], list[dict[str, Any]]],
    num_clips: int,
    tables: Sequence[Table] = (),
    sections: Sequence[Section] = (),
    **values: Any,
) -> pathlib.Path:
    """Writes `index.html`, which needs nothing else, and `comparison.csv`.

    Args:
      output_dir: Folder, made where it is missing.
      template: Name of a file that extends `runs.html`.
      runs: Checked by `check_runs`, in the order they are shown.
      modalities: Names of what is balanced, in the order of the columns.
      class_names: Of all answers.
      terms: How the page calls what runs are judged by.
      clips_within: Returns what the template shows of each clip, in at most so many bytes.
      num_clips: Clips there are.
      tables: More tables, to follow the comparison.
      sections: More parts. They are shown whole, whatever their size.
      **values: What else the template shows.

    Returns:
      Path of `index.html`. Both files appear whole or not at all.
    """
    shared_figures = _shared_figures(runs)
    num_bytes = sum(len(image) for _, images, _ in shared_figures for image in images)
    sections_bytes = num_bytes_of([section.values for section in sections])
    max_bytes = min(_MAX_CURVES_BYTES + sections_bytes, _MAX_FIGURES_BYTES)
    num_bytes += sections_bytes
    run_figures = []
    for run in runs:
        drawn = _run_figures(run, runs, modalities, len(class_names), terms)
        num_bytes += sum(len(image) for _, images, _ in drawn for image in images)
        if num_bytes > max_bytes:
            logging.warning("The report has curves of %s of its runs.", len(run_figures))
            break
        run_figures.append((run, drawn))
    clips = clips_within(_MAX_PICTURES_BYTES - num_bytes)
    groups = group_by_seed(runs)
    seed_table = None
    if has_several_seeds(groups):
        seed_table = comparison.seed_table(groups, modalities, terms)
    headline, *more = headlines(runs, modalities, terms)
    page = pages.render(
        template,
        headline=headline,
        more_headlines=more,
        modalities=modalities,
        class_names=class_names,
        table=comparison.run_table(runs, modalities, terms),
        seed_table=seed_table,
        tables=tables,
        sections=sections,
        run_figures=run_figures,
        num_runs_left_out=len(runs) - len(run_figures),
        shared_figures=shared_figures,
        clips=clips,
        num_clips_left_out=num_clips - len(clips),
        run_names=[run.name for run in runs],
        settings=_settings(runs),
        **values,
    )
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    pages.write(folder / "comparison.csv", comparison.comparison_csv(runs).encode())
    for section in sections:
        for name, text in section.files.items():
            pages.write(folder / name, text.encode())
    pages.write(folder / "index.html", page.encode())
    return folder / "index.html"


def check_runs(
    runs: Sequence[RunSummary], modalities: Sequence[str], class_names: Sequence[str], terms: Terms
) -> None:
    """Checks what a page is to be about.

    Raises:
      ValueError: where there is no run, two share a name, a modality or class is missing, or a
        run's history does not fit them.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) != len(names):
        raise ValueError(f"A report needs runs of different names. Received: runs={names}.")
    for kind, values in (("modalities", modalities), ("class_names", class_names)):
        if isinstance(values, str) or not values:
            raise ValueError(f"`{kind}` must hold at least one name. Received: {kind}={values!r}.")
    for run in runs:
        run.check(modalities, terms.curves)


def _run_figures(
    run: RunSummary,
    runs: Sequence[RunSummary],
    modalities: Sequence[str],
    num_classes: int,
    terms: Terms,
) -> list[tuple[str, tuple[str, str], str]]:
    """Returns two figures of a run, of accuracy and of modulation: (caption, images, text)."""
    accuracy = themed(
        lambda theme: run_figures.accuracy(
            run, modalities, terms, chance=1 / num_classes, theme=theme
        )
    )
    # The same axis for every run, so that they can be compared.
    limits = figures.ratio_range(
        {
            (any_run.name, name): any_run.history[f"{name}_ratio"]
            for any_run in runs
            for name in modalities
        }
    )
    modulation = themed(
        lambda theme: run_figures.modulation(
            run, modalities, terms, ratio_limits=limits, theme=theme
        )
    )
    split, whole, branches = run_figures.accuracy_curves(run, modalities)
    ends = _last({terms.whole: whole, **branches})
    balance = run_figures.balance_curves(run, modalities, terms)
    window = f"epochs {run.window[0]} to {run.window[1]}" if run.window else "never modulated"
    return [
        (
            f"{split} {terms.unit}",
            accuracy,
            f"Accuracy per epoch of run {run.name} on {split} {terms.unit}. {ends}",
        ),
        (
            window,
            modulation,
            f"Balance per epoch of run {run.name}. "
            + " ".join(f"{kind.capitalize()}: {_last(own)}" for kind, own in balance.items()),
        ),
    ]


def _last(curves: Mapping[str, Sequence[float]]) -> str:
    ends = (f"{name} ends at {_end(values)}" for name, values in curves.items())
    return f"{', '.join(ends)}."


def _end(values: Sequence[float]) -> str:
    return "an unknown value" if values[-1] is None else f"{values[-1]:.3g}"


def _shared_figures(runs: Sequence[RunSummary]) -> list[tuple[str, tuple[str, str], str]]:
    """Returns figures that show all runs together: (title, images, text)."""
    losses = {run.name: run.history["loss"] for run in runs}
    images = themed(lambda theme: figures.loss_figure(losses, theme=theme))
    text = f"Training loss per epoch. {_last(losses)}"
    shown = [("Training loss", images, text)]
    for split in {
        noise[0]: None for noise in map(summaries.noise_of, summaries.split_names(runs)) if noise
    }:
        by_run = {run.name: _noise_curve(run, split) for run in runs}
        by_run = {name: curve for name, curve in by_run.items() if len(curve) > 1}
        if by_run:
            images = themed(lambda theme, by_run=by_run: figures.noise_figure(by_run, theme=theme))
            points = (f"{name}: {_points(curve)}" for name, curve in by_run.items())
            text = f"Fused accuracy on the {split} split by noise. {'; '.join(points)}."
            shown.append(
                (
                    f"Fused accuracy by noise in the sound, {split.replace('_', ' ')} split",
                    images,
                    text,
                )
            )
    return shown


def _points(curve: Mapping[float, float]) -> str:
    return ", ".join(f"{comparison.number(y)} at {x:g} dB" for x, y in curve.items())


def _noise_curve(run: RunSummary, split: str) -> dict[float, float]:
    noisy = {name: summaries.noise_of(name) for name in run.metrics}
    return {
        noise[1]: run.metric(name, "accuracy")
        for name, noise in noisy.items()
        if noise and noise[0] == split and math.isfinite(noise[1])
    }


def _settings(runs: Sequence[RunSummary]) -> list[tuple[str, list[str], bool]]:
    """Returns each setting's name, its value in every run, and whether runs differ in it."""
    flat = [_flatten(run.config) for run in runs]
    rows = []
    for name in sorted({name for settings in flat for name in settings}):
        values = [settings.get(name, "–") for settings in flat]
        rows.append((name, values, len(set(values)) > 1))
    return rows


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            is_text = isinstance(value, str)
            flat[f"{prefix}{name}"] = value if is_text else json.dumps(value, default=str)
    return flat
