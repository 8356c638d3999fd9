"""Images and outlines in one figure."""

import numpy as np

from legible.bench.leaderboard.figures.image_grid import ImageGrid


def test_an_outline_without_a_border_draws_nothing():
    grid = ImageGrid(1, 1, [""])
    grid.outline(0, 0, np.zeros((4, 4)), 0.0)
    grid.outline(0, 0, np.ones((4, 4)), 0.5)
    assert not grid.borders
    grid.outline(0, 0, np.eye(4), 0.5)
    assert grid.borders


def test_an_image_is_one_unit_wide_and_inside_the_axes():
    grid = ImageGrid(2, 3, ["a", "b"])
    grid.image(1, 2, np.zeros((1, 4, 4)))
    left, right, bottom, top = grid.axis.images[0].get_extent()
    assert right - left == bottom - top == 1
    (x0, x1), (y1, y0) = grid.axis.get_xlim(), grid.axis.get_ylim()
    assert x0 <= left < right <= x1
    assert y0 <= top < bottom <= y1


def test_a_map_with_negative_values_has_zero_in_the_middle():
    grid = ImageGrid(1, 2, [""])
    grid.heat(0, 0, np.array([[-1.0, 3.0]]))
    grid.heat(0, 1, np.array([[1.0, 3.0]]))
    assert [image.get_clim() for image in grid.axis.images] == [(-3, 3), (0, 3)]
