"""The recipe of size."""

import numpy as np
import pytest
from PIL import Image

from legible.bench.data.framing import (
    Frame,
    frame_of,
    framed_image,
    framed_mask,
    framed_point,
    read_sizing,
)


def sizing(recipe, size=8, background="black"):
    return read_sizing(size, recipe, background)


def test_the_frame_of_each_recipe():
    assert frame_of(40, 30, sizing("centre")) == Frame((5, 0, 35, 30), (0, 0, 8, 8))
    assert frame_of(80, 160, sizing("short")) == Frame((5, 45, 75, 115), (0, 0, 8, 8))
    assert frame_of(40, 20, sizing("whole")) == Frame((0, 0, 40, 20), (0, 2, 8, 4))
    assert frame_of(1, 1000, sizing("whole")) == Frame((0, 0, 1, 1000), (3, 0, 1, 8))


def test_short_is_the_crop_of_torchvisions_evaluation():
    """The short side becomes 256, and the centre of 224 is cut out: 7/8 of the side."""
    box = frame_of(512, 256, sizing("short", 224)).box
    assert box == (256 - 112, 128 - 112, 256 + 112, 128 + 112)


def test_the_border_of_a_whole_image_has_the_background():
    image = Image.new("RGB", (40, 20), (255, 255, 255))
    recipe = sizing("whole", background="#102030")
    pixels = framed_image(image, frame_of(40, 20, recipe), recipe)
    assert pixels.shape == (3, 8, 8) and (pixels[:, 2:6] == 255).all()
    assert pixels[:, 0, 0].tolist() == [16, 32, 48] == pixels[:, 7, 7].tolist()


def test_a_mask_has_the_pixels_that_it_covers_by_half():
    mask = np.zeros((30, 40), bool)
    mask[:, 5:20] = True  # with the crop from 5 to 35, the left half
    frame = frame_of(40, 30, sizing("centre", 10))
    assert framed_mask(mask, frame, 1, 10).all(0).tolist() == [True] * 5 + [False] * 5
    mask[:, 20:22] = True  # two thirds of the next column
    assert framed_mask(mask, frame, 1, 10).all(0).tolist() == [True] * 6 + [False] * 4
    mask[:, 21] = False  # one third
    assert framed_mask(mask, frame, 1, 10).all(0).tolist() == [True] * 5 + [False] * 5


def test_a_small_mask_does_not_vanish_and_one_outside_does():
    mask = np.zeros((300, 400), bool)
    mask[150, 200] = True
    frame = frame_of(400, 300, sizing("centre", 10))
    assert framed_mask(mask, frame, 1, 10).nonzero() == (np.array([5]), np.array([5]))
    mask = np.zeros((300, 400), bool)
    mask[:, :50] = True  # cropped away
    assert not framed_mask(mask, frame, 1, 10).any()


def test_masks_smaller_than_their_image():
    mask = np.zeros((15, 20), bool)
    mask[:, :10] = True
    frame = frame_of(40, 30, sizing("centre", 10))
    assert framed_mask(mask, frame, 2, 10).all(0).tolist() == [True] * 5 + [False] * 5


def test_enlarged_masks_keep_their_pixels():
    mask = np.eye(4, dtype=bool)
    frame = frame_of(4, 4, sizing("centre"))
    assert (framed_mask(mask, frame, 1, 8) == np.kron(mask, np.ones((2, 2), bool))).all()


def test_points():
    frame = frame_of(40, 30, sizing("centre", 15))
    assert framed_point(20, 15, frame) == (7.5, 7.5)
    assert framed_point(5, 0, frame) == (0, 0)
    assert framed_point(4.9, 15, frame) is None and framed_point(35, 15, frame) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((4, "centre", "grey"), "size must be between 8 and 512"),
        ((32, "center", "grey"), "resize must be one of centre, short, whole"),
        ((32, "centre", "greyish"), "background must be an opaque colour"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        read_sizing(*parameters)
