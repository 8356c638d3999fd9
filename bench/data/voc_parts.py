"""PASCAL-Part: photographs of PASCAL VOC 2010 with masks of objects and of their parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import read_each, reading_threads, shown_path
from legible.bench.data.image_sets import check_counts
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    Sources,
    arrange,
    check_number,
    find_place,
    load_photographs,
    missing,
)
from legible.bench.data.regions import Region
from legible.bench.errors import nearest

SOURCE = ("http://roozbehm.info/pascal-parts/pascal-parts.html (trainval.tar.gz) and "
          "http://host.robots.ox.ac.uk/pascal/VOC/voc2010 (VOCdevkit)")  # fmt: skip
LICENCE = "images from Flickr under Flickr's terms of use; for research"
#: One object: its class, its mask, and name and mask of each part.
PartObject = tuple[str, np.ndarray, list[tuple[str, np.ndarray]]]


@dataset
def voc_parts(
    root: Path,
    path: str = "VOCdevkit/VOC2010",
    annotations: str = "Annotations_Part",
    classes: list[str] | None = None,
    per_class: bool = False,
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
    """Photographs of PASCAL VOC 2010 with PASCAL-Part's masks (Chen et al., CVPR 2014).

    ``path`` holds JPEGImages and ImageSets/Main; ``annotations``, the folder of PASCAL-Part's .mat
    files, lies in ``path``, beside it, or in the data root. The class of an image is that of its
    largest object, of ``classes`` if they are given; test images are those of val.txt. Concepts:
    each class of objects (category "object"), which defines that class, and each part, under
    PASCAL-Part's name (category "part"). Parts of one name count as one concept in all classes;
    with ``per_class`` they are apart, as "cat head". Pictures must not be published. With
    ``verify``, the number of annotations (10,103) is checked.
    """
    check_counts(validation, limit, seed)
    sizing = read_sizing(size, resize, background)
    needed = ["JPEGImages", "ImageSets/Main/train.txt", "ImageSets/Main/val.txt"]
    place = find_place("voc_parts", root, path, needed, SOURCE)
    places = [place / annotations, place.parent / annotations, root / annotations]
    folder = next((p for p in places if p.is_dir()), None)
    if folder is None:
        raise missing("voc_parts", place / annotations, SOURCE)
    mats = {file.stem: file for file in sorted(folder.glob("*.mat"))}
    check_number("voc_parts", "annotations", len(mats), 10103, verify)
    sets = {split: _stems(place / "ImageSets" / "Main" / f"{name}.txt", mats)
            for split, name in (("train", "train"), ("test", "val"))}  # fmt: skip
    images = {stem: place / "JPEGImages" / f"{stem}.jpg" for s in sets.values() for stem in s}

    def plan() -> PhotographPlan:
        arranged = {"validation": validation, "limit": limit, "seed": seed}
        return _plan(images, mats, sets, classes, per_class, arranged)

    parameters = {"validation": validation, "limit": limit, "seed": seed, "classes": classes,
                  "per_class": per_class}  # fmt: skip
    sources = Sources(place, [*images.values(), *(mats[stem] for stem in images)])
    return load_photographs(
        "voc_parts", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip,
        licence=LICENCE, attribution="PASCAL VOC 2010; PASCAL-Part (Chen et al. 2014)",
    )  # fmt: skip


def _stems(file: Path, mats: dict[str, Path]) -> list[str]:
    return [stem for stem in file.read_text(encoding="utf-8").split() if stem in mats]


def _plan(
    images: dict[str, Path],
    mats: dict[str, Path],
    sets: dict[str, list[str]],
    classes: list[str] | None,
    per_class: bool,
    arranged: dict[str, Any],
) -> PhotographPlan:
    with reading_threads() as pool:
        files = [mats[stem] for stem in images]
        summaries = dict(
            zip(images, read_each(pool, partial(_summary, per_class), files), strict=True)
        )
    objects = sorted({name for areas, _ in summaries.values() for name in areas})
    if unknown := [name for name in classes or [] if name not in objects]:
        raise ValueError(f"classes: no object '{unknown[0]}'{nearest(unknown[0], objects)}")
    largest = {}
    for stem, (areas, _) in summaries.items():
        areas = {name: area for name, area in areas.items() if name in (classes or objects)}
        if areas:
            largest[stem] = max(sorted(areas), key=areas.__getitem__)
    names = sorted({largest[stem] for stem in sets["train"] if stem in largest})
    if len(names) < 2:
        raise ValueError(f"the training images have {len(names)} classes; there must be two")
    parts = sorted({name for _, names in summaries.values() for name in names})
    concept = {("object", name): k for k, name in enumerate(objects)}
    concept |= {("part", name): k for k, name in enumerate(parts, len(objects))}
    splits = {
        split: [
            Photograph(
                images[s], names.index(largest[s]), partial(_regions, mats[s], concept, per_class)
            )
            for s in stems if largest.get(s) in names
        ]
        for split, stems in sets.items()
    }  # fmt: skip
    left_out = len(images) - sum(map(len, splits.values()))
    notes = (f"{left_out} images show no object of the classes; left out",) if left_out else ()
    concepts = tuple((name, category) for category, name in concept)
    of_class = tuple(objects.index(name) for name in names)
    parts_of = arrange(splits["train"], splits["test"], **arranged)
    return PhotographPlan(tuple(names), parts_of, concepts, of_class, notes=notes)


def _summary(per_class: bool, file: Path) -> tuple[dict[str, int], set[str]]:
    """Area of each class of objects, and names of the parts, in one annotation."""
    areas: dict[str, int] = {}
    parts: set[str] = set()
    for name, mask, own in read_objects(file):
        areas[name] = areas.get(name, 0) + int(mask.sum())
        parts |= {_part_name(name, part, per_class) for part, _ in own}
    return areas, parts


def _part_name(name: str, part: str, per_class: bool) -> str:
    return f"{name} {part}" if per_class else part


def _regions(file: Path, concept: dict[tuple[str, str], int], per_class: bool) -> list[Region]:
    regions = []
    for name, mask, parts in read_objects(file):
        regions.append(Region(concept["object", name], "mask", mask))
        for part, part_mask in parts:
            number = concept["part", _part_name(name, part, per_class)]
            regions.append(Region(number, "mask", part_mask))
    return regions


def read_objects(file: Path) -> list[PartObject]:
    """The objects in one .mat file of PASCAL-Part. Raises ValueError if it cannot be read."""
    try:
        content = scipy.io.loadmat(str(file), squeeze_me=True, struct_as_record=False)
        return [
            (str(item["class"]) if isinstance(item, dict) else str(getattr(item, "class")),
             np.asarray(item.mask, bool),
             [(str(part.part_name), np.asarray(part.mask, bool)) for part in _each(item.parts)])
            for item in _each(content["anno"].objects)
        ]  # fmt: skip
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(
            f"{shown_path(file)} is not PASCAL-Part's: {type(error).__name__} {error}"
        ) from error


def _each(value: Any) -> list[Any]:
    """The items of a MATLAB array of structures, which may be one structure or none."""
    return list(np.atleast_1d(value)) if np.size(value) else []
