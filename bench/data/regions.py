"""Regions of concepts in photographs: masks, boxes, points and whole images, drawn as masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image

from legible.bench.data.framing import Frame, Sizing, framed_mask, framed_point
from legible.bench.data.image_files import TURNS

#: What a region may be, from the most to the least exact.
EXTENTS = ("mask", "box", "point", "image")


class Region(NamedTuple):
    """One place where a concept is: a mask, a box, a point, or the whole image.

    ``shape`` is a bool array (height, width) for a mask; left, top, right and bottom for a box; x
    and y for a point; nothing for an image. Coordinates are pixels of the annotation, from 0 at the
    image's left and upper border.
    """

    concept: int
    extent: str
    shape: np.ndarray


#: The shape of a region that is the whole image.
NOTHING = np.zeros(0)


def drawn_region(
    region: Region, frame: Frame, scale: int, sizing: Sizing
) -> Bool[np.ndarray, "size size"]:
    """The region as a mask in its image's square: boxes are filled, points are small discs.

    Empty if it lies outside the frame. The image is ``scale`` times as large as its annotation.
    """
    size = sizing.size
    if region.extent == "mask":
        return framed_mask(region.shape, frame, scale, size)
    if region.extent == "box":
        return _filled_box(region.shape * scale, frame, size)
    if region.extent == "point":
        return _disc(region.shape * scale, frame, sizing)
    left, top, wide, high = frame.place
    square = np.zeros((size, size), bool)
    square[top : top + high, left : left + wide] = True
    return square


def _filled_box(box: np.ndarray, frame: Frame, size: int) -> Bool[np.ndarray, "size size"]:
    """The pixels whose centres lie in the box; at least one if the box meets the frame."""
    corners = np.clip(
        box.reshape(2, 2), np.asarray(frame.box[:2]), np.asarray(frame.box[2:])
    )  # the part inside the frame
    square = np.zeros((size, size), bool)
    if (corners[1] <= corners[0]).any():
        return square
    place, part = np.asarray(frame.place), np.asarray(frame.box)
    scale = place[2:] / (part[2:] - part[:2])
    low, high = place[:2] + (corners - part[:2]) * scale
    first = np.ceil(low - 0.5).astype(int)
    last = np.ceil(high - 0.5).astype(int)  # one past the last pixel
    thin = last <= first
    first[thin] = np.minimum(((low + high) / 2)[thin].astype(int), size - 1)
    last[thin] = first[thin] + 1
    square[first[1] : last[1], first[0] : last[0]] = True
    return square


def _disc(point: np.ndarray, frame: Frame, sizing: Sizing) -> Bool[np.ndarray, "size size"]:
    size = sizing.size
    place = framed_point(float(point[0]), float(point[1]), frame)
    if place is None:
        return np.zeros((size, size), bool)
    centres = np.arange(size) + 0.5
    distance = np.hypot(centres[None] - place[0], centres[:, None] - place[1])
    near: np.ndarray = distance <= max(sizing.disc * size, 0.71)  # at least one pixel
    return near


def turned(region: Region, orientation: int, width: int, height: int) -> Region:
    """A region of the stored image, in the image that its EXIF orientation has turned upright.

    ``width`` and ``height`` are the stored image's, in pixels of the annotation.
    """
    if region.extent == "mask":
        image = Image.fromarray(region.shape).transpose(TURNS[orientation])
        return region._replace(shape=np.asarray(image))
    points = region.shape.reshape(-1, 2)
    x, y = points[:, 0], points[:, 1]
    x, y = {
        5: (y, x), 6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x),
    }[orientation]  # fmt: skip
    if region.extent == "box":
        x, y = np.sort(x), np.sort(y)
    return region._replace(shape=np.stack([x, y], 1).reshape(-1))
