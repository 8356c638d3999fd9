"""Folders of images in ImageNet's layout, decoded once into memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.cache import CacheEntry, cached
from legible.bench.data.image_sets import ImagesAndLabels, check_counts, image_dataset
from legible.bench.data.parameter_checks import between

#: Names of the folder of validation images.
VALIDATION = ("val", "valid", "validation")
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
) -> Dataset:
    """Photographs in folders ``path/train/CLASS/*.jpg``, and the same in test, val or both.

    A relative ``path`` starts at the data root. Each image is scaled to fill a square of ``size``
    pixels and cropped at its centre; all are decoded once and cached. With both folders, test
    holds the test images and val the validation images. With one of them, it holds the test
    images, and ``validation`` training images (None: a tenth) are used for validation. ``limit``
    of the training images (None: all) are used. Raises DataMissing if the folder does not exist;
    ValueError if it holds no images, its splits differ in classes, a file cannot be read, the
    images do not fit in memory, or a parameter is out of range.
    """
    between("size", size, 8, 512)
    check_counts(validation, limit, seed)
    if not path:
        raise DataMissing('imagefolder needs path = "...", a folder that holds train/ and test/')
    place = root / Path(path).expanduser()
    splits, classes = _splits(place)
    files = {split: _files(place / folder, classes) for split, folder in splits.items()}
    _check_memory(sum(map(len, files.values())), size)
    key = {"size": size, "files": _digest(place, files)}
    tensors, _ = cached(root, "imagefolder", key, __file__, lambda: _decode(files, size))
    parts = {split: _shuffled(tensors[split], tensors[f"{split}.labels"], seed) for split in files}
    return image_dataset(
        "imagefolder", classes, parts["train"], parts["test"], parts.get("validation"),
        validation=validation, limit=limit, seed=seed, shift=shift, flip=flip, drawn=False,
    )  # fmt: skip


def _shuffled(images: Tensor, labels: Tensor, seed: int) -> ImagesAndLabels:
    """The images in a random order: folders hold them by class, and a probe takes the first."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 2))
    return images[order], labels[order]


def _splits(place: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The folder of each split, and the names of the classes."""
    if not place.is_dir():
        raise DataMissing(f"no folder {place}: set path to a folder that holds train/ and test/")
    folders = {entry.name for entry in place.iterdir() if entry.is_dir()}
    others = [name for name in ("test", *VALIDATION) if name in folders]
    if "train" not in folders or not others:
        raise ValueError(f"{place} must hold train/ and test/ or val/; it holds {sorted(folders)}")
    splits = {"train": "train", "test": others[0]}
    if len(others) > 1:
        splits["validation"] = others[1]
    classes = [
        tuple(sorted(entry.name for entry in (place / folder).iterdir() if entry.is_dir()))
        for folder in splits.values()
    ]
    for folder, names in zip(splits.values(), classes, strict=True):
        if different := sorted(set(names) ^ set(classes[0])):
            raise ValueError(f"class '{different[0]}' is not in both {place}/train and {folder}")
    if len(classes[0]) < 2:
        raise ValueError(f"{place / 'train'} must hold at least two class folders")
    return splits, classes[0]


def _files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in IMG_EXTENSIONS
    ]
    if not files:
        raise ValueError(f"{folder} holds no images ({', '.join(IMG_EXTENSIONS)})")
    return files


def _digest(place: Path, files: Files) -> str:
    """A hash of the names, sizes and times of all files: if one changes, all are decoded again."""
    digest = hashlib.sha256()
    for split, entries in files.items():
        for file, label in entries:
            stat = file.stat()
            entry = (split, label, str(file.relative_to(place)), stat.st_size, stat.st_mtime_ns)
            digest.update(repr(entry).encode())
    return digest.hexdigest()


def _check_memory(count: int, size: int) -> None:
    needed = 3 * count * size**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 4:
        raise ValueError(
            f"{count} images of {size} x {size} pixels need {needed / 2**30:.1f} GiB, more than a "
            "quarter of this machine's memory: choose a smaller size"
        )


def _decode(files: Files, size: int) -> CacheEntry:
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
    return CacheEntry(tensors, {})


def _square(file: Path, size: int) -> np.ndarray | None:
    """One image as bytes, channels first; None if it cannot be read."""
    try:
        with Image.open(file) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
        return np.asarray(fitted).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
