"""Figures of a data set: what they show, by numbers."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ogm_tf.analysis import data_figures, data_page, themes
from ogm_tf.analysis.summaries import ClipExample


def make_example(**changes):
    values = {
        "clip_id": "c$1", "label": "a" * 50, "frames": np.full((6, 20, 30, 3), 200, np.uint8),
        "spectrogram": np.zeros((5, 9)), "sample_rate_hz": 8000, "hop_length": 80,
        "predictions": {},
    }  # fmt: skip
    return ClipExample(**values | changes)


def test_every_class_has_a_bar_in_every_split():
    counts = {"train": {"cat": 30, "dog": 5}, "test": {"dog": 2}}
    names = ("dog", "cat", "$x_1$")
    train, test = data_figures.class_counts_figure(counts, names).axes
    assert [bar.get_width() for bar in train.patches] == [5, 30, 0]
    assert [bar.get_width() for bar in test.patches] == [2, 0, 0]
    assert [text.get_text() for text in train.get_yticklabels()] == list(names)
    assert train.get_title(loc="left") == "train"


def test_very_many_classes_are_shown_by_their_sizes():
    counts = {"train": {str(number): number for number in range(300)}}
    (axes,) = data_figures.class_counts_figure(counts, list(counts["train"])).axes
    assert axes.get_xlabel() == "classes, the largest first" and axes.get_ylim()[1] > 299


def test_lengths_are_counted_once_each():
    durations_s = {"train": [1.0, 2.0, 2.0], "test": [10.0]}
    (axes,) = data_figures.lengths_figure(durations_s, window_s=3.0).axes
    assert sum(bar.get_height() for bar in axes.containers[0]) == 3
    assert max(bar.get_y() + bar.get_height() for bar in axes.containers[1]) == 2
    assert axes.get_xlim()[0] < 1 and axes.get_xlim()[1] > 10
    # Clips of one length, the window's, are one bar on an axis that has a width.
    (axes,) = data_figures.lengths_figure({"train": [5.0] * 4}, window_s=5.0).axes
    assert [bar.get_height() for bar in axes.patches if bar.get_height()] == [4]


def test_nothing_on_the_sheet_lies_over_something_else():
    wide = make_example(label="M" * 60, clip_id="W" * 200, flow=np.full((2, 20, 30, 2), 0.5))
    examples = [wide] * 5 + [make_example()]
    note = "How this is to be read. " * 12
    figure = data_figures.contact_sheet_figure(examples, "title", note, theme=themes.DARK)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [item.get_window_extent(renderer) for item in [*figure.axes, *figure.texts]]
    assert len(figure.axes) == 5 * 3 + 2 and len(figure.texts) == 1 + 2 + 2 * 6
    assert figure.texts[-1].get_text() == "c$1" and figure.texts[3].get_text().endswith("M…")
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
        assert not any(box.shrunk(0.98, 0.98).overlaps(other) for other in boxes[:number])


def test_tables_align_numbers_to_the_right():
    table = data_page.Table("Title", ("name", "clips"), (("a", "1,234"), ("long", "–")))
    assert table.as_text() == "Title\n  name  clips\n  a     1,234\n  long      –"
    assert data_page.Table("Title", ("name",), ()).as_text() == "Title: none"


@pytest.mark.parametrize(
    ("draw", "received"),
    [
        (lambda: data_figures.class_counts_figure({}, ["a"]), r"Received: splits=\[\], 1 classes"),
        (lambda: data_figures.lengths_figure({"test": []}, 1.0), r"Received: splits=\['test'\]"),
        (lambda: data_figures.contact_sheet_figure([], "", ""), "Received: none"),
    ],
)
def test_nothing_to_draw_is_refused(draw, received):
    with pytest.raises(ValueError, match=received):
        draw()
