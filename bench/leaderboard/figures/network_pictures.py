"""Pictures of one network: units, modules, lesions, attributions, training curves.

They are drawn from plain arrays (see `picture_data`). Images are in [0, 1], channels first. Maps
hold a unit's activation at the Tap. ``credit`` names the source of a dataset's images.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from legible.bench.leaderboard.figures.image_grid import ImageGrid
from legible.bench.leaderboard.figures.style import (
    DASHES,
    HEAT,
    bare,
    drawable,
    panels,
    row_style,
    save,
)
from legible.bench.suites.run_spec import Block, RowKey


@dataclass(frozen=True, eq=False)
class UnitExamples:
    """The images that excite a unit most, strongest first, and the concept that it matches best.

    ``threshold`` bounds the unit's region (NetDissect's quantile). ``masks`` are those of the
    concept, all empty in an image without it. ``match`` says how well they match; ``measure`` is
    the name of that number. Without concepts, it is NaN, ``concept`` empty and ``masks`` None.
    """

    unit: int
    images: Float[np.ndarray, "top channels height width"]
    maps: Float[np.ndarray, "top rows columns"]
    threshold: float
    concept: str = ""
    match: float = math.nan
    masks: Bool[np.ndarray, "top height width"] | None = None
    measure: str = "IoU"


@dataclass(frozen=True, eq=False)
class ModuleWall:
    """The images that excite a module of some units most, strongest first, and where: the mean over
    its units of the activation as a share of the unit's maximum."""

    module: int
    units: int
    images: Float[np.ndarray, "top channels height width"]
    maps: Float[np.ndarray, "top rows columns"]


@dataclass(frozen=True, eq=False)
class ModuleExamples:
    """Correlation between units, the module of each (-1: none), and walls of the largest ones."""

    correlation: Float[np.ndarray, "units units"]
    labels: Int[np.ndarray, "units"]
    walls: Sequence[ModuleWall]


@dataclass(frozen=True, eq=False)
class Lesions:
    """The drop of each class's accuracy when a module is silenced, in [-1, 1]."""

    effects: Float[np.ndarray, "modules classes"]
    classes: Sequence[str]


@dataclass(frozen=True, eq=False)
class AttributionExamples:
    """Attribution maps of some images by algorithm, with the mask of the concept that defines the
    class."""

    images: Float[np.ndarray, "images channels height width"]
    masks: Bool[np.ndarray, "images height width"]
    maps: Mapping[str, Float[np.ndarray, "images rows columns"]]


@dataclass(frozen=True, eq=False)
class StrongestUnits:
    """The unit that is nearest to its own maximum on each image; the images are the same for all
    methods."""

    images: Float[np.ndarray, "images channels height width"]
    maps: Float[np.ndarray, "images rows columns"]
    units: Int[np.ndarray, "images"]
    concepts: Sequence[str]


def draw_units(
    examples: Sequence[UnitExamples],
    title: str = "",
    credit: str = "",
    beside: Sequence[UnitExamples] = (),
    names: tuple[str, str] = ("", ""),
) -> Figure:
    """Draws a row for each unit: its top images, the outline of its region, its concept and IoU.

    The concept's mask has an outline of another colour. ``beside``: the same units of another
    network, which are drawn to the right; ``names`` are those of the two networks. Raises
    ValueError without any unit.
    """
    if not examples:
        raise ValueError("there must be at least one unit to draw")
    top = max(len(example.images) for example in [*examples, *beside])
    start = top + BETWEEN  # the column of the first image on the right
    titles = [_unit_name(example) for example in examples]
    columns = start + top if beside else top
    grid = ImageGrid(len(examples), columns, titles, below=0.4 if beside else 0.0)
    for column, side in ((0.0, examples), (start, beside)):
        for i, example in enumerate(side):
            _put_unit(grid, i, column, example)
    for i, (left, right) in enumerate(zip(examples, beside, strict=bool(beside))):
        for column, name, example in ((0.0, names[0], left), (start, names[1], right)):
            grid.text(i, column + (top - 1) / 2, ": ".join(filter(None, [name, _match(example)])))
    return grid.figure_with(title, credit)


#: Columns between two networks that are drawn side by side.
BETWEEN = 0.3


