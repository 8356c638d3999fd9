"""Figures of what units and modules respond to, drawn from plain arrays.

Images are in [0, 1], channels first. Maps are a unit's activation at the Tap, on its own grid.
Whatever shows images of a dataset that asks for it carries ``credit``.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from contourpy import contour_generator
from jaxtyping import Bool, Float, Int
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from legible.bench.leaderboard.figures.drawing import (
    DASHES,
    HEAT,
    bare,
    drawable,
    look,
    panels,
    pixels,
    upsample,
)


@dataclass(frozen=True, eq=False)
class UnitExamples:
    """The images that excite a unit most, strongest first, and the concept it matches best.

    ``threshold`` bounds the unit's region (NetDissect's quantile); ``iou`` is NaN and ``concept``
    empty where no concept is known.
    """

    unit: int
    images: Float[np.ndarray, "top channels height width"]
    maps: Float[np.ndarray, "top rows columns"]
    threshold: float
    concept: str = ""
    iou: float = math.nan


@dataclass(frozen=True, eq=False)
class ModuleEvidence:
    """Correlation between units, the module of each (-1: none), and a picture of each unit: the
    image that excites it most."""

    correlation: Float[np.ndarray, "units units"]
    labels: Int[np.ndarray, "units"]
    images: Float[np.ndarray, "units channels height width"]


@dataclass(frozen=True, eq=False)
class Lesions:
    """Drop of each class's accuracy when a module is silenced (signed, in [-1, 1])."""

    effects: Float[np.ndarray, "modules classes"]
    classes: Sequence[str]


@dataclass(frozen=True, eq=False)
class AttributionGrid:
    """Attribution maps of some images by algorithm, with the mask of the class's concept."""

    images: Float[np.ndarray, "images channels height width"]
    masks: Bool[np.ndarray, "images height width"]
    maps: Mapping[str, Float[np.ndarray, "images rows columns"]]


@dataclass(frozen=True, eq=False)
class Views:
    """One method's answer to images that all methods are shown: its strongest unit on each."""

    images: Float[np.ndarray, "images channels height width"]
    maps: Float[np.ndarray, "images rows columns"]
    units: Int[np.ndarray, "images"]
    concepts: Sequence[str]


def gallery(examples: Sequence[UnitExamples], title: str = "", credit: str = "") -> Figure:
    """A row a unit: its top images with the outline of its region, its concept and IoU."""
    if not examples:
        raise ValueError("a gallery needs at least one unit")
    top = max(len(example.images) for example in examples)
    wall = Wall(len(examples), top, [_unit_name(example) for example in examples])
    for i, example in enumerate(examples):
        for j, (image, area) in enumerate(zip(example.images, example.maps, strict=True)):
            wall.hang(i, j, image)
            wall.outline(i, j, area, example.threshold)
    return wall.finished(title, credit)


def _unit_name(example: UnitExamples) -> str:
    concept = drawable(example.concept, 24) or "no concept"
    matched = f"IoU {example.iou:.2f}" if math.isfinite(example.iou) else "IoU unknown"
    return f"unit {example.unit}\n{concept}\n{matched}"


def views(shown: Views, title: str = "", credit: str = "") -> Figure:
    """The images, the strongest unit's region at half its peak, and the unit's name below."""
    wall = Wall(1, len(shown.images), [""], below=0.45)
    parts = zip(shown.images, shown.maps, shown.units, shown.concepts, strict=True)
    for j, (image, area, unit, concept) in enumerate(parts):
        wall.hang(0, j, image, f"unit {unit}\n{drawable(concept, 16)}")
        wall.outline(0, j, area, float(np.nan_to_num(area).max()) / 2)
    return wall.finished(title, credit)


def module_matrix(evidence: ModuleEvidence, title: str = "") -> Figure:
    """Correlations between units, ordered by module; lines part modules, unassigned units last."""
    order, bounds = by_module(evidence.labels)
    figure, (axis,) = panels(1, 3.6, 3.0)
    ordered = evidence.correlation[np.ix_(order, order)]
    picture = axis.imshow(ordered, cmap=HEAT, vmin=-1, vmax=1)
    for bound in bounds[:-1]:
        for line in (axis.axhline, axis.axvline):
            line(bound - 0.5, color="white", linewidth=0.8)
    axis.set_xlabel("unit, ordered by module")
    axis.set_ylabel("unit, ordered by module")
    figure.colorbar(picture, ax=axis, label="correlation of responses")
    return titled(figure, title)


