"""Datasets of images without concepts: reading by torchvision, and the split into parts."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from legible.bench.data.base import DataMissing, Dataset, make_splits
from legible.bench.data.parameter_checks import at_least

#: Images (channels first) and labels.
ImagesAndLabels = tuple[UInt8[Tensor, "_ _ _ _"], Int[Tensor, "_"]]
#: Errors that reading a damaged file may raise.
READ_ERRORS = (RuntimeError, OSError, ValueError, AssertionError, EOFError, LookupError, zlib.error)


def download_allowed(download: bool) -> bool:
    """Whether the user allows a download, by the parameter or by LEGIBLE_DOWNLOAD=1."""
    return download or os.environ.get("LEGIBLE_DOWNLOAD", "").lower() in ("1", "true", "yes")


def read_torchvision(
    name: str, kind: Any, root: Path, folder: str, download: bool, hint: str = ""
) -> tuple[Any, Any]:
    """Training and test set, read by the torchvision class ``kind`` from ``root/folder``.

    Raises DataMissing if the files are not there, cannot be downloaded or are damaged. ``hint``
    is a further way to get the data; the message ends in it.
    """
    place = root / folder
    exists = place.is_dir() and any(place.iterdir())
    allowed = download_allowed(download)
    if not exists and not allowed:
        raise DataMissing(
            f"{name} is not in {root}; set LEGIBLE_DOWNLOAD=1 to download it, or put it in {place}"
            + hint
        )
    with as_data_missing(name, place, READING if exists else DOWNLOADING):
        return tuple(kind(root, train=train, download=allowed) for train in (True, False))


READING = "cannot be read ({}); delete that folder and set LEGIBLE_DOWNLOAD=1, or replace its files"
DOWNLOADING = "cannot be downloaded ({}); put the files there by hand"


@contextmanager
def as_data_missing(name: str, place: Path, message: str = READING) -> Iterator[None]:
    """Turns errors of reading or downloading files into DataMissing, with one line."""
    try:
        yield
    except READ_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataMissing(f"{name} in {place} {message.format(reason)}") from error


def to_tensors(images: Any, labels: Any) -> ImagesAndLabels:
    """uint8 images, channels first, and labels.

    ``images`` has the shape (images, height, width) or (images, height, width, channels). Raises
    ValueError for no images, or for another number of labels.
    """
    pixels, classes = torch.as_tensor(images), torch.as_tensor(labels).long()
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.movedim(-1, 1)
    if not len(pixels) or len(pixels) != len(classes):
        raise ValueError(f"{len(pixels)} images but {len(classes)} labels")
    return pixels.to(torch.uint8).contiguous(), classes


def check_counts(validation: int | None, limit: int | None, seed: int) -> None:
    """Raises ValueError for a number of images below 1, or a negative seed."""
    for name, count in (("validation", validation), ("limit", limit)):
        if count is not None:
            at_least(name, count, 1)
    at_least("seed", seed, 0)


def image_dataset(
    name: str,
    class_names: tuple[str, ...],
    train: ImagesAndLabels,
    test: ImagesAndLabels,
    validation_set: ImagesAndLabels | None = None,
    *,
    validation: int | None,
    limit: int | None,
    seed: int,
    standardise: bool = True,
    **about: Any,
) -> Dataset:
    """A dataset without concepts, from its training and test images.

    Without ``validation_set``, ``validation`` training images (None: a tenth) become the
    validation images, but never the last one of a class. ``limit`` of the rest (None: all) are the
    training images. Both are taken in one random order of that ``seed``. With
    ``standardise=False`` a network gets pixels in [0, 1]. ``about`` are further fields of
    `Dataset`. Raises ValueError if ``validation`` leaves a class without training images.
    """
    images, labels = train
    room = len(labels) - len(labels.unique())  # every class keeps an image
    count = min(len(labels) // 10, room) if validation is None else validation
    count = count if validation_set is None else 0
    if count > room:
        raise ValueError(f"validation must be at most {room}, not {count}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first, rest = hold_out(order, labels, count)
    rest = rest[:limit]
    parts = {
        "train": (images[rest], labels[rest], None),
        "validation": (*(validation_set or (images[first], labels[first])), None),
        "test": (*test, None),
    }
    splits = make_splits(parts, len(class_names))
    if not standardise:
        zero, one = torch.zeros(train[0].shape[1]), torch.ones(train[0].shape[1])
        splits = {part: replace(split, mean=zero, std=one) for part, split in splits.items()}
    return Dataset(
        name, class_names, splits["train"], splits["validation"], splits["test"], **about
    )


def hold_out(
    order: Int[Tensor, "_"], labels: Int[Tensor, "_"], count: int
) -> tuple[Int[Tensor, "_"], Int[Tensor, "_"]]:
    """The first ``count`` indices of ``order``, and the rest, in which every class has an image.

    The last image of each class in that order is always in the rest.
    """
    last = {label: place for place, label in enumerate(labels[order].tolist())}
    held_out = torch.ones(len(order), dtype=torch.bool)
    held_out[list(last.values())] = False
    held_out &= held_out.cumsum(0) <= count
    return order[held_out], order[~held_out]
