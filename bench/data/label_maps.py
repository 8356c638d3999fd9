"""Photographs with label maps: PNG files in which each pixel's value is the number of a concept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import read_each, reading_threads, shown_path
from legible.bench.data.image_sets import check_counts
from legible.bench.data.imagefolder import class_files, class_folders, folders_in, images_below
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    Sources,
    arrange,
    check_number,
    find_place,
    load_photographs,
    missing,
    random_parts,
)
from legible.bench.data.regions import Region

VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
#: Number of training and validation images with label maps in PASCAL VOC 2012.
VOC_2012 = {"train": 1464, "val": 1449}
#: Names of values that are no concept.
UNLABELLED = ("background", "__background__", "unlabeled", "unlabelled", "void", "ignore")
#: The value of pixels that nobody has labelled.
IGNORED = 255
ORIGIN = (
    "your own annotation tool; PASCAL VOC's from http://host.robots.ox.ac.uk/pascal/VOC/voc2012"
)


class LabelName(NamedTuple):
    """The name of a value, and the category of its concept."""

    name: str
    category: str


@dataset
def label_maps(
    root: Path,
    path: str = "",
    images: str = "images",
    maps: str = "labels",
    names: str = "names.txt",
    size: int = 128,
    resize: str = "centre",
    background: str = "grey",
    verify: bool = True,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 4,
    flip: bool = True,
    seed: int = 0,
    licence: str = "not stated",
    publish: bool = False,
) -> Dataset:
    """Photographs with label maps: PNG files with the number of a concept at each pixel.

    ``path`` starts at the data root and is one of these:

    - PASCAL VOC's layout: a folder with JPEGImages, SegmentationClass and ImageSets/Segmentation,
      as VOCdevkit/VOC2012. Test images are those of val.txt. With ``verify``, the numbers of images
      of VOC2012 are checked.
    - ``path/images`` and ``path/labels`` (parameters ``images`` and ``maps``) with files of the
      same names, and a list of names, ``path/names.txt``. If images holds train/CLASS and
      test/CLASS, the class is the folder, and labels holds the same folders. Otherwise the class of
      an image is the label that covers most of it, and a fifth of the images, drawn at random, is
      for the test.

    The list of names is a JSON object {"1": "wheel"}, or has lines "1 wheel" or "1<tab>front
    wheel<tab>part", where the last is the concept's category. Lines without a number are numbered
    from 0. Values named background, void or unlabelled, 255, and an unnamed 0 are no concept. An
    image without a map has no concepts. ``licence`` and ``publish`` are as for `coco`.
    """
    check_counts(validation, limit, seed)
    sizing = read_sizing(size, resize, background)
    place = find_place("label_maps", root, path or "label_maps", [], ORIGIN)
    is_voc = (place / "SegmentationClass").is_dir()
    layout = _voc(place, verify) if is_voc else _folders(place, images, maps)
    files = [] if is_voc else [place / names]
    sources = Sources(
        place, [f for pairs in layout.pairs.values() for pair in pairs for f in pair if f], files
    )

    def plan() -> PhotographPlan:
        table = dict(enumerate((LabelName(n, "object") for n in VOC), 1)) if is_voc else (
            read_names(place / names)
        )  # fmt: skip
        return _plan(layout, table, validation=validation, limit=limit, seed=seed)

    parameters = {"validation": validation, "limit": limit, "seed": seed, "names": names}
    return load_photographs(
        "label_maps", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip,
        licence=licence, publishable=publish,
    )  # fmt: skip


class _MapFiles(NamedTuple):
    """Image files with their maps by split ("all": without a split), and classes if folders give
    them."""

    pairs: dict[str, list[tuple[Path, Path | None]]]
    classes: tuple[str, ...] = ()
    labels: dict[Path, int] = {}


def _voc(place: Path, verify: bool) -> _MapFiles:
    sets = place / "ImageSets" / "Segmentation"
    pairs: dict[str, list[tuple[Path, Path | None]]] = {}
    for split, name in (("train", "train"), ("test", "val")):
        file = sets / f"{name}.txt"
        if not file.is_file():
            raise missing("label_maps", file, ORIGIN)
        stems = file.read_text(encoding="utf-8").split()
        if place.name == "VOC2012":
            check_number(
                "label_maps: VOC2012", f"{name} images", len(stems), VOC_2012[name], verify
            )
        pairs[split] = [
            (place / "JPEGImages" / f"{stem}.jpg", place / "SegmentationClass" / f"{stem}.png")
            for stem in stems
        ]
    return _MapFiles(pairs)


def _folders(place: Path, images: str, maps: str) -> _MapFiles:
    for folder in (images, maps):
        if not (place / folder).is_dir():
            raise ValueError(
                f"{shown_path(place)} has no folder '{folder}': set images and maps to the folders "
                "of photographs and of label maps"
            )
    above = place / images
    labels: dict[Path, int] = {}
    classes: tuple[str, ...] = ()
    if "train" in folders_in(above):
        splits, classes = class_folders(above)
        files = {}
        for split, folder in splits.items():
            entries = class_files(above / folder, classes)
            labels |= dict(entries)
            files[split] = [file for file, _ in entries]
    else:
        files = {"all": sorted(images_below(above, (place.resolve(),)))}
    pairs = {
        split: [(file, _map_of(file, above, place / maps)) for file in each]
        for split, each in files.items()
    }
    matched = {pair[1] for each in pairs.values() for pair in each}
    orphans = [file for file in sorted((place / maps).rglob("*.png")) if file not in matched]
    if orphans:
        raise ValueError(
            f"{len(orphans)} label maps have no image, the first: {shown_path(orphans[0])}: add "
            "the images or remove the maps"
        )
    return _MapFiles(pairs, classes, labels)


def _map_of(file: Path, above: Path, maps: Path) -> Path | None:
    place = (maps / file.relative_to(above)).with_suffix(".png")
    return place if place.is_file() else None


def read_names(file: Path) -> dict[int, LabelName]:
    """The list of names of label values. Raises ValueError with the line that cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"{shown_path(file)} is missing or not text: it must name each value of the label "
            "maps, as '1 wheel' on a line"
        ) from None
    try:
        table = json.loads(text) if file.suffix == ".json" else None
    except json.JSONDecodeError as error:
        raise ValueError(f"{shown_path(file)} is not JSON: {error}") from error
    lines = [f"{k}\t{v}" for k, v in table.items()] if table is not None else text.splitlines()
    names: dict[int, LabelName] = {}
    for row, line in enumerate(line for line in lines if line.strip()):
        first, _, rest = line.strip().partition("\t" if "\t" in line else " ")
        number, text = (
            (int(first.strip(":")), rest) if first.strip(":").isdecimal() else (row, line)
        )
        name, _, category = text.strip().partition("\t")
        if number in names:
            raise ValueError(f"{shown_path(file)} names the value {number} twice")
        names[number] = LabelName(name.strip(), category.strip() or "object")
    return names


