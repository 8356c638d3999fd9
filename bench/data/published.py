"""What the published image sets share: reading through torchvision, and the held-out split."""

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
from legible.bench.data.checks import at_least

Pictures = tuple[UInt8[Tensor, "_ _ _ _"], Int[Tensor, "_"]]  # images, channels first; labels
DAMAGED = (RuntimeError, OSError, ValueError, AssertionError, EOFError, LookupError, zlib.error)


def wanted(download: bool) -> bool:
    """Whether the user asked for a download, by parameter or by LEGIBLE_DOWNLOAD=1."""
    return download or os.environ.get("LEGIBLE_DOWNLOAD", "").lower() in ("1", "true", "yes")


def read(
    name: str, kind: Any, root: Path, folder: str, download: bool, hint: str = ""
) -> tuple[Any, Any]:
    """Training and test set of a torchvision class that keeps its files in ``root/folder``.

    Raises DataMissing, in one line, when they are not there, cannot be fetched or are damaged.
    """
    place = root / folder
    there = place.is_dir() and any(place.iterdir())
    if not there and not wanted(download):
        raise DataMissing(
            f"{name} is not in {root}; set LEGIBLE_DOWNLOAD=1 to download it, or put it in {place}"
            + hint
        )
    with explained(name, place) if there else explained(name, place, DOWNLOAD):
        return tuple(kind(root, train=train, download=wanted(download)) for train in (True, False))


READING = "cannot be read ({}); remove that folder and set LEGIBLE_DOWNLOAD=1, or put it there anew"
DOWNLOAD = "cannot be downloaded ({}); put it there by hand"


@contextmanager
def explained(name: str, place: Path, what: str = READING) -> Iterator[None]:
    """Turns whatever goes wrong in reading files into DataMissing with one line."""
    try:
        yield
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataMissing(f"{name} in {place} {what.format(reason)}") from error


def pictures(images: Any, labels: Any) -> Pictures:
    """uint8 images, channels first, and labels from arrays with the channels last or left out.

    Raises ValueError when there are no images, or not as many labels.
    """
    pixels, classes = torch.as_tensor(images), torch.as_tensor(labels).long()
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.movedim(-1, 1)
    if not len(pixels) or len(pixels) != len(classes):
        raise ValueError(f"{len(pixels)} images but {len(classes)} labels")
    return pixels.to(torch.uint8).contiguous(), classes


def check_counts(validation: int | None, limit: int | None, seed: int) -> None:
    """Raises ValueError for a number of images below one, or a negative seed."""
    for name, count in (("validation", validation), ("limit", limit)):
        if count is not None:
            at_least(name, count, 1)
    at_least("seed", seed, 0)


def published(
    name: str,
    class_names: tuple[str, ...],
    train: Pictures,
    test: Pictures,
    held_out: Pictures | None = None,
    *,
    validation: int | None,
    limit: int | None,
    seed: int,
    standardise: bool = True,
    **about: Any,
) -> Dataset:
    """A dataset without concepts; without ``held_out``, validation images are split off train.

    Without ``standardise`` a network gets pixels in [0, 1] as they are.

    ``validation`` images (None: a tenth) and then ``limit`` training images (None: all that are
    left) are taken in one seeded order. Raises ValueError when none are left to train on.
    """
    images, labels = train
    count = len(labels) // 10 if validation is None else validation
    count = count if held_out is None else 0
    if count >= len(labels):
        raise ValueError(f"validation must be below {len(labels)}, not {count}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first, rest = order[:count], order[count:][:limit]
    parts = {
        "train": (images[rest], labels[rest], None),
        "validation": (*(held_out or (images[first], labels[first])), None),
        "test": (*test, None),
    }
    splits = make_splits(parts, len(class_names))
    if not standardise:
        zero, one = torch.zeros(train[0].shape[1]), torch.ones(train[0].shape[1])
        splits = {part: replace(split, mean=zero, std=one) for part, split in splits.items()}
    return Dataset(
        name, class_names, splits["train"], splits["validation"], splits["test"], **about
    )
