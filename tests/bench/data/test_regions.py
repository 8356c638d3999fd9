"""Regions of concepts, drawn as masks."""

import numpy as np
import pytest
from PIL import Image

from legible.bench.data.framing import frame_of, read_sizing
from legible.bench.data.image_files import TURNS
from legible.bench.data.regions import NOTHING, Region, drawn_region, turned


def draw(extent, shape, width=40, height=30, recipe="centre", size=30, scale=1):
    sizing = read_sizing(size, recipe, "grey")
    region = Region(0, extent, np.asarray(shape, float) if extent != "mask" else shape)
    return drawn_region(region, frame_of(width, height, sizing), scale, sizing)


def columns_and_rows(mask):
    rows, columns = mask.nonzero()
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_box_is_filled_and_cut_at_the_frame():
    assert columns_and_rows(draw("box", [10, 5, 20, 25])) == (5, 5, 15, 25)
    assert draw("box", [10, 5, 20, 25]).sum() == 200
    assert columns_and_rows(draw("box", [-9, -9, 20, 99])) == (0, 0, 15, 30)
    assert not draw("box", [0, 0, 5, 30]).any()  # cropped away
    assert not draw("box", [50, 5, 60, 25]).any()
    assert not draw("box", [20, 5, 10, 25]).any()  # a negative width


def test_a_box_smaller_than_a_pixel_is_one_pixel():
    assert columns_and_rows(draw("box", [20.6, 10.6, 20.8, 10.9])) == (15, 10, 16, 11)
    assert draw("box", [34.9, 29.9, 36, 31]).sum() == 1


def test_a_point_is_a_disc_of_two_per_cent_and_at_least_a_pixel():
    disc = draw("point", [250, 250], 500, 500, size=500)
    assert disc.sum() == pytest.approx(np.pi * 100, rel=0.05)
    assert columns_and_rows(disc) == (240, 240, 260, 260)
    assert draw("point", [20.5, 10.5]).sum() == 1 and draw("point", [20, 10]).sum() == 4
    assert not draw("point", [2, 10]).any()


def test_the_whole_image_leaves_the_border_out():
    assert draw("image", NOTHING).all()
    assert columns_and_rows(draw("image", NOTHING, 40, 20, "whole")) == (0, 7, 30, 22)


def test_annotations_smaller_than_their_image():
    assert columns_and_rows(draw("box", [5, 2.5, 10, 12.5], scale=2)) == (5, 5, 15, 25)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_and_points_turn_like_masks(orientation):
    mask = np.zeros((30, 40), bool)
    mask[5:12, 10:20] = True
    turn = turned(Region(0, "mask", mask), orientation, 40, 30).shape
    assert (turn == np.asarray(Image.fromarray(mask).transpose(TURNS[orientation]))).all()
    box = turned(Region(0, "box", np.array([10.0, 5, 20, 12])), orientation, 40, 30).shape
    assert tuple(box) == columns_and_rows(turn)
    corner = turned(Region(0, "point", np.array([10.0, 5])), orientation, 40, 30).shape
    assert corner[0] in box[::2] and corner[1] in box[1::2]