def _plan(
    layout: _MapFiles,
    table: Mapping[int, LabelName],
    *,
    validation: int | None,
    limit: int | None,
    seed: int,
) -> PhotographPlan:
    values = [value for value, entry in sorted(table.items())
              if entry.name.lower() not in UNLABELLED]  # fmt: skip
    numbers = {value: k for k, value in enumerate(values)}
    silent = {IGNORED, 0, *table} - set(values)
    labels, classes, notes = layout.labels, layout.classes, []
    if not classes:
        labels, present = _largest(layout, numbers, silent)
        classes = tuple(table[values[number]].name for number in present)
        if left_out := sum(map(len, layout.pairs.values())) - len(labels):
            notes.append(
                f"{left_out} images show no labelled thing of the training images; left out"
            )
    photographs = {
        split: [
            Photograph(image, labels[image], partial(label_regions, file, numbers, silent))
            if file else Photograph(image, labels[image])
            for image, file in pairs if image in labels
        ]
        for split, pairs in layout.pairs.items()
    }  # fmt: skip
    if "all" in photographs:
        photographs["train"], photographs["test"] = random_parts(photographs["all"], seed)
    parts = arrange(
        photographs["train"], photographs["test"], photographs.get("validation"),
        validation=validation, limit=limit, seed=seed,
    )  # fmt: skip
    names = [table[value].name for value in values]
    of_class = tuple(names.index(name) if name in names else -1 for name in classes)
    return PhotographPlan(
        classes, parts, tuple(table[value] for value in values),
        of_class if max(of_class) >= 0 else (), instances=False, notes=tuple(notes),
    )  # fmt: skip


def _largest(
    layout: _MapFiles, numbers: Mapping[int, int], silent: set[int]
) -> tuple[dict[Path, int], list[int]]:
    """Labels of images by the concept that covers most of each, and the concepts that are classes:
    those of training images."""
    maps = {file: image for pairs in layout.pairs.values() for image, file in pairs if file}
    largest: dict[Path, int] = {}
    with reading_threads() as pool:
        areas = read_each(pool, lambda file: _areas(file, numbers, silent), [*maps])
        for image, area in zip(maps.values(), areas, strict=True):
            if area:
                largest[image] = max(sorted(area), key=area.__getitem__)
    training = layout.pairs.get("train") or layout.pairs["all"]
    present = sorted({largest[image] for image, _ in training if image in largest})
    if len(present) < 2:
        raise ValueError(
            f"the maps show {len(present)} things that can be classes; there must be two"
        )
    row = {number: k for k, number in enumerate(present)}
    return {image: row[n] for image, n in largest.items() if n in row}, present


def _areas(file: Path, numbers: Mapping[int, int], silent: set[int]) -> dict[int, int]:
    values, counts = np.unique(read_map(file), return_counts=True)
    refuse_unnamed(values.tolist(), numbers, silent)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return {numbers[value]: count for value, count in pairs if value in numbers}


def refuse_unnamed(values: Sequence[int], numbers: Mapping[int, int], silent: set[int]) -> None:
    """Raises ValueError for a value without a name."""
    unnamed = [value for value in values if value not in numbers and value not in silent]
    if unnamed:
        raise ValueError(f"its value {unnamed[0]} has no name: add it to the list of names")


def read_map(file: Path) -> np.ndarray:
    """The numbers of a label map, (height, width). Raises ValueError if it is not one.

    The colours of a palette do not count.
    """
    try:
        with Image.open(file, formats=("PNG",)) as image:
            image.load()
            if image.mode not in ("L", "P", "1", "I", "I;16"):
                raise ValueError(f"it has colours (mode {image.mode}): a label map has one channel "
                                 "of numbers")  # fmt: skip
            return np.asarray(image).astype(np.int64)
    except OSError as error:
        raise ValueError(error.strerror or "it is not a PNG file, or is damaged") from error
    except SyntaxError as error:
        raise ValueError("it is a damaged PNG file") from error


def label_regions(file: Path, numbers: Mapping[int, int], silent: set[int]) -> list[Region]:
    """The regions of a label map: a mask for each concept."""
    try:
        labels = read_map(file)
        values = np.unique(labels).tolist()
        refuse_unnamed(values, numbers, silent)
    except ValueError as error:
        raise ValueError(f"its label map {shown_path(file)}: {error}") from error
    return [Region(numbers[v], "mask", labels == v) for v in values if v in numbers]
