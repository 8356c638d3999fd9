"""What all figures share: one style and the same bytes on every machine, colours, safe text."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from legible.bench.leaderboard.board import Row
from legible.bench.text import one_line, settings

#: Okabe and Ito's colours, told apart by the colour-blind; markers and dashes serve in grey.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]
HEAT = "cividis"  # even steps of lightness: reads in grey and without red or green
DASHES = ["-", "--", "-.", ":"]

_STYLE: Any = {
    str(key): value
    for key, value in mpl.rcParamsDefault.items()
    if not key.startswith(("backend", "interactive", "toolbar", "date."))
} | {
    "svg.hashsalt": "legible",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def save(
    draw: Callable[[], Figure],
    kind: Literal["svg", "png"] = "svg",
    dpi: int = 90,
    full_colour: bool = False,
) -> bytes:
    """Draws in our style, whatever the machine's settings, and returns the file's bytes.

    PNGs have a palette of 24 colours, or of 256 if they show photographs: a third of the size, with
    hardly a visible difference. With ``full_colour`` they have none.
    """
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context(_STYLE), io.BytesIO() as file:
        figure = draw()
        figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight", metadata=metadata)
        return file.getvalue() if kind == "svg" or full_colour else _with_palette(file)


#: A picture with more colours shows photographs; drawn images have a few thousand at most.
DRAWN_COLOURS = 2**14


def _with_palette(file: io.BytesIO) -> bytes:
    """The picture with few colours that cover its range, so that thin outlines keep theirs."""
    with Image.open(file) as image, io.BytesIO() as out:
        whole = image.convert("RGB")
        colours = 24 if whole.getcolors(DRAWN_COLOURS) else 256
        plain = whole.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        plain.save(out, "png", optimize=True)
        return out.getvalue()


def as_webp(png: bytes) -> bytes:
    """A PNG as lossless WebP, a fifth smaller."""
    with Image.open(io.BytesIO(png)) as image, io.BytesIO() as out:
        image.convert("RGB").save(out, "webp", lossless=True, quality=100, method=4)
        return out.getvalue()


def row_style(index: int) -> dict[str, Any]:
    """Colour and marker of the index-th row."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def drawable(text: object, limit: int = 60) -> str:
    """One line of text without mathematics; characters without a glyph are shown by their code."""
    glyphs = _glyphs()
    characters = (c if ord(c) in glyphs else f"U+{ord(c):04X}" for c in one_line(text, limit))
    return "".join(characters).replace("$", r"\$")


@cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont("DejaVu Sans")
    return frozenset(font_manager.get_font(path).get_charmap())


def pixels(image: Float[np.ndarray, "channels height width"]) -> np.ndarray:
    """An image in [0, 1] as imshow wants it, for one, two (the mean) or three channels."""
    clipped = np.clip(np.nan_to_num(image), 0, 1)
    return np.moveaxis(clipped, 0, -1) if len(clipped) == 3 else clipped.mean(0)


def bare(axis: Any) -> None:
    """Axes without ticks and frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def upsample(
    area: Float[np.ndarray, "rows columns"], shape: tuple[int, int]
) -> Float[np.ndarray, "height width"]:
    """A map enlarged bilinearly, as `torch.nn.functional.interpolate(align_corners=False)` does."""
    for axis, size in enumerate(shape):
        positions = area.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * positions / size - 0.5, 0, positions - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, positions - 1)
        weight = np.expand_dims(at - low, 1 - axis)
        area = area.take(low, axis) * (1 - weight) + area.take(high, axis) * weight
    return area


def row_label(row: Row) -> str:
    """A row's name in a figure."""
    extra = settings(row.params)
    return drawable(f"{row.label} [{extra}]" if extra else row.label)


def frame(
    mean: Float[np.ndarray, "points"], half: Float[np.ndarray, "points"], *also: float
) -> tuple[float, float]:
    """Limits of an axis that hold all points and the values in ``also``.

    Intervals widen them by at most the distance between the outermost points, so that a very wide
    interval does not squeeze the points together.
    """
    points = np.array([*mean[np.isfinite(mean)], *also])
    if not len(points):
        return 0.0, 1.0
    low, high = points.min(), points.max()
    bars = [*(mean - half), *(mean + half)]
    halves = half[np.isfinite(half)]
    usual = float(np.median(halves)) if len(halves) else 0.0
    reach = max(high - low, usual, 1e-3 * max(abs(low), abs(high)), 1e-9)
    low, high = (
        max(np.nanmin([low, *bars]), low - reach),
        min(np.nanmax([high, *bars]), high + reach),
    )
    room = 0.08 * max(high - low, reach)
    return float(low - room), float(high + room)


def central(
    points: Float[np.ndarray, "points axes"],
    halves: Float[np.ndarray, "points axes"],
    factor: float = 8.0,
) -> Bool[np.ndarray, "points"]:
    """Which points lie near the others: within ``factor`` spreads of the median along each axis.

    The spread is the median absolute deviation, or the median half of an interval if that is
    larger. All points where it is 0, or where there are none.
    """
    if not len(points):
        return np.zeros(0, dtype=bool)
    distance = np.abs(points - np.median(points, 0))
    scale = np.maximum(np.median(distance, 0), np.median(np.nan_to_num(halves), 0))
    return np.asarray((distance <= np.where(scale > 0, factor * scale, np.inf)).all(1))


def legend(figure: Figure, axes: Sequence[Any]) -> None:
    """Adds one legend below all panels, with every name that any of them has."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    longest = max((len(name) for name in handles), default=1)
    across = min(max(int(100 * figure.get_figwidth() / 6.4 / (longest + 6)), 1), 6)
    lines = -(-len(handles) // across)
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.16 * lines)
    bare_text = all(handle.get_marker() == "None" for handle in handles.values())
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=across, fontsize=7,
                  handlelength=0 if bare_text else None)  # fmt: skip


def panels(count: int, width: float, height: float, across: int = 3) -> tuple[Figure, list[Any]]:
    """A figure with ``count`` panels in rows, and its axes."""
    columns = min(max(count, 1), across)
    rows = math.ceil(max(count, 1) / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]
