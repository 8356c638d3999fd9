"""A plugin file with a toy dataset: a bright square, whose column is the class, with its mask."""

from __future__ import annotations

from pathlib import Path

import torch

from legible.bench.data.base import DataMissing, Dataset, dataset, make_splits
from legible.metrics.network import Concepts


@dataset
def toy(
    root: Path, images: int = 96, size: int = 16, classes: int = 3, missing: bool = False
) -> Dataset:
    """Class c is a bright square in column c, at a random height; its mask is the concept."""
    if missing:
        raise DataMissing("toy is not here; it is made, not fetched")
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor, Concepts]:
        pixels = torch.randint(40, 90, (count, 1, size, size), generator=generator)
        labels = torch.arange(count) % classes
        tops = torch.randint(0, size - 4, (count,), generator=generator)
        rows = torch.arange(size)
        high = (rows >= tops[:, None]) & (rows < tops[:, None] + 4)
        lefts = labels * (size // classes)
        wide = (rows >= lefts[:, None]) & (rows < lefts[:, None] + 4)
        square = high[:, :, None] & wide[:, None, :]
        pixels = torch.where(square[:, None], 230, pixels).to(torch.uint8)
        masks = square[:, None] & (labels[:, None] == torch.arange(classes))[..., None, None]
        names = [f"square{c}" for c in range(classes)]
        concepts = Concepts.pack(masks, names, ["part"] * classes, [True] * classes, range(classes))
        return pixels, labels, concepts

    parts = {"train": part(images), "validation": part(48), "test": part(60)}
    splits = make_splits(parts, classes)
    return Dataset("toy", tuple("abcdefgh"[:classes]), **splits, shift=1)
