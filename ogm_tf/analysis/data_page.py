"""One page about a data set: its clips as a model gets them, its classes, what is wrong with it.

`index.html` needs no other file and no network; beside it are `contact_sheet.png`, its clips, and
its charts, `classes.png` and `lengths.png`.
"""

import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping, Sequence

from ogm_tf.analysis import data_figures, pages, themes
from ogm_tf.analysis.clips import clip_views
from ogm_tf.analysis.embedding import themed
from ogm_tf.analysis.summaries import ClipExample
from ogm_tf.analysis.tables import Table

_MAX_PICTURES_BYTES, _MAX_SOUND_BYTES = 24_000_000, 8_000_000
# The second is what can be drawn at all.
_DOTS_PER_INCH, _MAX_PIXELS = 110, 60_000


@dataclasses.dataclass(frozen=True)
class DataSummary:
    """What the page shows.

    Args:
      title: Of the page: what data it is.
      headline: What there is, in a sentence.
      warnings: What must be looked at, in sentences.
      sheet_note: What the clips are of.
      reading_note: How pictures of them are to be read.
      examples: Clips; what the runs say of them is not shown.
      tables: In the order they are shown.
      counts: Clips by class, for each split.
      class_names: All classes in their order.
      durations_s: Of every clip of each split, seconds.
      window_s: What the model gets of a clip, seconds.
      settings: Names and values.
    """

    title: str
    headline: str
    warnings: Sequence[str]
    sheet_note: str
    reading_note: str
    examples: Sequence[ClipExample]
    tables: Sequence[Table]
    counts: Mapping[str, Mapping[str, int]]
    class_names: Sequence[str]
    durations_s: Mapping[str, Sequence[float]]
    window_s: float
    settings: Mapping[str, str]


def write_page(output_dir: str | os.PathLike, summary: DataSummary) -> pathlib.Path:
    """Writes `index.html`, which needs nothing else, and its figures beside it.

    Args:
      output_dir: Folder, made where it is missing.
      summary: What is shown.

    Returns:
      Path of `index.html`. Files appear whole or not at all.

    Raises:
      ValueError: where there is no clip, or a clip does not fit the classes.
    """
    for example in summary.examples:
        example.check((), summary.class_names)
    sheet = data_figures.contact_sheet_figure(
        summary.examples, summary.title, f"{summary.sheet_note} {summary.reading_note}"
    )
    clips = clip_views(summary.examples, (), (), _MAX_PICTURES_BYTES, _MAX_SOUND_BYTES)

    def draw_counts(theme=themes.LIGHT):
        return data_figures.class_counts_figure(summary.counts, summary.class_names, theme=theme)

    def draw_lengths(theme=themes.LIGHT):
        return data_figures.lengths_figure(summary.durations_s, summary.window_s, theme=theme)

    page = pages.render(
        "data.html",
        summary=summary,
        clips=clips,
        num_clips_left_out=len(summary.examples) - len(clips),
        counts=themed(draw_counts),
        lengths=themed(draw_lengths),
    )
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("contact_sheet", sheet),
        ("classes", draw_counts()),
        ("lengths", draw_lengths()),
    ):
        png = io.BytesIO()
        dots_per_inch = min(_DOTS_PER_INCH, _MAX_PIXELS / max(figure.get_size_inches()))
        figure.savefig(png, format="png", dpi=dots_per_inch, metadata={"Software": None})
        pages.write(folder / f"{name}.png", png.getvalue())
    pages.write(folder / "index.html", page.encode())
    return folder / "index.html"
