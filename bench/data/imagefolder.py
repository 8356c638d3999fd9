"""Folders of images in ImageNet's layout, decoded once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.dataset_checks import unprintable
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import shown_path
from legible.bench.data.image_sets import check_counts
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    Sources,
    arrange,
    load_photographs,
)
from legible.bench.text import one_line

#: Names of the folder of validation images.
VALIDATION = ("val", "valid", "validation")
#: Extensions of images that are not read: such a file is refused, not passed over.
UNREAD = (
    ".apng", ".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pbm", ".pnm",
    ".tga",
)  # fmt: skip
#: What file managers and archives put beside images, in lower case; and all that begins with ".".
COMPANIONS = ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information",
              "lost+found")  # fmt: skip


@dataset
def imagefolder(
    root: Path,
    path: str = "",
    size: int = 32,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 4,
    flip: bool = True,
    seed: int = 0,
    background: str = "white",
    resize: str = "centre",
) -> Dataset:
    """Photographs in folders ``path/train/CLASS/*.jpg``, and the same in test, val or both.

    A relative ``path`` starts at the data root. Each image is read as a viewer shows it (see
    `read_rgb`), with transparent parts on the colour ``background``, and becomes a square of
    ``size`` pixels by the recipe ``resize``: "centre" (the largest square at the centre), "short"
    (7/8 of the short side, as ImageNet networks are tested) or "whole" (with a border). All are
    decoded once and cached, for these files (see `FileFingerprint`). Images that do not fit in
    memory are read from the cache, ahead of their use (see `too_large`); the numbers are the same.

    Files and folders are those of torchvision's ImageFolder: linked folders are followed, and
    other files than images are passed over. Hidden ones (".ipynb_checkpoints", "._photo.jpg",
    "__MACOSX") are neither images nor classes.

    With both folders, test holds the test images and val the validation images. With one of them,
    it holds the test images, and ``validation`` training images (None: a tenth) are used for
    validation. ``limit`` of the training images (None: all) are used. Raises DataMissing if the
    folder does not exist; ValueError if its splits differ in classes, a class has no images, a
    file cannot be read, a link is broken, or a parameter is out of range; and for images that do
    not fit in memory, if $LEGIBLE_IMAGES is "memory".
    """
    check_counts(validation, limit, seed)
    sizing = read_sizing(size, resize, background)
    if not path:
        raise DataMissing('imagefolder needs path = "...", a folder that holds train/ and test/')
    place = root / Path(path).expanduser()
    splits, classes = class_folders(place)
    files = {split: class_files(place / folder, classes) for split, folder in splits.items()}

    def plan() -> PhotographPlan:
        images = {split: [Photograph(*entry) for entry in files[split]] for split in files}
        # in a random order, because folders hold images by class
        order = torch.randperm(
            len(images["train"]), generator=torch.Generator().manual_seed(seed + 2)
        )
        return PhotographPlan(classes, arrange(
            [images["train"][row] for row in order], images["test"], images.get("validation"),
            validation=validation, limit=limit, seed=seed,
        ))  # fmt: skip

    parameters = {"classes": classes, "validation": validation, "limit": limit, "seed": seed}
    sources = Sources(place, [file for entries in files.values() for file, _ in entries])
    return load_photographs(
        "imagefolder", root, __file__, sources, sizing, parameters, plan, shift=shift, flip=flip
    )


def class_folders(place: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The folder of each split, and the names of the classes."""
    if not place.is_dir():
        raise DataMissing(
            f"no folder {shown_path(place)}: set path to a folder that holds train/ and test/"
        )
    folders = folders_in(place)
    others = [name for name in ("test", *VALIDATION) if name in folders]
    if "train" not in folders or not others:
        names = [one_line(name, 40) for name in folders[:10]]
        raise ValueError(
            f"{shown_path(place)} must hold train/ and test/ or val/; it holds {names}"
        )
    splits = {"train": "train", "test": others[0]}
    if len(others) > 1:
        splits["validation"] = others[1]
    classes = [folders_in(place / folder) for folder in splits.values()]
    for folder, names in zip(splits.values(), classes, strict=True):
        for name in names:
            if unprintable(name):
                raise ValueError(
                    f"the name of the class folder {ascii(name)[:100]} in "
                    f"{shown_path(place / folder)} cannot be printed: rename it"
                )
        if different := sorted(set(names) ^ set(classes[0])):
            raise ValueError(
                f"class '{one_line(different[0], 100)}' is not in both {shown_path(place)}/train "
                f"and {folder}"
            )
    if len(classes[0]) < 2:
        raise ValueError(f"{shown_path(place / 'train')} must hold at least two class folders")
    return splits, tuple(classes[0])


def class_files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """The image files of one split and their labels, in the order of classes and paths."""
    files = {name: sorted(images_below(folder / name, (folder.resolve(),))) for name in classes}
    if empty := [name for name in classes if not files[name]]:
        raise ValueError(
            f"{shown_path(folder)} holds no images of class '{one_line(empty[0], 100)}' "
            f"({', '.join(IMG_EXTENSIONS)})"
        )
    return [(file, label) for label, name in enumerate(classes) for file in files[name]]


def images_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The image files in a folder and, through links as well, in all folders below it.

    ``above`` are the folders that were entered on the way here, without links.
    """
    real = folder.resolve()
    if real in above:
        raise ValueError(
            f"{shown_path(folder)} leads back to a folder that holds it: remove that link"
        )
    for entry in _visible(folder):
        file = folder / entry.name
        if entry.is_dir():
            yield from images_below(file, (*above, real))
        elif file.suffix.lower() in IMG_EXTENSIONS:
            yield file
        elif file.suffix.lower() in UNREAD:
            raise ValueError(
                f"{shown_path(file)}: {file.suffix} files are not read; save it as .png or .jpg, "
                "or remove it"
            )


def folders_in(folder: Path) -> list[str]:
    """Sorted names of the folders, or links to folders, in a folder."""
    return sorted(entry.name for entry in _visible(folder) if entry.is_dir())


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """A folder's entries without hidden ones. Raises ValueError for a link to nothing."""
    try:
        with os.scandir(folder) as entries:
            visible = [
                entry
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower() not in COMPANIONS
            ]
        broken = [e for e in visible if e.is_symlink() and not Path(e.path).exists()]
    except OSError as error:
        raise ValueError(
            f"cannot read the folder {shown_path(folder)}: {error.strerror}"
        ) from error
    if broken:
        raise ValueError(
            f"{shown_path(folder / broken[0].name)} is a broken link: mend or remove it"
        )
    return visible