def _put_unit(grid: ImageGrid, row: int, column: float, example: UnitExamples) -> None:
    for j, (image, area) in enumerate(zip(example.images, example.maps, strict=True)):
        grid.image(row, column + j, image)
        grid.outline(row, column + j, area, example.threshold)
        if example.masks is not None:
            grid.outline(row, column + j, example.masks[j].astype(float), 0.5, is_mask=True)


def _unit_name(example: UnitExamples) -> str:
    return f"unit {example.unit}\n{_match(example)}".strip().replace(", ", "\n")


def _match(example: UnitExamples) -> str:
    is_known = math.isfinite(example.match)
    if not example.concept and not is_known:
        return ""
    concept = drawable(example.concept, 24).replace(", ", " ") or "no concept"
    value = f"{example.match:.2f}" if is_known else "unknown"
    return f"{concept}, {example.measure} {value}"


def draw_strongest_units(strongest: StrongestUnits, title: str = "", credit: str = "") -> Figure:
    """Draws the images, each with the unit's region at half its peak and the unit's name below."""
    grid = ImageGrid(1, len(strongest.images), [""], below=0.45)
    parts = zip(strongest.images, strongest.maps, strongest.units, strongest.concepts, strict=True)
    for j, (image, area, unit, concept) in enumerate(parts):
        grid.image(0, j, image, f"unit {unit}\n{drawable(concept, 16)}")
        grid.outline(0, j, area, float(np.nan_to_num(area).max()) / 2)
    return grid.figure_with(title, credit)


def draw_module_matrix(modules: ModuleExamples, title: str = "") -> Figure:
    """Draws the correlations between units, ordered by module with lines between modules; units
    without a module come last."""
    order, bounds = by_module(modules.labels)
    figure, (axis,) = panels(1, 3.6, 3.0)
    ordered = modules.correlation[np.ix_(order, order)]
    picture = axis.imshow(ordered, cmap=HEAT, vmin=-1, vmax=1)
    for bound in bounds[:-1]:
        for line in (axis.axhline, axis.axvline):
            line(bound - 0.5, color="white", linewidth=0.8)
    axis.set_xlabel("unit, ordered by module")
    axis.set_ylabel("unit, ordered by module")
    figure.colorbar(picture, ax=axis, label="correlation of responses")
    return _titled(figure, title)


def by_module(labels: Int[np.ndarray, "units"]) -> tuple[np.ndarray, list[int]]:
    """Units ordered by module, the largest first, units without a module last; and the end of each
    module in that order."""
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    modules = [names[i] for i in np.argsort(-counts, kind="stable")]
    groups = [np.flatnonzero(labels == name) for name in modules]
    bounds = np.cumsum([len(group) for group in groups]).tolist()
    rest = np.flatnonzero(labels < 0)
    return np.concatenate([*groups, rest]).astype(int), bounds + [len(labels)] * bool(len(rest))


def draw_module_walls(
    walls: Sequence[ModuleWall], title: str = "", credit: str = "", columns: int = 8
) -> Figure:
    """Draws each module as a wall of the images that excite it most, ``columns`` in a line, with
    outlines where the module responds with half its peak. Raises ValueError without any module."""
    if not walls:
        raise ValueError("there are no modules to draw")
    lines = [math.ceil(len(wall.images) / columns) for wall in walls]
    titles = []
    for wall, count in zip(walls, lines, strict=True):
        units = f"{wall.units} unit{'s' * (wall.units > 1)}"
        titles += [f"module {wall.module}\n{units}", *[""] * (count - 1)]
    grid = ImageGrid(len(titles), columns, titles)
    for first, wall in zip(np.cumsum([0, *lines]).tolist(), walls, strict=False):
        for j, (image, area) in enumerate(zip(wall.images, wall.maps, strict=True)):
            row, column = first + j // columns, j % columns
            grid.image(row, column, image)
            grid.outline(row, column, area, float(np.nan_to_num(area).max()) / 2)
    return grid.figure_with(title, credit)