def by_module(labels: Int[np.ndarray, "units"]) -> tuple[np.ndarray, list[int]]:
    """Units ordered by module, largest first, unassigned last; and where each module ends."""
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    modules = [names[i] for i in np.argsort(-counts, kind="stable")]
    groups = [np.flatnonzero(labels == name) for name in modules]
    bounds = np.cumsum([len(group) for group in groups]).tolist()
    rest = np.flatnonzero(labels < 0)
    return np.concatenate([*groups, rest]).astype(int), bounds + [len(labels)] * bool(len(rest))


def module_members(
    evidence: ModuleEvidence, title: str = "", credit: str = "", most: int = 5, modules: int = 5
) -> Figure:
    """A row a module, largest first: the image that excites each of its first members most."""
    labels = evidence.labels
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    if not len(names):
        raise ValueError("there are no modules to draw")
    chosen = names[np.argsort(-counts, kind="stable")][:modules]
    groups = [np.flatnonzero(labels == module) for module in chosen]
    titles = [f"module {m}\n{len(g)} units" for m, g in zip(chosen, groups, strict=True)]
    wall = Wall(len(chosen), most, titles, below=0.22)
    for i, members in enumerate(groups):
        for j, unit in enumerate(members[:most]):
            wall.hang(i, j, evidence.images[unit], str(unit))
    return wall.finished(title, credit)


def lesion_map(lesions: Lesions, title: str = "") -> Figure:
    """Modules by classes, each cell with its number; zero is in the middle of the scale."""
    effects = lesions.effects
    modules, classes = effects.shape
    limit = max(float(np.nanmax(np.abs(effects), initial=0.0)), 0.01)
    figure, (axis,) = panels(1, 1.7 + 0.34 * classes, 1.1 + 0.24 * modules)
    picture = axis.imshow(effects, cmap=HEAT, vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), effect in np.ndenumerate(effects):
        if round(abs(effect), 2) > 0:  # not where it is undefined
            colour = "black" if effect > 0.1 * limit else "white"
            text = f"{effect:.2f}".replace("0.", ".").replace("-", "−")
            axis.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
    names = [drawable(name, 12) for name in lesions.classes]
    axis.set_xticks(range(classes), names, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(modules), [str(i) for i in range(modules)], fontsize=7)
    axis.set_xlabel("class")
    axis.set_ylabel("silenced module")
    figure.colorbar(picture, ax=axis, label="drop of accuracy (share)")
    return titled(figure, title)


def focus_pair(
    before: Float[np.ndarray, "rows columns"],
    after: Float[np.ndarray, "rows columns"],
    names: tuple[str, str] = ("plain", "method"),
    title: str = "",
) -> Figure:
    """Two mean spots side by side on one scale (see `mean_spot`)."""
    figure, axes = panels(2, 2.4, 2.4)
    for axis, spot, name in zip(axes, (before, after), names, strict=True):
        picture = axis.imshow(spot, cmap=HEAT, vmin=0, vmax=1)
        axis.set_title(f"{drawable(name, 24)}\nmean {np.nanmean(spot):.3f}", fontsize=8)
        bare(axis)
    figure.colorbar(picture, ax=axes, label="share of the peak", shrink=0.8)
    return titled(figure, title)


def mean_spot(
    maps: Float[np.ndarray, "images units rows columns"],
) -> Float[np.ndarray, "height width"]:
    """Activation around the peak: every map that is not all zero is moved so that its peak stands
    in the middle and divided by the peak, and the moved maps are averaged where they overlap
    (NaN where none does). Height and width are 2 rows - 1 and 2 columns - 1. A unit that fires
    in one place gives a narrow spot."""
    rows, columns = maps.shape[-2:]
    flat = np.maximum(np.nan_to_num(maps), 0).reshape(-1, rows * columns)
    flat = flat[flat.max(1, initial=0) > 0]
    peak = flat.argmax(1)
    share = flat / flat.max(1, keepdims=True, initial=1e-30)
    at = np.arange(rows * columns)
    down = at // columns - peak[:, None] // columns + rows - 1
    right = at % columns - peak[:, None] % columns + columns - 1
    where = (down * (2 * columns - 1) + right).ravel()
    size = (2 * rows - 1) * (2 * columns - 1)
    count = np.bincount(where, minlength=size)
    total = np.bincount(where, share.ravel(), minlength=size)
    mean = total / np.where(count > 0, count, np.nan)
    return np.asarray(mean.reshape(2 * rows - 1, 2 * columns - 1))


