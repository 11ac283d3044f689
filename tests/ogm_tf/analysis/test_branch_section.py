"""What each modality could do, as figures, words and a table: they hold the numbers given."""

import numpy as np
import pytest

from ogm_tf.analysis import branch_figures, branch_section
from ogm_tf.analysis.branch_section import RunBranches

NAN = float("nan")
ACCURACIES = {
    "test": {
        "audio": {"alone": 0.9, "probe": 0.875, "branch": 0.85},
        "visual": {"alone": 0.8, "probe": 0.5, "branch": 0.3004},
    },
    "validation": {"audio": {"branch": 0.5}, "visual": {"alone": NAN}},
}
RUNS = [
    RunBranches("plain", ACCURACIES),
    RunBranches("<b>ge</b> $x$", {"test": {"visual": {"alone": 0.8, "branch": 0.6}}}),
]


def test_bars_are_as_long_as_the_accuracies():
    by_run = {run.name: run.accuracies["test"] for run in RUNS}
    figure = branch_figures.branch_figure(by_run, ("audio", "visual"), chance=1 / 3)
    audio, visual = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["audio", "visual"]
    widths = [bar.get_width() for bar in visual.patches]
    np.testing.assert_allclose(widths, [0.8, 0.5, 0.3004, 0.8, NAN, 0.6])
    tops = [bar.get_y() for bar in visual.patches]
    assert tops == sorted(tops) and visual.yaxis_inverted()
    texts = [text.get_text() for text in visual.texts]
    assert texts == ["plain", "0.80", "0.50", "0.30", "<b>ge</b> $x$", "0.80", "0.60"]
    assert [text.get_text() for text in audio.texts] == [
        "plain",
        "0.90",
        "0.88",
        "0.85",
        RUNS[1].name,
    ]
    legend = [text.get_text() for text in audio.get_legend().get_texts()]
    assert sorted(legend) == ["branch", "chance", "probe of encoder", "trained alone"]
    without = {"plain": {"audio": {"alone": NAN, "probe": 0.875, "branch": 0.85}}}
    (axes,) = branch_figures.branch_figure(without, ["audio"]).axes
    assert [bar.get_width() for bar in axes.patches] == [0.875, 0.85]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["probe of encoder", "branch"]
    with pytest.raises(ValueError, match=r"Received: runs=\[\], modalities=\['audio'\]"):
        branch_figures.branch_figure({}, ["audio"])


def test_curves_go_on_over_epochs_without_a_probe():
    curves = {
        "audio": {"probe": [NAN, 0.5, NAN, 0.75], "branch": [0.1, 0.2, 0.3, 0.4]},
        "visual": {},
    }
    figure = branch_figures.probe_curve_figure(curves)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_array_equal(lines["probe of encoder"].get_xydata(), [[1, 0.5], [3, 0.75]])
    np.testing.assert_array_equal(lines["branch"].get_ydata(), [0.1, 0.2, 0.3, 0.4])
    assert not figure.axes[1].get_lines()
    with pytest.raises(ValueError, match="at least one epoch. Received: .*'audio': {}"):
        branch_figures.probe_curve_figure({"audio": {}})


def test_the_part_says_who_stays_behind_and_tells_learning_from_use():
    section = branch_section.branch_section(RUNS, ("audio", "visual"), 3)
    assert section.values["sentences"] == [
        "plain: the visual branch answers 0.30 of the test split correctly, a linear probe of its "
        "encoder 0.50, and the same network trained on visual alone 0.80.",
        "<b>ge</b> $x$: the visual branch answers 0.60 of the test split correctly, the same "
        "network trained on visual alone 0.80.",
    ]
    rows = section.values["table"].rows
    assert rows == (
        ("plain", "audio", "test", "0.900", "0.875", "0.850", "+0.025", "+0.025"),
        ("plain", "visual", "test", "0.800", "0.500", "0.300", "+0.300", "+0.200"),
        (RUNS[1].name, "visual", "test", "0.800", "–", "0.600", "–", "–"),
    )
    ((_, images, text),) = section.values["bars"]
    assert "plain, visual: alone 0.80, probe 0.50, branch 0.30" in text
    assert all(image.startswith("data:image/svg+xml") for image in images)
    assert section.values["curves"] == []


def test_branches_alone_are_no_part():
    nothing = RunBranches("x", {"test": {"audio": {"branch": 0.5}}}, {"audio": {"branch": [0.5]}})
    assert branch_section.branch_section([nothing], ("audio",), 3) is None
    curves = {"audio": {"branch": [0.5, 0.6], "probe": [NAN, 0.75], "alone": [0.2, 0.9]}}
    probed = RunBranches("y", nothing.accuracies, curves)
    section = branch_section.branch_section([nothing, probed], ("audio",), 3)
    ((name, _, text),) = section.values["curves"]
    assert name == "y" and section.values["bars"] == [] and not section.values["table"].rows
    assert "audio: alone ends at 0.90, probe ends at 0.75, branch ends at 0.60." in text
