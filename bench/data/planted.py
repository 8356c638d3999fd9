"""Images with one part each, for the planted networks of bench/backbones/planted.py.

A part is a square, and each part has a channel of its own; class c is part c.
"""

from __future__ import annotations

from pathlib import Path

import torch

from legible.bench.data.base import Dataset, Split, dataset
from legible.bench.data.parameter_checks import fits_in_memory
from legible.metrics.network import Concepts

#: Pixels along the side of one position of the planted networks' maps.
PIXELS_PER_POSITION = 4


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
    """Images with one square each, for networks whose answers are known by construction.

    An image has ``parts`` channels, one for each part, and then ``noise`` channels with a random
    value at each position of the map. A part is a square of ``side`` pixels of value 255, anywhere
    in the image or, with ``aligned``, on the borders of positions. Images are not standardised:
    the network gets values from 0 to 1.
    """
    # a byte for each pixel and mask, and copies of eight bytes while they are made
    fits_in_memory(train + validation + test, size, 18 * (parts + noise))
    generator = torch.Generator().manual_seed(seed)

    def split(images: int) -> Split:
        labels = torch.arange(images) % parts
        step = PIXELS_PER_POSITION if aligned else 1
        corner = step * torch.randint(
            (size - side) // step + 1, (images, 2, 1), generator=generator
        )
        line = torch.arange(size)
        inside = (line >= corner) & (line < corner + side)
        square = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]
        own_channel = (labels[:, None] == torch.arange(parts))[..., None, None]
        masks = square & own_channel
        positions = (size // PIXELS_PER_POSITION,) * 2
        pixels = torch.randint(256, (images, noise, *positions), generator=generator)
        for axis in (2, 3):
            pixels = pixels.repeat_interleave(PIXELS_PER_POSITION, axis)
        names = [f"part {k}" for k in range(parts)]
        concepts = Concepts.pack(masks, names, ["part"] * parts, [True] * parts, range(parts))
        channels = torch.cat([255 * masks, pixels], dim=1).to(torch.uint8)
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
