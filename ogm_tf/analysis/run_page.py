"""What the pages about runs have in common: headlines, table, curves, settings, size."""

import csv
import io
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from ogm_tf.analysis import figures, pages, summaries
from ogm_tf.analysis.embedding import num_bytes_of, themed
from ogm_tf.analysis.headlines import Terms, headlines
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import RunSummary
from ogm_tf.analysis.tables import Table

# A page under 5 MB can be sent by mail and opened on a phone.
_MAX_CURVES_BYTES = 3_200_000
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
      sections: More parts, to follow the curves. They are shown whole, whatever their size.
      **values: What else the template shows.

    Returns:
      Path of `index.html`. Both files appear whole or not at all.
    """
    shared_figures = _shared_figures(runs)
    num_bytes = sum(len(image) for _, images, _ in shared_figures for image in images)
    num_bytes += num_bytes_of([section.values for section in sections])
    run_figures = []
    for run in runs:
        drawn = _run_figures(run, runs, modalities, len(class_names), terms)
        num_bytes += sum(len(image) for _, images, _ in drawn for image in images)
        if num_bytes > _MAX_CURVES_BYTES:
            logging.warning("The report has curves of %s of its runs.", len(run_figures))
            break
        run_figures.append((run, drawn))
    clips = clips_within(_MAX_PICTURES_BYTES - num_bytes)
    headline, *more = headlines(runs, modalities, terms)
    page = pages.render(
        template,
        headline=headline,
        more_headlines=more,
        modalities=modalities,
        class_names=class_names,
        table=_table(runs, modalities, terms),
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
    pages.write(folder / "comparison.csv", _comparison_csv(runs).encode())
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


def _table(runs: Sequence[RunSummary], modalities: Sequence[str], terms: Terms) -> dict[str, Any]:
    """Returns columns and, for each split, rows of cells (text, is the split's highest)."""
    columns = {"accuracy": terms.whole} | {f"{name}_accuracy": name for name in modalities}
    if terms.has_ranking:
        columns["mean_average_precision"] = "mAP"
    groups = []
    for split in summaries.split_names(runs):
        values = np.array([[run.metric(split, metric) for metric in columns] for run in runs])
        shown = [run for run in runs if split in run.metrics]
        rows = []
        for run in shown:
            cells = []
            for index, metric in enumerate(columns):
                value = run.metric(split, metric)
                # As printed: a lead that is rounded away is none.
                others = np.round(values[:, index], 3)
                is_highest = len(shown) > 1 and round(value, 3) == np.nanmax([-1, *others])
                cells.append((_number(value), is_highest))
            rows.append((run, cells, _alpha(run)))
        groups.append((summaries.split_title(split), rows))
    return {"columns": list(columns.values()), "groups": groups}


def _alpha(run: RunSummary) -> str:
    alpha = run.config.get("alpha")
    return "–" if alpha is None or not run.is_modulated else str(alpha)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _comparison_csv(runs: Sequence[RunSummary]) -> str:
    """Returns one row for each run and split, with every metric there is."""
    metrics = {name: None for run in runs for split in run.metrics.values() for name in split}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "modulation", "alpha", "best_epoch", "split", *metrics])
    for run in runs:
        alpha = run.config.get("alpha") if run.is_modulated else None
        for split in sorted(run.metrics, key=summaries.split_names(runs).index):
            values = [run.metric(split, name) for name in metrics]
            values = [value if math.isfinite(value) else "" for value in values]
            head = [run.name, run.modulation or "none", alpha, run.best_epoch, split]
            writer.writerow([*head, *values])
    return text.getvalue()


def _run_figures(
    run: RunSummary,
    runs: Sequence[RunSummary],
    modalities: Sequence[str],
    num_classes: int,
    terms: Terms,
) -> list[tuple[str, tuple[str, str], str]]:
    """Returns two figures of a run, of accuracy and of modulation: (caption, images, text)."""
    prefix, split = _accuracy_columns(run, modalities)
    whole = run.history[f"{prefix}accuracy"]
    branches = {name: run.history[f"{prefix}{name}_accuracy"] for name in modalities}
    accuracy = themed(
        lambda theme: figures.accuracy_figure(
            whole,
            branches,
            whole_name=terms.whole,
            chance=1 / num_classes,
            best_epoch=run.best_epoch,
            theme=theme,
        )
    )
    curves = {
        kind: {name: run.history[f"{name}_{kind}"] for name in modalities}
        for kind in terms.curves[1:]
    }
    # The same axis for every run, so that they can be compared.
    limits = figures.ratio_range(
        {
            (any_run.name, name): any_run.history[f"{name}_ratio"]
            for any_run in runs
            for name in modalities
        }
    )
    modulation = themed(
        lambda theme: figures.modulation_figure(
            curves["ratio"],
            curves["coefficient"],
            scores=curves.get("score"),
            window=run.window,
            ratio_limits=limits,
            theme=theme,
        )
    )
    last = _last({terms.whole: whole, **branches})
    window = f"epochs {run.window[0]} to {run.window[1]}" if run.window else "never modulated"
    return [
        (
            f"{split} {terms.unit}",
            accuracy,
            f"Accuracy per epoch of run {run.name} on {split} {terms.unit}. {last}",
        ),
        (
            window,
            modulation,
            f"Balance per epoch of run {run.name}. "
            + " ".join(f"{kind.capitalize()}: {_last(own)}" for kind, own in curves.items()),
        ),
    ]


def _accuracy_columns(run: RunSummary, modalities: Sequence[str]) -> tuple[str, str]:
    needed = ["val_accuracy", *(f"val_{name}_accuracy" for name in modalities)]
    if all(column in run.history for column in needed):
        return "val_", "validation"
    return "", "training"


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
            points = (
                f"{name}: " + ", ".join(f"{_number(y)} at {x:g} dB" for x, y in curve.items())
                for name, curve in by_run.items()
            )
            text = f"Fused accuracy on the {split} split by noise. {'; '.join(points)}."
            shown.append(
                (
                    f"Fused accuracy by noise in the sound, {split.replace('_', ' ')} split",
                    images,
                    text,
                )
            )
    return shown


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
