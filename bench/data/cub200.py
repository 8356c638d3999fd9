"""CUB-200-2011: photographs of 200 kinds of birds, with 15 parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_sets import check_counts
from legible.bench.data.label_maps import read_map
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    Sources,
    arrange,
    check_number,
    find_place,
    load_photographs,
)
from legible.bench.data.regions import Region
from legible.bench.data.tables import table_rows

SOURCE = "https://www.vision.caltech.edu/datasets/cub_200_2011 (CUB_200_2011.tgz)"
LICENCE = "images from Flickr, each with its own rights; for non-commercial research"
FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt",
         "bounding_boxes.txt", "parts/parts.txt", "parts/part_locs.txt", "images")  # fmt: skip
#: A segmentation's grey value from which a pixel counts as bird: half of the annotators.
HALF = 128


@dataset
def cub200(
    root: Path,
    path: str = "CUB_200_2011",
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
    """Photographs of 200 kinds of birds with 15 parts as points (Wah et al. 2011, CNS-TR-2011-001).

    Concepts: the parts, as small discs, and "bird", which defines every class. It is a mask where
    the segmentations are in ``path/segmentations`` or beside ``path`` (segmentations.tgz from the
    same page), otherwise a box. Pictures must not be published. With ``verify``, the numbers of
    images and classes are checked; a part of the data needs ``verify=False``.
    """
    check_counts(validation, limit, seed)
    sizing = read_sizing(size, resize, background)
    place = find_place("cub200", root, path, FILES, SOURCE)
    folders = [f for f in (place / "segmentations", place.parent / "segmentations") if f.is_dir()]
    names = dict(table_rows(place / "images.txt", 2))
    files = {number: place / "images" / name for number, name in names.items()}
    masks = {
        number: (folders[0] / name).with_suffix(".png") for number, name in names.items()
    } if folders else {}  # fmt: skip
    masks = {number: file for number, file in masks.items() if file.is_file()}
    check_number("cub200", "images", len(files), 11788, verify)
    annotations = [place / name for name in FILES[:-1]]

    def plan() -> PhotographPlan:
        return _plan(place, files, masks, verify, validation, limit, seed)

    parameters = {"validation": validation, "limit": limit, "seed": seed}
    sources = Sources(place, [*files.values(), *masks.values()], annotations)
    return load_photographs(
        "cub200", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip,
        licence=LICENCE, attribution="Caltech-UCSD Birds-200-2011 (Wah et al. 2011)",
    )  # fmt: skip


def _plan(
    place: Path,
    files: dict[str, Path],
    masks: dict[str, Path],
    verify: bool,
    validation: int | None,
    limit: int | None,
    seed: int,
) -> PhotographPlan:
    class_names = dict(table_rows(place / "classes.txt", 2))
    check_number("cub200", "classes", len(class_names), 200, verify)
    row = {number: k for k, number in enumerate(class_names)}
    parts = dict(table_rows(place / "parts" / "parts.txt", 2))
    concept = {number: k for k, number in enumerate(parts, 1)}
    boxes = {
        number: np.array([float(v) for v in values])
        for number, *values in table_rows(place / "bounding_boxes.txt", 5)
    }
    points: dict[str, list[Region]] = {number: [] for number in files}
    for number, part, x, y, visible in table_rows(place / "parts" / "part_locs.txt", 5):
        if visible.strip() == "1" and number in points:
            shape = np.array([float(x), float(y)])
            points[number].append(Region(concept[part], "point", shape))
    labels = dict(table_rows(place / "image_class_labels.txt", 2))
    is_training = dict(table_rows(place / "train_test_split.txt", 2))
    splits: dict[str, list[Photograph]] = {"1": [], "0": []}
    for number, file in files.items():
        regions = partial(_regions, masks.get(number), boxes[number], points[number])
        photograph = Photograph(file, row[labels[number].strip()], regions)
        splits[is_training[number].strip()].append(photograph)
    names = tuple(name.partition(".")[2].replace("_", " ") or name for name in class_names.values())
    concepts = (("bird", "object"), *((name, "part") for name in parts.values()))
    arranged = arrange(splits["1"], splits["0"], validation=validation, limit=limit, seed=seed)
    return PhotographPlan(names, arranged, concepts, (0,) * len(names))


def _regions(mask: Path | None, box: np.ndarray, points: list[Region]) -> list[Region]:
    if mask is not None:
        return [Region(0, "mask", read_grey(mask) >= HALF), *points]
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    return [Region(0, "box", corners), *points]


def read_grey(file: Path) -> np.ndarray:
    """The values of a grey PNG file, of which some come with an alpha channel."""
    try:
        return read_map(file)
    except ValueError as error:
        if "mode LA" not in str(error):
            raise ValueError(f"its mask {file.name}: {error}") from error
    from PIL import Image

    with Image.open(file, formats=("PNG",)) as image:
        return np.asarray(image.getchannel(0)).astype(np.int64)
