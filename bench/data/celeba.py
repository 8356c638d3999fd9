"""CelebA: photographs of faces with attributes and landmarks, or with CelebAMask-HQ's masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torchvision.datasets import CelebA

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.cub200 import HALF, read_grey
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import shown_path
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
from legible.bench.data.regions import NOTHING, Region
from legible.bench.data.tables import table_rows
from legible.bench.errors import nearest

SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
MASK_SOURCE = "https://github.com/switchablenorms/CelebAMask-HQ"
LICENCE = "images of people from the internet; for non-commercial research, not to be published"
#: Folders in which the files may lie, besides the dataset's own.
PLACES = ("", "Anno", "Eval", "Img")
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
MASKS = {
    "skin": "skin", "nose": "nose", "eye_g": "eyeglasses", "l_eye": "left eye",
    "r_eye": "right eye", "l_brow": "left brow", "r_brow": "right brow", "l_ear": "left ear",
    "r_ear": "right ear", "mouth": "mouth", "u_lip": "upper lip", "l_lip": "lower lip",
    "hair": "hair", "hat": "hat", "ear_r": "earring", "neck_l": "necklace", "neck": "neck",
    "cloth": "cloth",
}  # fmt: skip


class _Face(NamedTuple):
    """One image, the split it belongs to (0 to 2), its attributes, and its concepts' places."""

    file: Path
    split: int
    attributes: np.ndarray
    points: np.ndarray
    masks: dict[str, Path]


@dataset
def celeba(
    root: Path,
    path: str = "celeba",
    masks: str = "CelebAMask-HQ",
    target: str = "Smiling",
    attributes: list[str] | None = None,
    size: int = 128,
    resize: str = "centre",
    background: str = "grey",
    verify: bool = True,
    limit: int | None = None,
    limit_test: int | None = None,
    shift: int = 4,
    flip: bool = True,
    seed: int = 0,
) -> Dataset:
    """Photographs of faces (Liu et al., ICCV 2015), with masks of parts (Lee et al., CVPR 2020).

    ``path`` holds the aligned images and the lists of the official page, in its folders Anno, Eval
    and Img or all in one folder, as torchvision has them. The classes are "not TARGET" and
    "TARGET", for one of the 40 attributes. The split is the official one.

    If the folder ``masks`` (from the data root) exists, the images are the 30,000 of CelebAMask-HQ
    and the concepts are its 18 masks; list_eval_partition.txt of CelebA still gives the split. An
    empty ``masks`` ignores that folder: then the images are CelebA's 202,599, and the concepts five
    landmarks, as small discs. ``attributes`` are further concepts, known of the whole image only.
    With ``verify``, the numbers of images and the checksums of the lists are checked. ``limit``
    training images are used, and ``limit_test`` of the validation and of the test images (None:
    all). Pictures must not be published.
    """
    check_counts(None, limit, seed)
    check_counts(limit_test, None, seed)
    sizing = read_sizing(size, resize, background)
    place = find_place("celeba", root, path, [], SOURCE)
    faces_folder = root / Path(masks).expanduser() if masks else None
    has_masks = faces_folder is not None and faces_folder.is_dir()
    lists = {"list_eval_partition.txt": _file(place, "list_eval_partition.txt")}
    if has_masks:
        assert faces_folder is not None
        parts = ["CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebAMask-HQ-attribute-anno.txt",
                 "CelebA-HQ-to-CelebA-mapping.txt"]  # fmt: skip
        find_place("celeba", root, masks, parts, MASK_SOURCE)
        annotations = [*lists.values(), *(faces_folder / part for part in parts[2:])]
        images = sorted((faces_folder / parts[0]).glob("*.jpg"))
        files = [*images, *sorted((faces_folder / parts[1]).rglob("*.png"))]
        check_number("celeba: CelebAMask-HQ", "images", len(images), 30000, verify)
    else:
        names = ("list_attr_celeba.txt", "list_landmarks_align_celeba.txt")
        lists |= {name: _file(place, name) for name in names}
        annotations = [*lists.values()]
        files = sorted(_file(place, "img_align_celeba").glob("*.jpg"))
        check_number("celeba", "images", len(files), 202599, verify)

    def plan() -> PhotographPlan:
        if verify:
            _check_lists(lists)
        faces, names = (
            _mask_faces(faces_folder, lists, files) if has_masks and faces_folder else
            _landmark_faces(lists, files)
        )  # fmt: skip
        return _plan(faces, names, target, attributes or [], has_masks, limit, limit_test, seed)

    parameters = {"target": target, "attributes": attributes, "limit": limit, "seed": seed,
                  "limit_test": limit_test, "masks": has_masks}  # fmt: skip
    sources = Sources(faces_folder if has_masks and faces_folder else place, files, annotations)
    return load_photographs(
        "celeba", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip,
        licence=LICENCE, attribution="CelebA (Liu et al. 2015)",
    )  # fmt: skip


