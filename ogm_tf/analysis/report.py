"""One page about some runs: what modulation changed, curves, clips, settings.

    runs = [report.RunSummary("concat", "none", config, history, metrics, best_epoch=17), ...]
    report.write_report("reports/mine", runs, examples, ("audio", "visual"), class_names)

`index.html` needs no other file and no network; `comparison.csv` beside it holds its numbers.
"""

import os
import pathlib
from collections.abc import Sequence

from ogm_tf.analysis import run_page
from ogm_tf.analysis.clips import clip_views
from ogm_tf.analysis.headlines import BRANCHES
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import ClipExample, RunSummary
from ogm_tf.analysis.tables import Table

__all__ = ["ClipExample", "RunSummary", "write_report"]


def write_report(
    output_dir: str | os.PathLike,
    runs: Sequence[RunSummary],
    examples: Sequence[ClipExample],
    modalities: Sequence[str],
    class_names: Sequence[str],
    title: str = "Balanced audio-visual learning",
    tables: Sequence[Table] = (),
    sections: Sequence[Section] = (),
) -> pathlib.Path:
    """Writes `index.html`, which needs nothing else, and `comparison.csv`.

    Args:
      output_dir: Folder, made where it is missing.
      runs: At least one, in the order they are shown.
      examples: Clips to show. What would make the page too large is left out (the last clips; the
        curves of the last of many runs), which page and log say, and long sounds are cut.
      modalities: Names, in the order of the columns.
      class_names: Of all classes.
      title: Of the page.
      tables: To follow the comparison.
      sections: More parts.

    Returns:
      Path of `index.html`. Both files appear whole or not at all.

    Raises:
      ValueError: where there is no run, two share a name, a modality or class is missing, or a run
        or an example does not fit them.
    """
    runs, examples = list(runs), list(examples)
    run_page.check_runs(runs, modalities, class_names, BRANCHES)
    run_names = [run.name for run in runs]
    for example in examples:
        example.check(run_names, class_names)
    return run_page.write_page(
        output_dir,
        "report.html",
        runs,
        modalities,
        class_names,
        BRANCHES,
        lambda max_bytes: clip_views(examples, run_names, modalities, max_bytes),
        len(examples),
        tables,
        sections,
        title=title,
    )