def draw_lesions(lesions: Lesions, title: str = "") -> Figure:
    """Draws modules by classes with their numbers; zero is in the middle of the scale."""
    effects = lesions.effects
    modules, classes = effects.shape
    limit = max(float(np.nanmax(np.abs(effects), initial=0.0)), 0.01)
    figure, (axis,) = panels(1, 1.7 + 0.34 * classes, 1.1 + 0.24 * modules)
    picture = axis.imshow(effects, cmap=HEAT, vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), effect in np.ndenumerate(effects):
        if round(abs(effect), 2) > 0:  # also false if it is undefined
            colour = "black" if effect > 0.1 * limit else "white"
            text = f"{effect:.2f}".replace("0.", ".").replace("-", "−")
            axis.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
    names = [drawable(name, 12) for name in lesions.classes]
    axis.set_xticks(range(classes), names, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(modules), [str(i) for i in range(modules)], fontsize=7)
    axis.set_xlabel("class")
    axis.set_ylabel("silenced module")
    figure.colorbar(picture, ax=axis, label="drop of accuracy (share)")
    return _titled(figure, title)


def draw_focus(
    before: Float[np.ndarray, "rows columns"],
    after: Float[np.ndarray, "rows columns"],
    names: tuple[str, str] = ("plain", "method"),
    title: str = "",
) -> Figure:
    """Draws two mean spots side by side on one scale (see `mean_spot`)."""
    figure, axes = panels(2, 2.4, 2.4)
    for axis, spot, name in zip(axes, (before, after), names, strict=True):
        picture = axis.imshow(spot, cmap=HEAT, vmin=0, vmax=1)
        axis.set_title(f"{drawable(name, 24)}\nmean {np.nanmean(spot):.3f}", fontsize=8)
        bare(axis)
    figure.colorbar(picture, ax=axes, label="share of the peak", shrink=0.8)
    return _titled(figure, title)


def mean_spot(
    maps: Float[np.ndarray, "images units rows columns"],
) -> Float[np.ndarray, "height width"]:
    """The mean activation around the peak; a unit that fires in one place gives a narrow spot.

    Every map that is not all zero is divided by its peak and moved so that the peak is in the
    middle. The moved maps are averaged where they overlap (NaN where none does). Height and width
    are 2 rows - 1 and 2 columns - 1.
    """
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


def draw_attribution(examples: AttributionExamples, title: str = "", credit: str = "") -> Figure:
    """Draws a row for each image: the image and each algorithm's map, all with the outline of the
    concept's mask."""
    grid = ImageGrid(
        len(examples.images), len(examples.maps) + 1, [""] * len(examples.images), above=0.4
    )
    for j, name in enumerate(["image", *examples.maps]):
        grid.text(0, j, textwrap.fill(drawable(name.replace("_", " "), 30), 12), above=True)
    for i, image in enumerate(examples.images):
        grid.image(i, 0, image)
        grid.outline(i, 0, examples.masks[i].astype(float), 0.5)
        for j, maps in enumerate(examples.maps.values(), 1):
            grid.heat(i, j, np.nan_to_num(maps[i]))
            grid.outline(i, j, examples.masks[i].astype(float), 0.5)
    return grid.figure_with(title, credit)


