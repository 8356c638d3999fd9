"""Broden: photographs with labelled objects, parts, materials, colours, scenes and textures."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import shown_path
from legible.bench.data.image_sets import check_counts
from legible.bench.data.parameter_checks import at_least, one_of
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    Sources,
    arrange,
    check_number,
    find_place,
    load_photographs,
)
from legible.bench.data.regions import NOTHING, Region

SOURCE = "http://netdissect.csail.mit.edu/data/broden1_224.zip"
LICENCE = ("images of ADE20K, Pascal, OpenSurfaces and DTD, each with its own terms; for "
           "non-commercial research")  # fmt: skip
#: Columns of index.csv that name label maps, and those that hold labels of the whole image.
PIXELS = ("color", "object", "part", "material")
WHOLE = ("scene", "texture")
#: The number of images of broden1_224.
IMAGES = 63305


class _Row(NamedTuple):
    """A line of index.csv: image, split, side of the image over that of its maps, maps, labels of
    the whole image by column, and the maps' width and height."""

    image: str
    split: str
    scale: int
    maps: tuple[str, ...]
    labels: dict[str, tuple[int, ...]]
    size: tuple[int, int]


@dataset
def broden(
    root: Path,
    path: str = "broden1_224",
    target: str = "scene",
    classes: int = 20,
    categories: list[str] | None = None,
    concepts: int = 100,
    size: int = 128,
    resize: str = "centre",
    background: str = "grey",
    verify: bool = True,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 4,
    flip: bool = True,
    seed: int = 0,
) -> Dataset:
    """Broadly and densely labelled photographs (Bau et al., CVPR 2017).

    ``path`` holds index.csv, label.csv and images. The classes are the ``classes`` most frequent
    labels of ``target`` ("scene" or "texture") among the training images; images without one of
    them are left out. Test images are those of the split val. Concepts are the ``concepts`` most
    frequent labels, of ``categories`` (None: color, object, part, material, scene and texture but
    for ``target``). Scenes and textures are known of the whole image only. Label maps have half the
    size of their images. With ``verify``, the number of images is checked. Pictures must not be
    published.
    """
    check_counts(validation, limit, seed)
    one_of("target", target, WHOLE)
    at_least("classes", classes, 2)
    at_least("concepts", concepts, 1)
    columns = categories or [name for name in (*PIXELS, *WHOLE) if name != target]
    for name in columns:
        one_of("categories", name, (*PIXELS, *WHOLE))
    sizing = read_sizing(size, resize, background)
    place = find_place("broden", root, path, ["index.csv", "label.csv", "images"], SOURCE)
    rows = [_row(place, entry, columns, target) for entry in _csv(place / "index.csv")]
    check_number("broden", "images", len(rows), IMAGES, verify)

    def plan() -> PhotographPlan:
        rows_and_labels = _rows_of_classes(rows, target, classes)
        return _plan(place, *rows_and_labels, columns, concepts, target,
                     {"validation": validation, "limit": limit, "seed": seed})  # fmt: skip

    parameters = {"target": target, "classes": classes, "categories": columns, "seed": seed,
                  "concepts": concepts, "validation": validation, "limit": limit}  # fmt: skip
    files = [place / "images" / name for row in rows for name in (row.image, *row.maps)]
    sources = Sources(place, files, [place / "index.csv", place / "label.csv"])
    return load_photographs(
        "broden", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip,
        licence=LICENCE, attribution="Broden (Bau et al. 2017)",
    )  # fmt: skip


def _csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _row(place: Path, entry: dict[str, str], columns: Sequence[str], target: str) -> _Row:
    try:
        maps = [name for c in PIXELS if c in columns for name in entry[c].split(";") if name]
        labels = {c: tuple(int(n) for n in entry[c].split(";") if n) for c in WHOLE
                  if c in (*columns, target)}  # fmt: skip
        size = int(entry["sw"]), int(entry["sh"])
        scale = int(entry["iw"]) // size[0]
        return _Row(entry["image"], entry["split"], scale, tuple(maps), labels, size)
    except (KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{shown_path(place / 'index.csv')} is not Broden's index: "
                         f"{type(error).__name__} {error}") from error  # fmt: skip


