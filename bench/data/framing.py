"""The recipe of size: how images of mixed sizes, and their masks, become squares of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from PIL import Image

from legible.bench.data.image_files import Colour, parse_colour
from legible.bench.data.parameter_checks import between, one_of

#: The recipes by name.
RECIPES = {
    "centre": "the largest square at the centre",
    "short": "the square of 7/8 of the short side at the centre, as ImageNet networks are tested",
    "whole": "the whole image, with a border that makes it square",
}


@dataclass(frozen=True)
class Sizing:
    """A recipe of size with its parameters; ``disc`` is the radius of points over the size."""

    size: int
    recipe: str
    background: Colour
    disc: float = 0.02

    def key(self) -> list[object]:
        """The parameters as JSON values."""
        return [self.size, self.recipe, list(self.background), self.disc]


def read_sizing(size: int, resize: str, background: str) -> Sizing:
    """A recipe of size from a loader's parameters. Raises ValueError."""
    between("size", size, 8, 512)
    one_of("resize", resize, RECIPES)
    return Sizing(size, resize, parse_colour("background", background))


class Frame(NamedTuple):
    """The part of an image that is shown (left, top, right, bottom; in pixels), and its place in
    the square (left, top, width, height)."""

    box: tuple[float, float, float, float]
    place: tuple[int, int, int, int]


def frame_of(width: int, height: int, sizing: Sizing) -> Frame:
    """Where an image of that width and height lies in its square."""
    size = sizing.size
    if sizing.recipe == "whole":
        longest = max(width, height)
        wide, high = (max(1, round(side * size / longest)) for side in (width, height))
        return Frame((0, 0, width, height), ((size - wide) // 2, (size - high) // 2, wide, high))
    side = min(width, height) * (7 / 8 if sizing.recipe == "short" else 1.0)
    left, top = (width - side) / 2, (height - side) / 2
    return Frame((left, top, left + side, top + side), (0, 0, size, size))


def framed_image(
    image: Image.Image, frame: Frame, sizing: Sizing
) -> UInt8[np.ndarray, "3 size size"]:
    """The image in its square, channels first."""
    left, top, wide, high = frame.place
    part = image.resize((wide, high), Image.Resampling.BILINEAR, box=frame.box)
    square = Image.new("RGB", (sizing.size, sizing.size), sizing.background)
    square.paste(part, (left, top))
    return np.asarray(square).transpose(2, 0, 1)


def framed_mask(
    mask: Bool[np.ndarray, "height width"], frame: Frame, scale: int, size: int
) -> Bool[np.ndarray, "size size"]:
    """A mask in its image's square: the pixels of which it covers a half or more.

    If there are none, the pixels that it covers most, so that a small thing does not vanish. Empty
    if the mask lies outside the frame. The image is ``scale`` times as large as the mask.
    """
    left, top, wide, high = frame.place
    first_x, first_y, last_x, last_y = (edge / scale for edge in frame.box)
    square = np.zeros((size, size), bool)
    columns = np.flatnonzero(mask.any(0))
    if not len(columns):
        return square
    part = slice(columns[0], columns[-1] + 1)
    by_row = np.zeros((high, mask.shape[1]))
    by_row[:, part] = _shares(mask[:, part], np.linspace(first_y, last_y, high + 1))
    share = _shares(by_row.T, np.linspace(first_x, last_x, wide + 1)).T
    if (most := share.max()) > 1e-9:
        square[top : top + high, left : left + wide] = share >= min(0.5, most) - 1e-9
    return square


def _shares(
    values: Num[np.ndarray, "lines columns"] | Bool[np.ndarray, "lines columns"],
    edges: Float[np.ndarray, "bands_and_one"],
) -> Float[np.ndarray, "bands columns"]:
    """The mean over the lines between each two neighbouring edges, which may lie within lines."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    line = np.clip(edges.astype(int), 0, len(values) - 1)
    sums_at = sums[line] + (edges - line)[:, None] * values[line]
    means: np.ndarray = np.diff(sums_at, axis=0) / np.diff(edges)[:, None]
    return means


def framed_point(x: float, y: float, frame: Frame) -> tuple[float, float] | None:
    """A point of the image in the square's pixels; None outside the frame."""
    left, top, right, bottom = frame.box
    if not (left <= x < right and top <= y < bottom):
        return None
    place_left, place_top, wide, high = frame.place
    return (
        place_left + (x - left) * wide / (right - left),
        place_top + (y - top) * high / (bottom - top),
    )
