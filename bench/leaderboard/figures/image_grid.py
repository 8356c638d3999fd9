"""Many images, maps and outlines in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from contourpy import contour_generator
from jaxtyping import Float
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from legible.bench.leaderboard.figures.style import HEAT, bare, drawable, pixels, upsample

INCH = 0.72  # width of an image: 64 pixels of a PNG, twice 32
GAP = 0.06  # between images, as a share of their width
FINE = 48  # pixels on a side of the map that an outline is computed on


class ImageGrid:
    """Images in rows and columns on one pair of axes, with a title left of each row.

    An image is one unit wide; the number of a column may be a fraction. ``below`` and ``above``
    leave room for text at each image, as a share of its width.
    """

    def __init__(
        self,
        rows: int,
        columns: float,
        titles: Sequence[str],
        below: float = 0.0,
        above: float = 0.0,
    ) -> None:
        self.step = 1 + GAP + below + above
        width, height = columns * (1 + GAP), rows * self.step
        room = 1.1 if any(titles) else 0.0
        self.figure = Figure(figsize=(INCH * (width + room), INCH * height + 0.45))
        self.axis = self.figure.add_axes((room / (width + room), 0, width / (width + room), 1))
        self.axis.set_xlim(0, width)
        self.axis.set_ylim(height - above, -above)
        self.axis.set_aspect("equal")
        bare(self.axis)
        self.borders: list[np.ndarray] = []
        self.mask_borders: list[np.ndarray] = []
        for row, title in enumerate(titles):
            self.axis.text(-0.08, row * self.step + 0.5, title, ha="right", va="center", fontsize=8)

    def image(
        self,
        row: int,
        column: float,
        pixel_values: Float[np.ndarray, "channels height width"],
        text: str = "",
    ) -> None:
        """Draws an image in [0, 1], with text below."""
        self._put(row, column, pixels(pixel_values), "gray", (0.0, 1.0))
        self.text(row, column, text)

    def heat(self, row: int, column: float, area: Float[np.ndarray, "rows columns"]) -> None:
        """Draws a map on its own scale, symmetric about zero if it has negative values."""
        limit = max(float(np.abs(area).max()), 1e-30)
        self._put(row, column, area, HEAT, (-limit if area.min() < 0 else 0.0, limit))

    def text(self, row: int, column: float, text: str, above: bool = False) -> None:
        """Writes small text below (or above) an image."""
        if text:
            y = row * self.step + (-0.04 if above else 1.04)
            self.axis.text(column * (1 + GAP) + 0.5, y, text, ha="center", fontsize=6.5,
                           va="bottom" if above else "top")  # fmt: skip

    def outline(
        self,
        row: int,
        column: float,
        area: Float[np.ndarray, "rows columns"],
        level: float,
        is_mask: bool = False,
    ) -> None:
        """Draws the border of ``area > level``, enlarged bilinearly, over a dark line so that it is
        visible on any background; that of a concept's mask in another colour. Draws nothing if
        there is no border."""
        fine = upsample(np.nan_to_num(area), (FINE, FINE))
        if not fine.min() <= level < fine.max():
            return
        at = (np.arange(FINE) + 0.5) / FINE
        x, y = column * (1 + GAP) + at, row * self.step + at
        lines = cast(list[np.ndarray], contour_generator(x, y, fine).lines(level))
        (self.mask_borders if is_mask else self.borders).extend(lines)

    def _put(
        self, row: int, column: float, values: np.ndarray, colours: str, limits: tuple[float, float]
    ) -> None:
        x, y = column * (1 + GAP), row * self.step
        low, high = limits
        self.axis.imshow(values, cmap=colours, vmin=low, vmax=high, extent=(x, x + 1, y + 1, y))

    def figure_with(self, title: str, credit: str) -> Figure:
        """The figure, with a title above and a credit below."""
        for borders, colour in ((self.mask_borders, "#56B4E9"), (self.borders, "#E69F00")):
            for width, colours in ((2.2, "#000000"), (1.1, colour)):
                self.axis.add_collection(
                    LineCollection(borders, linewidths=width, colors=colours), autolim=False
                )
        self.axis.set_title(drawable(title, 120), fontsize=9)
        self.axis.set_xlabel(drawable(credit, 120), fontsize=6, color="#555555")
        return self.figure
