"""Figures hold the numbers they are given, and only those."""

import base64

import numpy as np
import pytest
from matplotlib import pyplot

from ogm_tf.analysis import clip_figures, embedding, figures


def line(axes, label):
    (found,) = [drawn for drawn in axes.get_lines() if drawn.get_label() == label]
    return found


def test_accuracy_curves_leave_gaps_and_keep_each_modality_its_colour():
    figure = figures.accuracy_figure(
        [0.1, None, 0.3], {"audio": [0.2, float("nan"), 0.4], "visual": [0, 0, 1]},
        chance=0.25, best_epoch=2,
    )  # fmt: skip
    (axes,) = figure.axes
    np.testing.assert_array_equal(line(axes, "fused").get_ydata(), [0.1, np.nan, 0.3])
    np.testing.assert_array_equal(line(axes, "audio").get_ydata(), [0.2, np.nan, 0.4])
    np.testing.assert_array_equal(line(axes, "epoch kept").get_xdata(), [2, 2])
    other = figures.modulation_figure({"audio": [1], "visual": [1]}, {"audio": [1], "visual": [1]})
    for axes_ in other.axes:
        for name in ("audio", "visual"):
            assert line(axes_, name).get_color() == line(axes, name).get_color()
            assert line(axes_, name).get_linestyle() == line(axes, name).get_linestyle()


def test_ratios_are_on_a_log_scale_with_the_window_shaded():
    ratios = {"audio": [1, 4, np.float32(3.4e38)], "visual": [1, 0.25, 0]}
    figure = figures.modulation_figure(ratios, {"audio": [1, 0.5, 0]}, window=(1, 2))
    above, below = figure.axes
    assert above.get_yscale() == "log" and below.get_yscale() == "linear"
    low, high = above.get_ylim()
    assert low * high == pytest.approx(1) and 1e3 < high < 2e3
    for axes in figure.axes:
        (shade,) = [patch for patch in axes.patches if patch.get_label() == "modulated"]
        assert (shade.get_x(), shade.get_width()) == (0.5, 2)


def test_scores_are_drawn_above_the_ratios_that_follow_from_them():
    scores = {"positive": [0.5, 0.75], "negative": [0.5, None]}
    ratios = {"positive": [1, 3.0], "negative": [1, 1 / 3]}
    figure = figures.modulation_figure(ratios, ratios, scores=scores, window=(0, 0))
    above, middle, _ = figure.axes
    np.testing.assert_array_equal(line(above, "negative").get_ydata(), [0.5, np.nan])
    np.testing.assert_array_equal(line(above, "positive").get_ydata(), [0.5, 0.75])
    np.testing.assert_array_equal(line(middle, "positive").get_ydata(), [1, 3])
    assert above.get_ylim() == (0, 1.02) and middle.get_yscale() == "log"
    assert [axes.get_ylabel() for axes in figure.axes] == ["score", "ratio (log)", "coefficient"]
    assert line(above, "positive").get_color() == line(middle, "positive").get_color()


def test_spectrogram_axes_are_seconds_and_kilohertz():
    (axes,) = clip_figures.spectrogram_figure(np.zeros((257, 300)), 16_000, 160).axes
    assert axes.get_images()[0].get_extent() == [0, 3, 0, 8]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "frequency (kHz)")
    (axes,) = clip_figures.spectrogram_figure(np.zeros((2, 300)), 16_000, 160, start_s=1.5).axes
    assert axes.get_images()[0].get_extent() == [1.5, 4.5, 0, 8]


def test_mel_filters_are_counted():
    (axes,) = clip_figures.spectrogram_figure(np.zeros((64, 100)), 16_000, 160, is_mel=True).axes
    assert axes.get_images()[0].get_extent() == [0, 1, 0, 64]
    assert axes.get_ylabel() == "mel filter"


def test_flow_is_coloured_by_its_direction():
    flow = np.full((1, 2, 2, 2), 0.5)
    # Right, left, and half as fast to the right.
    flow[0, 0, :, 0] = [1.0, 0.0]
    flow[0, 1, 0, 0] = 0.75
    pictures = clip_figures.flow_pictures(flow)
    expected = [[[255, 0, 0], [0, 255, 255]], [[255, 128, 128], [255, 255, 255]]]
    np.testing.assert_allclose(pictures[0], expected, atol=1)
    # The camera's noise is not made to look like motion.
    assert clip_figures.flow_pictures(np.full((1, 2, 2, 2), 128 / 255)).min() > 200


def test_figures_encode_the_same_every_time_and_leave_pyplot_alone():
    before = pyplot.get_fignums()
    losses = {"$a_{": [np.nan], "_b": [1.0, 0.5]}
    first, second = (embedding.to_svg_data_uri(figures.loss_figure(losses)) for _ in range(2))
    assert first == second and first.startswith("data:image/svg+xml;base64,")
    png = embedding.to_png_data_uri(figures.noise_figure({"a": {5.0: 0.5, -5.0: 0.25}}))
    assert base64.b64decode(png.split(",")[1]).startswith(b"\x89PNG")
    assert pyplot.get_fignums() == before


def test_pictures_are_shrunk_by_whole_factors():
    wide = np.zeros((3, 1000, 3), np.uint8)
    assert embedding.picture_to_data_uri(wide).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("draw", "received"),
    [
        (lambda: figures.accuracy_figure([], {}), r"Received: \{'fused': 0\}"),
        (lambda: figures.accuracy_figure([1], {"a": [1, 2]}), r"Received: .*'a': 2"),
        (lambda: figures.loss_figure({}), r"Received: curves=\{\}"),
        (lambda: figures.noise_figure({"a": {}}), "Received: curves="),
        (
            lambda: clip_figures.spectrogram_figure(np.zeros((2, 2)), 0, 1),
            "Received: sample_rate_hz=0",
        ),
    ],
)
def test_nothing_to_draw_is_refused(draw, received):
    with pytest.raises(ValueError, match=received):
        draw()
