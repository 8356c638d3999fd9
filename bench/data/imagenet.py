"""ImageNet: photographs of 1,000 classes, in the layout of its challenge of 2012."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import scipy.io
import torch

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import shown_path
from legible.bench.data.image_sets import check_counts
from legible.bench.data.imagefolder import folders_in, images_below
from legible.bench.data.parameter_checks import at_least
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
from legible.bench.errors import nearest

SOURCE = ("https://image-net.org/download-images (ILSVRC2012_img_train.tar, "
          "ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz)")  # fmt: skip
LICENCE = "images with their own rights; for non-commercial research and education"
DEVKIT = "ILSVRC2012_devkit_t12"
#: Numbers of classes, training images and validation images.
CLASSES, TRAIN, VALIDATION = 1000, 1281167, 50000


@dataset
def imagenet(
    root: Path,
    path: str = "imagenet",
    classes: list[str] | None = None,
    per_class: int | None = None,
    per_class_test: int | None = None,
    size: int = 224,
    resize: str = "short",
    background: str = "grey",
    verify: bool = True,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 8,
    flip: bool = True,
    seed: int = 0,
) -> Dataset:
    """Photographs of 1,000 classes, without concepts (Russakovsky et al., IJCV 2015).

    ``path`` holds train/WNID/*.JPEG, val and ILSVRC2012_devkit_t12. val has the 50,000 images in
    one folder, or in folders WNID as torchvision leaves them; they are the test images. ``classes``
    names some of the classes by WNID ("n02085620") or by a name of the devkit ("Chihuahua"). At
    most ``per_class`` training images and ``per_class_test`` test images of each class are used,
    drawn at random; all of them do not fit in the memory of most machines. With ``verify``, the
    numbers of images and classes are checked. Pictures must not be published.
    """
    check_counts(validation, limit, seed)
    for name, count in (("per_class", per_class), ("per_class_test", per_class_test)):
        if count is not None:
            at_least(name, count, 1)
    sizing = read_sizing(size, resize, background)
    meta = f"{DEVKIT}/data/meta.mat"
    place = find_place("imagenet", root, path, ["train", "val", meta], SOURCE)
    synsets = read_synsets(place / meta)
    check_number("imagenet", "classes", len(synsets), CLASSES, verify)
    wnids = _selected(synsets, classes)
    train = {wnid: _images(place / "train" / wnid) for wnid in synsets}
    test = _test_images(place, synsets)
    check_number("imagenet", "training images", sum(map(len, train.values())), TRAIN, verify)
    check_number("imagenet", "validation images", sum(map(len, test.values())), VALIDATION, verify)

    def photographs(files: dict[str, list[Path]], most: int | None) -> list[Photograph]:
        return [
            Photograph(file, label)
            for label, wnid in enumerate(wnids) for file in _some(files[wnid], most, seed + label)
        ]  # fmt: skip

    parts = [photographs(train, per_class), photographs(test, per_class_test)]

    def plan() -> PhotographPlan:
        arranged = arrange(*parts, validation=validation, limit=limit, seed=seed)
        return PhotographPlan(tuple(names_of(synsets, wnids)), arranged)

    parameters = {"classes": wnids, "validation": validation, "limit": limit, "seed": seed,
                  "per_class": per_class, "per_class_test": per_class_test}  # fmt: skip
    sources = Sources(place, [p.file for part in parts for p in part], [place / meta])
    return load_photographs(
        "imagenet", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip,
        licence=LICENCE, attribution="ImageNet (Russakovsky et al. 2015)",
    )  # fmt: skip


def read_synsets(file: Path) -> dict[str, list[str]]:
    """WNIDs and names of the classes in the devkit's meta.mat, in the order of their numbers.

    Raises ValueError if the file is not that.
    """
    try:
        rows = scipy.io.loadmat(str(file), squeeze_me=True)["synsets"]
        leaves = sorted((int(row[0]), str(row[1]), str(row[2])) for row in rows if int(row[4]) == 0)
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(
            f"{shown_path(file)} is not the devkit's: {type(error).__name__} {error}"
        ) from error
    return {wnid: names.split(", ") for _, wnid, names in leaves}


def names_of(synsets: dict[str, list[str]], wnids: Sequence[str]) -> list[str]:
    """A name for each class; where two have the same, with the WNID."""
    first = [synsets[wnid][0] for wnid in wnids]
    return [name if first.count(name) == 1 else f"{name} ({wnid})"
            for name, wnid in zip(first, wnids, strict=True)]  # fmt: skip


def _selected(synsets: dict[str, list[str]], classes: list[str] | None) -> list[str]:
    """The WNIDs of classes, sorted as torchvision sorts them."""
    if classes is None:
        return sorted(synsets)
    by_name = {name: wnid for wnid, names in synsets.items() for name in [*names, wnid]}
    for name in classes:
        if name not in by_name:
            raise ValueError(f"classes: there is no class '{name}'{nearest(name, by_name)}")
    wnids = sorted({by_name[name] for name in classes})
    if len(wnids) < 2:
        raise ValueError("classes must name at least two classes")
    return wnids


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise missing("imagenet", folder, SOURCE)
    return sorted(images_below(folder, (folder.parent.resolve(),)))


def _test_images(place: Path, synsets: dict[str, list[str]]) -> dict[str, list[Path]]:
    """The images of val by WNID, from folders or from the devkit's list."""
    if folders_in(place / "val"):
        return {wnid: _images(place / "val" / wnid) for wnid in synsets}
    truth = place / DEVKIT / "data" / "ILSVRC2012_validation_ground_truth.txt"
    if not truth.is_file():
        raise missing("imagenet", truth, SOURCE)
    numbers = [int(line) for line in truth.read_text().split()]
    wnid_of = dict(enumerate(synsets, 1))
    files = _images(place / "val")
    if len(files) != len(numbers):
        raise DataMissing(f"imagenet: val has {len(files)} images, but the devkit lists "
                          f"{len(numbers)}: fetch them again from {SOURCE}")  # fmt: skip
    by_wnid: dict[str, list[Path]] = {wnid: [] for wnid in synsets}
    for file, number in zip(files, numbers, strict=True):
        by_wnid[wnid_of[number]].append(file)
    return by_wnid


def _some(files: list[Path], most: int | None, seed: int) -> list[Path]:
    """At most that many files, drawn at random."""
    if most is None or len(files) <= most:
        return files
    rows = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))[:most]
    return [files[row] for row in sorted(rows.tolist())]
