"""Any folder of images in ImageNet's layout, decoded once into memory."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.cache import Made, cached
from legible.bench.data.checks import between
from legible.bench.data.published import Pictures, check_counts, published

TEST, VALIDATION = ("test",), ("val", "valid", "validation")
Files = dict[str, list[tuple[Path, int]]]  # folder -> image files and their classes


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
) -> Dataset:
    """Photographs in folders ``path/train/CLASS/*.jpg`` and the same under test, val or both.

    A relative ``path`` starts at the data root. Each image is scaled so that it fills a square
    of ``size`` pixels and cropped at its centre; all are decoded once and kept in a cache. With
    one held-out folder that is the test set, and ``validation`` images (None: a tenth) are split
    off the training images; with two, test is test and val is validation. ``limit`` training
    images are used. Raises DataMissing when the folder is not there; ValueError, in one line,
    when it holds no images, its splits differ in classes, a file cannot be read, the images do
    not fit in memory, or a parameter is out of range.
    """
    between("size", size, 8, 512)
    check_counts(validation, limit, seed)
    if not path:
        raise DataMissing('imagefolder needs a folder: path = "..." with train/ and test/ in it')
    place = root / Path(path).expanduser()
    splits, classes = _splits(place)
    files = {split: _files(place / folder, classes) for split, folder in splits.items()}
    _check_memory(sum(map(len, files.values())), size)
    key = {"size": size, "files": _digest(place, files)}
    tensors, _ = cached(
        root, "imagefolder", key, [sys.modules[__name__]], lambda: _decode(files, size)
    )
    parts = {split: _mixed(tensors[split], tensors[f"{split}.labels"], seed) for split in files}
    return published(
        "imagefolder", classes, parts["train"], parts["test"], parts.get("validation"),
        validation=validation, limit=limit, seed=seed, shift=shift, flip=flip, drawn=False,
    )  # fmt: skip


def _mixed(images: Tensor, labels: Tensor, seed: int) -> Pictures:
    """The images in a seeded order: folders hold them class by class, and a probe takes the
    first."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 2))
    return images[order], labels[order]


def _splits(place: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Which folder is which split, and the classes, by name."""
    if not place.is_dir():
        raise DataMissing(f"there is no folder {place}: give path = a folder with train/ and test/")
    inside = {entry.name for entry in place.iterdir() if entry.is_dir()}
    held_out = [name for name in (*TEST, *VALIDATION) if name in inside]
    if "train" not in inside or not held_out:
        raise ValueError(f"{place} must hold train/ and test/ or val/; it holds {sorted(inside)}")
    splits = {"train": "train", "test": held_out[0]}
    if len(held_out) > 1:
        splits["validation"] = held_out[1]
    classes = [
        tuple(sorted(entry.name for entry in (place / folder).iterdir() if entry.is_dir()))
        for folder in splits.values()
    ]
    for folder, names in zip(splits.values(), classes, strict=True):
        if different := sorted(set(names) ^ set(classes[0])):
            raise ValueError(f"class '{different[0]}' is not in both {place}/train and {folder}")
    if len(classes[0]) < 2:
        raise ValueError(f"{place / 'train'} must hold two class folders or more")
    return splits, classes[0]


def _files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    found = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in IMG_EXTENSIONS
    ]
    if not found:
        raise ValueError(f"{folder} holds no images ({', '.join(IMG_EXTENSIONS)})")
    return found


def _digest(place: Path, files: Files) -> str:
    """Names, sizes and times of change of all files: when one changes, all are decoded anew."""
    digest = hashlib.sha256()
    for split, entries in files.items():
        for file, label in entries:
            stat = file.stat()
            what = (split, label, str(file.relative_to(place)), stat.st_size, stat.st_mtime_ns)
            digest.update(repr(what).encode())
    return digest.hexdigest()


def _check_memory(count: int, size: int) -> None:
    needed = 3 * count * size**2
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present / 4:
        raise ValueError(
            f"{count} images of {size} pixels need {needed / 2**30:.1f} GiB, over a quarter of "
            "this machine's memory: choose a smaller size"
        )


def _decode(files: Files, size: int) -> Made:
    tensors: dict[str, Tensor] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, entries in files.items():
            decoded = pool.map(lambda entry: _square(entry[0], size), entries)
            pixels = np.empty((len(entries), 3, size, size), np.uint8)
            broken: list[str] = []
            for row, (image, (file, _)) in enumerate(zip(decoded, entries, strict=True)):
                if image is None:
                    broken.append(str(file))
                else:
                    pixels[row] = image
            if broken:
                more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
                raise ValueError(f"cannot read {', '.join(broken[:3])}{more}")
            tensors[split] = torch.from_numpy(pixels)
            tensors[f"{split}.labels"] = torch.tensor([label for _, label in entries])
    return tensors, {}


def _square(file: Path, size: int) -> np.ndarray | None:
    """One image as bytes, channels first; None when it cannot be read."""
    try:
        with Image.open(file) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
        return np.asarray(fitted).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