def attribution_grid(grid: AttributionGrid, title: str = "", credit: str = "") -> Figure:
    """A row an image: the image with its mask's outline, then each algorithm's map, the same."""
    wall = Wall(len(grid.images), len(grid.maps) + 1, [""] * len(grid.images), above=0.4)
    for j, name in enumerate(["image", *grid.maps]):
        wall.text(0, j, textwrap.fill(drawable(name.replace("_", " "), 30), 12), above=True)
    for i, image in enumerate(grid.images):
        wall.hang(i, 0, image)
        wall.outline(i, 0, grid.masks[i].astype(float), 0.5)
        for j, maps in enumerate(grid.maps.values(), 1):
            wall.heat(i, j, np.nan_to_num(maps[i]))
            wall.outline(i, j, grid.masks[i].astype(float), 0.5)
    return wall.finished(title, credit)


def curves(history: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """Each loss term by epoch (from 1), on a logarithmic scale where all are positive."""
    figure, (axis,) = panels(1, 5.0, 2.8)
    for i, (name, values) in enumerate(history.items()):
        style = look(i) | {"linestyle": DASHES[i % len(DASHES)], "markersize": 4}
        axis.plot(range(1, len(values) + 1), values, label=drawable(name), linewidth=1.2, **style)
    numbers = np.array([v for values in history.values() for v in values], dtype=float)
    if len(numbers) and np.nanmin(numbers) > 0:
        axis.set_yscale("log")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("epoch")
    axis.set_ylabel("loss term")
    axis.legend(fontsize=7)
    return titled(figure, title)


def titled(figure: Figure, title: str) -> Figure:
    """The figure with a title above."""
    if title:
        figure.suptitle(drawable(title, 120), fontsize=9)
    return figure


# ----------------------------------------------------------------- many images on one pair of axes

INCH = 0.72  # width of an image: 64 pixels of a PNG, twice 32
GAP = 0.06  # between images, as a share of their width
FINE = 48  # pixels that an outline is drawn on


class Wall:
    """A grid of places one unit wide, with a title left of each row.

    ``below`` and ``above`` leave room for text at each image, as a share of its width.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
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
        for row, title in enumerate(titles):
            self.axis.text(-0.08, row * self.step + 0.5, title, ha="right", va="center", fontsize=8)

    def hang(
        self,
        row: int,
        column: int,
        image: Float[np.ndarray, "channels height width"],
        text: str = "",
    ) -> None:
        """An image in [0, 1], with text below."""
        self._put(row, column, pixels(image), "gray", (0.0, 1.0))
        self.text(row, column, text)

    def heat(self, row: int, column: int, area: Float[np.ndarray, "rows columns"]) -> None:
        """A map of its own scale, symmetric about zero where it has negative values."""
        limit = max(float(np.abs(area).max()), 1e-30)
        self._put(row, column, area, HEAT, (-limit if area.min() < 0 else 0.0, limit))

    def text(self, row: int, column: int, text: str, above: bool = False) -> None:
        """Small text below (or above) a place."""
        if text:
            y = row * self.step + (-0.04 if above else 1.04)
            self.axis.text(column * (1 + GAP) + 0.5, y, text, ha="center", fontsize=6.5,
                           va="bottom" if above else "top")  # fmt: skip

    def outline(
        self, row: int, column: int, area: Float[np.ndarray, "rows columns"], level: float
    ) -> None:
        """The border of ``area > level``, upsampled bilinearly, over a dark line so that it shows
        on any background; nothing where the border is nowhere."""
        fine = upsample(np.nan_to_num(area), (FINE, FINE))
        if not fine.min() <= level < fine.max():
            return
        across = (np.arange(FINE) + 0.5) / FINE
        x, y = column * (1 + GAP) + across, row * self.step + across
        self.borders += cast(list[np.ndarray], contour_generator(x, y, fine).lines(level))

    def _put(
        self, row: int, column: int, image: np.ndarray, colours: str, limits: tuple[float, float]
    ) -> None:
        x, y = column * (1 + GAP), row * self.step
        low, high = limits
        self.axis.imshow(image, cmap=colours, vmin=low, vmax=high, extent=(x, x + 1, y + 1, y))

    def finished(self, title: str, credit: str) -> Figure:
        """The figure, with a title above and a credit below."""
        for width, colour in ((2.2, "#000000"), (1.1, "#E69F00")):
            self.axis.add_collection(
                LineCollection(self.borders, linewidths=width, colors=colour), autolim=False
            )
        self.axis.set_title(drawable(title, 120), fontsize=9)
        self.axis.set_xlabel(drawable(credit, 120), fontsize=6, color="#555555")
        return self.figure
