"""Images whose concepts are known to planted networks (bench/backbones/planted.py): one part each.

Every image shows one part, a square in a channel of its own; class c is part c.
"""

from __future__ import annotations

from pathlib import Path

import torch

from legible.bench.data.base import Dataset, Split, dataset
from legible.metrics.network import Concepts

#: Pixels along the side of one cell of the planted networks' maps.
CELL = 4


@dataset
def planted(
    root: Path,
    parts: int = 12,
    noise: int = 0,
    side: int = 8,
    aligned: bool = False,
    size: int = 32,
    train: int = 120,
    validation: int = 60,
    test: int = 240,
    seed: int = 0,
) -> Dataset:
    """``parts`` channels, one for each part, and after them ``noise`` channels of random cells.

    A part is a square of ``side`` pixels of value 255 anywhere in the image, on the cells' borders
    when ``aligned``. Images are not standardised: the network gets values from 0 to 1.
    """
    generator = torch.Generator().manual_seed(seed)

    def split(images: int) -> Split:
        labels = torch.arange(images) % parts
        step = CELL if aligned else 1
        corner = step * torch.randint(
            (size - side) // step + 1, (images, 2, 1), generator=generator
        )
        line = torch.arange(size)
        inside = (line >= corner) & (line < corner + side)
        square = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]
        shown = (labels[:, None] == torch.arange(parts))[..., None, None]
        masks = square & shown
        cells = torch.randint(
            256, (images, noise, size // CELL, size // CELL), generator=generator
        ).to(torch.uint8)
        pixels = cells.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
        names = [f"part {k}" for k in range(parts)]
        concepts = Concepts.pack(masks, names, ["part"] * parts, [True] * parts, range(parts))
        channels = torch.cat([masks.to(torch.uint8) * 255, pixels], dim=1)
        one = torch.ones(parts + noise)
        return Split(channels, labels, parts, 0 * one, one, concepts)

    return Dataset(
        "planted",
        tuple(f"class {c}" for c in range(parts)),
        split(train),
        split(validation),
        split(test),
        drawn=True,
    )