def draw_curves(history: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """Draws each loss term by epoch (from 1), on a logarithmic scale if all are positive."""
    figure, (axis,) = panels(1, 5.0, 2.8)
    for i, (name, values) in enumerate(history.items()):
        style = row_style(i) | {"linestyle": DASHES[i % len(DASHES)], "markersize": 4}
        axis.plot(range(1, len(values) + 1), values, label=drawable(name), linewidth=1.2, **style)
    numbers = np.array([v for values in history.values() for v in values], dtype=float)
    if len(numbers) and np.nanmin(numbers) > 0:
        axis.set_yscale("log")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("epoch")
    axis.set_ylabel("loss term")
    axis.legend(fontsize=7)
    return _titled(figure, title)


def _titled(figure: Figure, title: str) -> Figure:
    """The figure with a title above."""
    if title:
        figure.suptitle(drawable(title, 120), fontsize=9)
    return figure


# ----------------------------------------------------------------- all pictures of a run


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of one row on one block. Pictures of the same ``kind`` can be compared. ``origin``
    names the runs and the code that it was made from."""

    block: Block
    row: RowKey
    kind: str  # a key of CAPTIONS
    alt: str
    data: bytes
    mime: Literal["image/png", "image/svg+xml"] = "image/png"
    origin: str = ""


@dataclass(frozen=True, eq=False)
class PictureData:
    """What the pictures of one run show, at one layer.

    A field is None or empty if the layer has no map, no live units or no modules, or if the network
    cannot be continued from it.
    """

    layer: str
    units: list[UnitExamples]
    modules: ModuleExamples | None = None
    lesions: Lesions | None = None
    strongest: StrongestUnits | None = None
    spot: Float[np.ndarray, "rows columns"] | None = None
    attribution: AttributionExamples | None = None


CAPTIONS = {
    "views": "The first image of each class and the unit that comes nearest to its own maximum, "
    "outlined at half its peak",
    "units": "Units from the best to the worst matched, the images that excite them most, their "
    "regions outlined in orange, and the concept that they match best, outlined in blue",
    "modules": "Correlation between units, ordered by module",
    "members": "The images that excite each module most, with outlines where it responds",
    "lesions": "Drop of each class's accuracy when a module is silenced",
    "focus": "Mean activation around the peak, plain and this method",
    "attribution": "Where each attribution algorithm sees the evidence for the class, with the "
    "mask of the concept that defines it",
    "curves": "Loss terms by epoch",
}
#: The kinds of pictures in which images of the dataset can be seen.
OF_IMAGES = frozenset({"views", "units", "members", "attribution"})


def draw_pictures(
    data: PictureData,
    block: Block,
    row: RowKey,
    label: str,
    history: Sequence[Mapping[str, Any]] = (),
    baseline: PictureData | None = None,
    credit: str = "",
    place: str = "",
) -> list[Picture]:
    """Draws all pictures of one run.

    ``place`` is the block in titles; without it, the whole names. ``history`` has an entry for each
    epoch, of which the loss terms are drawn. ``baseline`` is the data of plain on the same block.
    """
    where = f"{label} · {place or ' · '.join(block)}"
    title = f"{where} · {data.layer}"
    drawings: dict[str, Callable[[], Figure]] = {}
    if data.strongest is not None:
        drawings["views"] = partial(draw_strongest_units, data.strongest, title, credit)
    if data.units:
        drawings["units"] = partial(draw_units, data.units, title, credit)
    if data.modules is not None:
        drawings["modules"] = partial(draw_module_matrix, data.modules, title)
        if data.modules.walls:
            drawings["members"] = partial(draw_module_walls, data.modules.walls, title, credit)
    if data.lesions is not None:
        drawings["lesions"] = partial(draw_lesions, data.lesions, title)
    if data.spot is not None and baseline is not None and baseline.spot is not None:
        names = ("plain", label)
        drawings["focus"] = partial(draw_focus, baseline.spot, data.spot, names, title)
    if data.attribution is not None:
        drawings["attribution"] = partial(draw_attribution, data.attribution, title, credit)
    if terms := loss_terms(history):
        drawings["curves"] = partial(draw_curves, terms, where)
    return [
        Picture(block, row, kind, caption(kind, data, title), save(draw, "png"))
        for kind, draw in drawings.items()
    ]


def caption(kind: str, data: PictureData, title: str) -> str:
    """What a picture shows, with the names that its font may lack."""
    more = ""
    if kind == "units":
        parts = [f"unit {e.unit} {e.concept or 'none'} {e.match:.2f}" for e in data.units]
        more = f" Concepts and IoU: {', '.join(parts)}."
    elif kind == "lesions" and data.lesions is not None:
        more = f" Classes: {', '.join(data.lesions.classes)}."
    elif kind == "views" and data.strongest is not None:
        pairs = zip(data.strongest.units, data.strongest.concepts, strict=True)
        more = f" Units: {', '.join(f'{unit} {name}'.strip() for unit, name in pairs)}."
    return f"{title}. {CAPTIONS[kind]}.{more}"


def loss_terms(history: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The loss terms of a history: every number but epochs, accuracies and times."""
    skip = ("epoch", "accuracy", "validation", "test", "watch.", "seconds", "lr", "loss")
    names = [n for n in (history[0] if history else {}) if not n.startswith(skip)]
    return {name: [float(line.get(name, np.nan)) for line in history] for name in names}