def _rows_of_classes(
    rows: Sequence[_Row], target: str, classes: int
) -> tuple[list[tuple[_Row, int]], list[int]]:
    """Rows with a class, with its number, and the labels that are classes."""
    frequency = Counter(n for row in rows if row.split == "train" for n in row.labels[target][:1])
    labels = sorted(number for number, _ in frequency.most_common(classes))
    number_of = {label: k for k, label in enumerate(labels)}
    pairs = [(row, number_of[row.labels[target][0]]) for row in rows
             if row.labels[target] and row.labels[target][0] in number_of]  # fmt: skip
    if len(labels) < 2:
        raise ValueError(f"there are {len(labels)} labels of '{target}'; there must be two")
    return pairs, labels


def _plan(
    place: Path,
    rows: Sequence[tuple[_Row, int]],
    classes: Sequence[int],
    columns: Sequence[str],
    concepts: int,
    target: str,
    arranged: dict[str, int | None],
) -> PhotographPlan:
    table = {int(entry["number"]): entry for entry in _csv(place / "label.csv")}
    if unnamed := [label for label in classes if label not in table]:
        raise ValueError(f"label {unnamed[0]} of index.csv is not in label.csv")
    names = [
        (number, name, category, frequency) for number, entry in table.items()
        for name, category, frequency in [_label(entry, columns)] if category
    ]  # fmt: skip
    frequent = sorted(sorted(names, key=lambda n: -n[3])[:concepts])
    numbers = {number: k for k, (number, *_) in enumerate(frequent)}
    splits: dict[str, list[Photograph]] = {"train": [], "val": []}
    for row, label in rows:
        regions = partial(_regions, place / "images", row, numbers, target)
        photograph = Photograph(place / "images" / row.image, label, regions, row.size, row.scale)
        splits.setdefault(row.split, []).append(photograph)
    parts = arrange(splits["train"], splits["val"], **arranged)  # type: ignore[arg-type]
    return PhotographPlan(
        tuple(table[label]["name"] for label in classes), parts,
        tuple((name, category) for _, name, category, _ in frequent), instances=False,
    )  # fmt: skip


def _label(entry: Mapping[str, str], columns: Sequence[str]) -> tuple[str, str, int]:
    """Name, main category ("" if it is none of ``columns``) and frequency of a label.

    Categories are written "object(213);part(4)".
    """
    counts = {name: int(n) for name, n in re.findall(r"(\w+)\((\d+)\)", entry["category"])}
    inside = {name: n for name, n in counts.items() if name in columns}
    category = max(sorted(inside), key=inside.__getitem__) if inside else ""
    return entry["name"], category, int(entry["frequency"])


def _regions(images: Path, row: _Row, numbers: Mapping[int, int], target: str) -> list[Region]:
    regions = []
    for name in row.maps:
        labels = read_coded(images / name)
        regions += [
            Region(numbers[value], "mask", labels == value)
            for value in np.unique(labels).tolist() if value in numbers
        ]  # fmt: skip
    for column, labels_of_image in row.labels.items():
        if column != target:
            regions += [
                Region(numbers[n], "image", NOTHING) for n in labels_of_image if n in numbers
            ]
    return regions


def read_coded(file: Path) -> np.ndarray:
    """The numbers of a label map in colours: red + 256 * green. Raises ValueError."""
    try:
        with Image.open(file, formats=("PNG",)) as image:
            if image.mode not in ("RGB", "RGBA"):
                raise ValueError(f"{shown_path(file)} is not a label map in colours")
            values = np.asarray(image).astype(np.int64)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"its label map {shown_path(file)} is missing or damaged") from error
    return values[..., 0] + 256 * values[..., 1]
