"""Maps over frames: the colours are where, when and as strong as the numbers."""

import numpy as np
import pytest

from ogm_tf.analysis import map_pictures
from ogm_tf.analysis.map_pictures import ACTIVATION, ATTENTION

GREY = np.full((8, 8, 3), 100, np.uint8)


def tint(picture):
    """How far each pixel is from grey, towards blue where > 0, towards orange where < 0."""
    return picture[..., 2].astype(float) - picture[..., 0]


def test_the_greatest_place_of_the_map_is_the_most_coloured_of_the_picture():
    for row, column in ((0, 0), (2, 1), (3, 3)):
        values = np.full((4, 4), 0.02)
        values[row, column] = 0.7
        picture = map_pictures.overlay(GREY, values, 0.7, ATTENTION)
        assert picture.shape == (192, 192, 3)
        place = np.unravel_index(np.argmin(tint(picture)), picture.shape[:2])
        assert (place[0] // 48, place[1] // 48) == (row, column)
        assert map_pictures.greatest(values) == (
            f"greatest, 0.7, at {column * 25 + 12.5:.0f}% from the left, "
            f"{row * 25 + 12.5:.0f}% from the top"
        )


def test_signs_have_colours_of_their_own_and_0_has_none():
    picture = map_pictures.overlay(GREY, [[2.0, -2.0], [0.0, 0.0]], 2.0, ACTIVATION)
    corners = picture[0, 0], picture[0, -1], picture[-1, 0]
    # 20 % of grey and 80 % of the colour, in the corners, where nothing is between two places.
    np.testing.assert_array_equal(corners[0], [38, 126, 224])
    np.testing.assert_array_equal(corners[1], [224, 118, 41])
    np.testing.assert_array_equal(corners[2], [100, 100, 100])
    half = map_pictures.overlay(GREY, [[2.0, -2.0], [0.0, 0.0]], 4.0, ACTIVATION)
    np.testing.assert_allclose(tint(half)[0, 0], tint(picture)[0, 0] / 2, atol=1)
    unknown = map_pictures.overlay(GREY, [[np.nan, np.inf]], 2.0, ACTIVATION)
    assert (unknown == 100).all() and map_pictures.greatest(np.array([[np.nan]])) == "not finite"


def test_resizing_is_linear_between_the_centres():
    found = map_pictures.resize([[0.0, 1.0]], 2, 8)
    np.testing.assert_allclose(found, [[0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1]] * 2)
    frame = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    np.testing.assert_array_equal(map_pictures.enlarged(frame), frame)


@pytest.mark.parametrize(
    ("num_steps", "num_frames", "steps"),
    [
        (4, 4, [0, 1, 2, 3]),
        (2, 8, [0, 0, 0, 0, 1, 1, 1, 1]),
        (2, 5, [0, 0, 1, 1, 1]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_every_frame_shows_the_step_it_lies_in(num_steps, num_frames, steps):
    assert map_pictures.steps_of_frames(num_steps, num_frames).tolist() == steps


def test_the_key_shows_the_colours_that_the_pictures_have():
    figure = map_pictures.key_figure(2.0, ACTIVATION, ends=("shifted", "in step"))
    (axes,) = figure.axes
    bar = axes.get_images()[0]
    assert bar.get_extent() == [-2, 2, 0, 1]
    grey = np.full((8, 8, 3), 127.5)
    for place, value in ((0, -2.0), (-1, 2.0)):
        picture = map_pictures.overlay(grey, [[value]], 2.0, ACTIVATION)
        np.testing.assert_allclose(bar.get_array()[0, place] * 255, picture[0, 0], atol=1)
    figure = map_pictures.key_figure(0.5, ATTENTION, even=0.25)
    (line,) = figure.axes[0].get_lines()
    assert list(line.get_xdata()) == [0.25, 0.25]
    assert figure.axes[0].get_images()[0].get_extent() == [0, 0.5, 0, 1]
