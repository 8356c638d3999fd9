"""Where on a map, where in the image: cells, pixels and peaks, shared by spatial metrics.

The cells of a map tile the image: cell i of n covers pixels i L/n to (i + 1) L/n of a side of L
pixels, and its centre lies at (i + 1/2) L/n. That is exact for padded convolutions with pooling;
convolutions without padding (LeNet-5) see a little less of the border than it says.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.base import Concepts, Layer, remember

#: Numbers that a streamed chunk may hold: 4 MiB of float32, which stay in a processor's cache.
BUDGET = 2**20


def images_per_chunk(numbers_an_image: int) -> int:
    """How many images a chunk may have, at so many numbers each."""
    return max(1, BUDGET // max(numbers_an_image, 1))


def grid(
    height: int, width: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "positions 2"]:
    """Coordinates of a map's positions, row and column, in [-1, 1]: the outermost at -1 and 1."""
    sides = [torch.linspace(-1, 1, n, dtype=torch.float64, device=device) for n in (height, width)]
    return torch.cartesian_prod(*sides)


def cell_centres(
    map_size: tuple[int, int], image_size: tuple[int, int], device: torch.device | str = "cpu"
) -> Float[Tensor, "positions 2"]:
    """Row and column of each cell's centre, in pixels from the image's upper left corner."""
    sides = [
        (torch.arange(cells, dtype=torch.float64, device=device) + 0.5) * pixels / cells
        for cells, pixels in zip(map_size, image_size, strict=True)
    ]
    return torch.cartesian_prod(*sides)


def per_cell(
    masks: Bool[Tensor, "images concepts height width"], map_size: tuple[int, int]
) -> Float[Tensor, "images concepts positions"]:
    """Number of a mask's pixels in each cell, a pixel belonging to the cell that its centre is in.

    The same pixels as a nearest-neighbour upsampling of the map gives each cell.
    """
    rows, columns = (
        torch.nn.functional.one_hot(
            ((torch.arange(pixels, device=masks.device) + 0.5) * cells / pixels).long(), cells
        ).float()
        for cells, pixels in zip(map_size, masks.shape[-2:], strict=True)
    )
    return (rows.T @ (masks.float() @ columns)).flatten(2)


def peaks(layer: Layer) -> tuple[Float[Tensor, "images units"], Int[Tensor, "images units"]]:
    """Each unit's highest activation in each image, and its position (of equals, the first)."""

    def compute() -> tuple[Tensor, Tensor]:
        best = [a.flatten(2).max(2) for _, a in layer.chunks()]
        return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])

    return remember(layer, "peaks", compute)


def concept_centres(concepts: Concepts) -> Float[Tensor, "images concepts 2"]:
    """Row and column of each mask's centroid, in pixels; NaN where the image lacks the concept."""
    images, count, height, _ = concepts.packed.shape
    device = concepts.packed.device
    rows = torch.arange(height, dtype=torch.float64, device=device) + 0.5
    columns = torch.arange(concepts.width, dtype=torch.float64, device=device) + 0.5
    centres = []
    for chunk in torch.arange(images).split(images_per_chunk(count * height * concepts.width)):
        masks = concepts.masks(slice(int(chunk[0]), int(chunk[-1]) + 1))
        by_row, by_column = masks.sum(3).double(), masks.sum(2).double()
        moments = torch.stack([by_row @ rows, by_column @ columns], dim=-1)
        centres.append(moments / by_row.sum(2)[..., None])
    return torch.cat(centres)
