"""Folders of images in ImageNet's layout, decoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from legible.bench.data.base import DataMissing, Dataset, Split, dataset, make_splits
from legible.bench.data.cache import CacheEntry, cached
from legible.bench.data.dataset_checks import unprintable
from legible.bench.data.image_files import (
    Colour,
    parse_colour,
    read_each,
    read_rgb,
    reading_threads,
    shown_path,
)
from legible.bench.data.image_sets import ImagesAndLabels, check_counts, image_dataset
from legible.bench.data.mapped_arrays import Allocate, cached_in_files, in_memory
from legible.bench.data.parameter_checks import between, fits_in_memory, too_large
from legible.bench.data.photographs import SPLITS, Photograph, arrange
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
#: By split: image files and their labels.
Files = dict[str, list[tuple[Path, int]]]


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
) -> Dataset:
    """Photographs in folders ``path/train/CLASS/*.jpg``, and the same in test, val or both.

    A relative ``path`` starts at the data root. Each image is read as a viewer shows it (see
    `read_rgb`), with transparent parts on the colour ``background``, scaled to fill a square of
    ``size`` pixels and cropped at its centre. All are decoded once and cached; the cache's key is
    a hash of all files' content. Images that do not fit in memory are read from the cache, ahead of
    their use (see `too_large`); the numbers are the same.

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
    between("size", size, 8, 512)
    check_counts(validation, limit, seed)
    colour = parse_colour("background", background)
    if not path:
        raise DataMissing('imagefolder needs path = "...", a folder that holds train/ and test/')
    place = root / Path(path).expanduser()
    splits, classes = class_folders(place)
    files = {split: class_files(place / folder, classes) for split, folder in splits.items()}
    count = sum(map(len, files.values()))
    streamed = too_large(count, size)
    if not streamed:
        fits_in_memory(count, size, 3)
    key = {"size": size, "background": colour, "files": _digest(files)}
    if streamed:
        choice = {"validation": validation, "limit": limit, "seed": seed}
        train, held, test = _streamed(root, key, files, len(classes), size, colour, choice)
        return Dataset("imagefolder", classes, train, held, test, shift=shift, flip=flip,
                       drawn=False)  # fmt: skip
    tensors, _ = cached(root, "imagefolder", key, __file__, lambda: _decode(files, size, colour))
    parts = {split: _shuffled(tensors[split], tensors[f"{split}.labels"], seed) for split in files}
    return image_dataset(
        "imagefolder", classes, parts["train"], parts["test"], parts.get("validation"),
        validation=validation, limit=limit, seed=seed, shift=shift, flip=flip, drawn=False,
    )  # fmt: skip


def _shuffled(images: Tensor, labels: Tensor, seed: int) -> ImagesAndLabels:
    """The images in a random order: folders hold them by class, and a probe takes the first."""
    order = _order(len(labels), seed)
    return images[order], labels[order]


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed + 2))


def _streamed(
    root: Path,
    key: Mapping[str, Any],
    files: Files,
    classes: int,
    size: int,
    background: Colour,
    choice: Mapping[str, Any],
) -> tuple[Split, ...]:
    """The same splits, decoded in their order into files that are mapped into memory.

    ``choice`` are the parameters by which `arrange` holds out validation images; each choice has
    files of its own.
    """
    photographs = {split: [Photograph(*entry) for entry in files[split]] for split in files}
    train = [photographs["train"][row] for row in _order(len(files["train"]), choice["seed"])]
    parts = arrange(train, photographs["test"], photographs.get("validation"), **choice)
    in_order = {split: [(one.file, one.label) for one in part] for split, part in parts.items()}
    entry = cached_in_files(
        root, "imagefolder", {**key, **choice}, __file__,
        lambda allocate: _decode(in_order, size, background, allocate),
    )  # fmt: skip
    tensors = {split: (entry.tensors[split], entry.tensors[f"{split}.labels"], None)
               for split in SPLITS}  # fmt: skip
    splits = make_splits(tensors, classes)
    return tuple(replace(splits[split], streamed=True) for split in SPLITS)


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


def _digest(files: Files) -> str:
    """A hash of the content of all files, in their order, with split and label.

    Sizes and times would not do: two files that change places may have the same.
    """
    digest = hashlib.sha256()
    with reading_threads() as pool:
        for split, entries in files.items():
            hashes = read_each(pool, _file_hash, [file for file, _ in entries])
            for (_, label), content in zip(entries, hashes, strict=True):
                digest.update(repr((split, label, content)).encode())
    return digest.hexdigest()


def _file_hash(file: Path) -> str:
    """A hash of a file's content. Raises ValueError if it cannot be read."""
    if not file.is_file():
        raise ValueError("it is not a regular file")
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def _decode(
    files: Files, size: int, background: Colour, allocate: Allocate = in_memory
) -> CacheEntry:
    """Images by split, and labels by "SPLIT.labels"; ``allocate`` makes the arrays of images."""
    tensors: dict[str, Tensor] = {}
    with reading_threads() as pool:
        for split, entries in files.items():
            pixels = allocate(split, (len(entries), 3, size, size))
            paths = [file for file, _ in entries]
            squares = read_each(pool, lambda file: _square(file, size, background), paths)
            for row, square in enumerate(squares):
                pixels[row] = square
            tensors[split] = torch.from_numpy(pixels)
            tensors[f"{split}.labels"] = torch.tensor([label for _, label in entries])
    return CacheEntry(tensors, {})


def _square(file: Path, size: int, background: Colour) -> np.ndarray:
    """One image as bytes, channels first. Raises ValueError with the reason if unreadable."""
    image = read_rgb(file, background)
    fitted = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(fitted).transpose(2, 0, 1)
