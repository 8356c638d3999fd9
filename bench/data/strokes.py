"""Characters as strokes: reads KanjiVG's drawings and computes distances to strokes."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.bench.data.base import DataMissing

POINTS = 12  # of a stroke's polyline, evenly spaced along it
CANVAS = 109.0  # KanjiVG draws on a square of this side
SAMPLES = 12  # points on a Bezier curve, before the points of a stroke are spaced evenly

_TOKEN = re.compile(r"<g\b([^>]*)>|(</g>)|<path\b([^>]*?)/>")
_ATTRIBUTE = re.compile(r'([\w:]+)="([^"]*)"')
_STEP = re.compile(r"[MmCcSs]|-?(?:\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class Component:
    """A named part of a character, and the numbers of its strokes."""

    element: str
    strokes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Character:
    """One character: polylines in a unit square (x right, y down), stroke types, components."""

    code: int
    points: Float[np.ndarray, "strokes points xy"]
    types: tuple[str, ...]
    components: tuple[Component, ...]


def kanjivg_files() -> tuple[Path, ...]:
    """The drawings of CJK ideographs in the installed `kanjivg` package, in order of code point.

    Raises DataMissing if the package is not installed or holds no drawings.
    """
    try:
        package = importlib.metadata.distribution("kanjivg")
    except importlib.metadata.PackageNotFoundError:
        raise DataMissing("the package 'kanjivg' is not installed: pip install kanjivg") from None
    names = [f for f in package.files or () if re.fullmatch(r"[0-9a-f]{5}\.svg", f.name)]
    files = [Path(str(package.locate_file(f))) for f in names if _is_ideograph(f.name)]
    files = sorted((f for f in files if f.is_file()), key=lambda f: f.name)
    if not files:
        raise DataMissing(
            "the package 'kanjivg' holds no drawings: pip install --force-reinstall kanjivg"
        )
    return tuple(files)


def kanjivg_version() -> str:
    """The installed version of `kanjivg`, or an empty string."""
    try:
        return importlib.metadata.version("kanjivg")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _is_ideograph(name: str) -> bool:
    return 0x4E00 <= int(name[:5], 16) <= 0x9FFF


@functools.lru_cache(maxsize=1)  # datasets with other parameters use the same characters
def read_characters(files: tuple[Path, ...]) -> list[Character]:
    """Reads drawings as characters; each stroke becomes a polyline of POINTS points."""
    parsed = [_parse(file.read_text(encoding="utf-8")) for file in files]
    curves = [np.asarray(c) for paths, _, _ in parsed for c in paths]
    lines = _even_polylines(np.concatenate(curves), [len(c) for c in curves]) / CANVAS
    ends = np.cumsum([len(paths) for paths, _, _ in parsed])
    return [
        Character(int(file.name[:5], 16), points, types, components)
        for file, points, (_, types, components) in zip(
            files, np.split(lines, ends[:-1]), parsed, strict=True
        )
    ]


Curves = list[list[tuple[float, float]]]  # cubic Bezier curves, four points each


def _parse(svg: str) -> tuple[list[Curves], tuple[str, ...], tuple[Component, ...]]:
    """Curves and type of each stroke, and the components (a split component is joined)."""
    body = svg[svg.index("StrokePaths") : svg.index("StrokeNumbers")]
    paths: list[Curves] = []
    types: list[str] = []
    groups: dict[tuple[str, str], list[int]] = {}
    open_groups: list[list[int]] = []
    for group, end, path in _TOKEN.findall(body):
        if path:
            attributes = dict(_ATTRIBUTE.findall(path))
            for strokes in open_groups:
                strokes.append(len(paths))
            paths.append(_curves(attributes["d"]))
            types.append(_plain_type(attributes.get("kvg:type", "")))
        elif end:
            if open_groups:  # the outermost group opened before the body does
                open_groups.pop()
        else:
            attributes = dict(_ATTRIBUTE.findall(group))
            open_groups.append(groups.setdefault(_group_key(attributes), []))
    components = tuple(Component(e, tuple(s)) for (e, _), s in groups.items() if e and s)
    return paths, tuple(types), components


def _group_key(attributes: dict[str, str]) -> tuple[str, str]:
    """A key that the parts of a split component share; KanjiVG gives them one number."""
    element = attributes.get("kvg:element", "")
    split = "part " + attributes.get("kvg:number", "") if "kvg:part" in attributes else ""
    return element, split or attributes.get("id", "")


def _plain_type(kind: str) -> str:
    """The first character of KanjiVG's type: without variants and alternatives."""
    return kind.split("/")[0][:1]


def _curves(path: str) -> Curves:
    """The cubic curves of an SVG path, in absolute coordinates."""
    here = control = (0.0, 0.0)
    curves: Curves = []
    steps = _STEP.findall(path)
    position, command = 0, "M"
    while position < len(steps):
        if steps[position].isalpha():
            command, position = steps[position], position + 1
        count = {"M": 1, "C": 3, "S": 2}[command.upper()]
        numbers = [float(n) for n in steps[position : position + 2 * count]]
        position += 2 * count
        x, y = here if command.islower() else (0.0, 0.0)
        to = [(x + a, y + b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
        if command in "Ss":
            to = [(2 * here[0] - control[0], 2 * here[1] - control[1]), *to]
        if command not in "Mm":
            curves.append([here, *to])
        here, control = to[-1], to[-2] if len(to) > 1 else to[-1]
    return curves


def _even_polylines(
    curves: Float[np.ndarray, "curves 4 2"], counts: list[int]
) -> Float[np.ndarray, "strokes points 2"]:
    """A polyline for each stroke: POINTS points, evenly spaced along its curves."""
    t = np.linspace(0, 1, SAMPLES)[:, None]
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    dots = np.einsum("ksi,ckx->csx", basis, curves).reshape(-1, 2)
    ends = np.cumsum(counts) * SAMPLES
    starts = ends - np.asarray(counts) * SAMPLES
    steps = np.linalg.norm(np.diff(dots, axis=0, prepend=dots[:1]), axis=1)
    steps[starts] = 0  # the way from one stroke to the next does not count
    along = np.cumsum(steps) + np.arange(len(steps)) * 1e-9  # strictly rising, so invertible
    share = np.linspace(0, 1, POINTS)
    places = along[starts, None] * (1 - share) + along[ends - 1, None] * share
    return np.stack([np.interp(places, along, dots[:, axis]) for axis in (0, 1)], axis=-1)


def distance(
    points: Float[Tensor, "strokes points 2"], size: int
) -> Float[Tensor, "strokes size size"]:
    """Distance, in pixels, from the centre of every pixel to each polyline (in pixels too)."""
    centre = torch.arange(size, dtype=points.dtype) + 0.5
    nearest = points.new_full((len(points), size, size), float("inf"))
    for start, end in zip(points.unbind(1), points.unbind(1)[1:], strict=False):
        step = end - start
        scaled = step / step.square().sum(1, keepdim=True).clamp(min=1e-8)
        right = centre - start[:, :1]  # strokes, size: from the segment's start to each column
        down = centre - start[:, 1:]
        along = (right * scaled[:, :1])[:, None, :] + (down * scaled[:, 1:])[:, :, None]
        along = along.clamp_(0, 1)
        x = torch.addcmul(right[:, None, :], along, step[:, 0, None, None], value=-1)
        y = torch.addcmul(down[:, :, None], along, step[:, 1, None, None], value=-1)
        nearest = torch.minimum(nearest, x.square_().addcmul_(y, y), out=nearest)
    return nearest.sqrt_()