def _file(place: Path, name: str) -> Path:
    """A file of the official page, in the folder itself or in Anno, Eval or Img."""
    for folder in PLACES:
        if (file := place / folder / name).exists():
            return file
    raise missing("celeba", place / name, SOURCE)


def _check_lists(lists: Mapping[str, Path]) -> None:
    """Raises DataMissing for a list whose checksum is not the one that torchvision knows."""
    checksums = {name: checksum for _, checksum, name in CelebA.file_list}
    for name, file in lists.items():
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "md5").hexdigest()
        if digest != checksums[name]:
            raise DataMissing(
                f"celeba: {shown_path(file)} is damaged or another version (MD5 {digest}, not "
                f"{checksums[name]}): fetch it from {SOURCE}"
            )


def _attribute_table(file: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names of the attributes, and their values (-1 or 1) by file name: a number, then a line of
    names, then a line for each image."""
    rows = table_rows(file, 1, "\n")
    next(rows)
    names = next(rows)[0].split()
    values = {}
    for (line,) in rows:
        name, *fields = line.split()
        if len(fields) != len(names):
            raise ValueError(
                f"{shown_path(file)}: {name} has {len(fields)} values for {len(names)} names"
            )
        values[name] = np.array([int(field) for field in fields])
    return names, values


def _landmark_faces(
    lists: Mapping[str, Path], files: Sequence[Path]
) -> tuple[list[_Face], list[str]]:
    names, values = _attribute_table(lists["list_attr_celeba.txt"])
    _, points = _attribute_table(lists["list_landmarks_align_celeba.txt"])
    splits = dict(table_rows(lists["list_eval_partition.txt"], 2))
    _refuse_unlisted(files, values, points, splits)
    faces = [
        _Face(file, int(splits[file.name]), values[file.name],
              points[file.name].reshape(-1, 2).astype(float), {})
        for file in files
    ]  # fmt: skip
    return faces, names


def _mask_faces(
    folder: Path, lists: Mapping[str, Path], files: Sequence[Path]
) -> tuple[list[_Face], list[str]]:
    names, values = _attribute_table(folder / "CelebAMask-HQ-attribute-anno.txt")
    splits = dict(table_rows(lists["list_eval_partition.txt"], 2))
    rows = table_rows(folder / "CelebA-HQ-to-CelebA-mapping.txt", 3)
    next(rows)
    originals = {f"{number}.jpg": original.strip() for number, _, original in rows}
    images = [file for file in files if file.suffix == ".jpg"]
    masks: dict[int, dict[str, Path]] = {}
    for file in files:
        if file.suffix == ".png":
            number, _, part = file.stem.partition("_")
            masks.setdefault(int(number), {})[part] = file
    _refuse_unlisted(images, values, originals)
    faces = [
        _Face(file, int(splits[originals[file.name]]), values[file.name], np.zeros((0, 2)),
              masks.get(int(file.stem), {}))
        for file in images
    ]  # fmt: skip
    return faces, names


def _refuse_unlisted(files: Sequence[Path], *tables: Mapping[str, object]) -> None:
    unlisted = [file for file in files if any(file.name not in table for table in tables)]
    if unlisted:
        raise ValueError(
            f"{len(unlisted)} images are not in the lists, the first: {shown_path(unlisted[0])}: "
            f"remove them, or fetch the lists from {SOURCE}"
        )


def _plan(
    faces: Sequence[_Face],
    names: Sequence[str],
    target: str,
    attributes: Sequence[str],
    has_masks: bool,
    limit: int | None,
    limit_test: int | None,
    seed: int,
) -> PhotographPlan:
    for name in (target, *attributes):
        if name not in names:
            raise ValueError(f"there is no attribute '{name}'{nearest(name, names)}")
    column = names.index(target)
    places = [(name, "part") for name in (MASKS.values() if has_masks else LANDMARKS)]
    concepts = (*places, *((name.replace("_", " "), "attribute") for name in attributes))
    columns = [names.index(name) for name in attributes]
    splits: list[list[Photograph]] = [[], [], []]
    for face in faces:
        regions = partial(_regions, face, columns, len(places))
        scale = 2 if has_masks else 1  # masks of 512 pixels, images of 1,024
        label = int(face.attributes[column] > 0)
        splits[face.split].append(Photograph(face.file, label, regions, None, scale))
    parts = arrange(splits[0], splits[2], splits[1], validation=None, limit=limit, seed=seed)
    parts |= {split: parts[split][:limit_test] for split in ("validation", "test")}
    title = target.replace("_", " ")
    return PhotographPlan((f"not {title}", title), parts, concepts)


def _regions(face: _Face, columns: Sequence[int], first: int) -> list[Region]:
    regions = [Region(k, "point", point) for k, point in enumerate(face.points)]
    for k, part in enumerate(MASKS):
        if part in face.masks:
            regions.append(Region(k, "mask", read_grey(face.masks[part]) >= HALF))
    for k, column in enumerate(columns, first):
        if face.attributes[column] > 0:
            regions.append(Region(k, "image", NOTHING))
    return regions
