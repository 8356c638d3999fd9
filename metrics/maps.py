"""Positions, pixels, peaks and regions of activation maps, for spatial metrics.

The positions of a map divide the image: position i of n covers pixels i L/n to (i + 1) L/n of a
side of L pixels, with its centre at (i + 1/2) L/n. That is exact for convolutions with padding and
pooling; without padding (LeNet-5) the map covers a little less of the border.

A unit's region is where its activation is among its highest 0.5 % over all images: positions of the
map (`thresholds`), or pixels of the upsampled map (`pixel_thresholds`). Values equal to the
threshold belong to the region, so the region of a saturated unit is larger and not empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from legible.metrics.base import Layer, remember
from legible.metrics.network import Concepts

#: Largest number of values in a chunk: 4 MiB of float32, which fit in a processor's cache.
BUDGET = 2**20
#: Share of all positions in a unit's regions.
QUANTILE = 0.005
#: Fewest pixels from which the threshold of a region is estimated.
FEWEST_SAMPLES = 500
#: Largest number of values of `mask_counts` that is cached for other networks: 64 MiB of float32.
CACHED = 2**24


def images_per_chunk(numbers_per_image: int) -> int:
    """Number of images in a chunk, for a number of values per image."""
    return max(1, BUDGET // max(numbers_per_image, 1))


def grid(
    height: int, width: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "positions 2"]:
    """Row and column of a map's positions, scaled to [-1, 1]; the outermost are at -1 and 1."""
    sides = [torch.linspace(-1, 1, n, dtype=torch.float64, device=device) for n in (height, width)]
    return torch.cartesian_prod(*sides)


def position_centres(
    map_size: tuple[int, int], image_size: tuple[int, int], device: torch.device | str = "cpu"
) -> Float[Tensor, "positions 2"]:
    """Row and column of the centre of each position, in pixels from the upper left corner."""
    sides = [
        (torch.arange(positions, dtype=torch.float64, device=device) + 0.5) * pixels / positions
        for positions, pixels in zip(map_size, image_size, strict=True)
    ]
    return torch.cartesian_prod(*sides)


def pixels_per_position(
    masks: Bool[Tensor, "images concepts height width"], map_size: tuple[int, int]
) -> Float[Tensor, "images concepts positions"]:
    """Number of a mask's pixels in each position; a pixel belongs to the position of its centre.

    These are the pixels of the position in a nearest-neighbour upsampling of the map.
    """
    rows, columns = (
        one_hot(
            ((torch.arange(pixels, device=masks.device) + 0.5) * positions / pixels).long(),
            positions,
        ).float()
        for positions, pixels in zip(map_size, masks.shape[-2:], strict=True)
    )
    return (rows.T @ (masks.float() @ columns)).flatten(2)


Counts = Iterable[tuple[slice, Float[Tensor, "chunk concepts positions"]]]


def mask_counts(concepts: Concepts, map_size: tuple[int, int]) -> Counts:
    """Chunks of `pixels_per_position` of all masks, each with the slice of its images.

    Small results are cached, because all networks are scored on the same masks.
    """
    images, count, _, _ = concepts.packed.shape
    small = images * count * map_size[0] * map_size[1] <= CACHED
    return _cached_counts(concepts, map_size) if small else _streamed_counts(concepts, map_size)


def _streamed_counts(concepts: Concepts, map_size: tuple[int, int]) -> Counts:
    images, count, height, _ = concepts.packed.shape
    size = images_per_chunk(2 * count * height * concepts.width)
    for start in range(0, images, size):
        rows = slice(start, start + size)
        yield rows, pixels_per_position(concepts.masks(rows), map_size)


@lru_cache(maxsize=2)
def _cached_counts(concepts: Concepts, map_size: tuple[int, int]) -> Counts:
    images, count, _, _ = concepts.packed.shape
    shape = (images, count, map_size[0] * map_size[1])
    whole = torch.empty(shape, device=concepts.packed.device)  # small parts would split the heap
    parts = []
    for rows, part in _streamed_counts(concepts, map_size):
        whole[rows] = part
        parts.append((rows, whole[rows]))
    return parts


def peaks(layer: Layer) -> tuple[Float[Tensor, "images units"], Int[Tensor, "images units"]]:
    """Each unit's highest activation in each image, and its position (of equal ones, the first)."""

    def compute() -> tuple[Tensor, Tensor]:
        best = [a.flatten(2).max(2) for _, a in layer.chunks()]
        return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])

    return remember(layer, "peaks", compute)


def concept_centres(concepts: Concepts) -> Float[Tensor, "images concepts 2"]:
    """Row and column of each mask's centroid, in pixels; NaN for an empty mask."""
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


# ----------------------------------------------------------------- regions


def thresholds(layer: Layer) -> Float[Tensor, "units"]:
    """The smallest activation in each unit's region, over the positions of all images.

    The k-th largest value, with k = 0.5 % of the positions; the smallest positive value of a unit
    that is active at fewer positions; infinity for a dead unit.
    """

    def compute() -> Tensor:
        keep = max(1, round(QUANTILE * layer.activation[:, 0].numel()))
        top = layer.activation.new_empty(layer.units, 0)
        for _, a in layer.chunks():
            top = torch.cat([top, a.movedim(1, 0).flatten(1)], dim=1)
            top = top.topk(min(keep, top.shape[1]), dim=1).values
        return top.masked_fill(top <= 0, torch.inf).amin(1)

    return remember(layer, "thresholds", compute)


def pixel_thresholds(layer: Layer, size: tuple[int, int]) -> Float[Tensor, "units"]:
    """Like `thresholds`, over all pixels of maps upsampled bilinearly to ``size``."""

    def compute() -> Tensor:
        units = images_per_chunk(len(layer.activation) * size[0] * size[1] // 10)
        chunks = layer.activation.split(units, dim=1)
        return torch.cat([_pixel_thresholds(a.clamp(min=0), size) for a in chunks])

    return remember(layer, ("thresholds", size), compute)


def _pixel_thresholds(
    a: Float[Tensor, "images units rows columns"], size: tuple[int, int]
) -> Float[Tensor, "units"]:
    """Upsamples only the maps that can matter: no pixel exceeds the peak of its map."""
    keep = max(1, round(QUANTILE * len(a) * size[0] * size[1]))
    peak = a.flatten(2).amax(2)
    bound = _likely_bound(a, size, keep)
    result, count = _kth_above(a, peak, bound, size, keep)
    missed = ((count < keep) & (bound > 0)).nonzero()[:, 0]  # the bound was too high
    if len(missed):
        some, peak = a[:, missed], peak[:, missed]
        bound = _lower_bound(some, peak, size, keep)
        value, count = _kth_above(some, peak, bound, size, keep)
        result[missed] = torch.where((count < keep) & (bound > 0), bound, value)
    return result


def _likely_bound(
    a: Float[Tensor, "images units rows columns"], size: tuple[int, int], keep: int
) -> Float[Tensor, "units"]:
    """A value that is most likely a little below each unit's ``keep``-th largest pixel: from the
    pixels of every few rows and columns. Infinity if these are too few, or too many to be quick."""
    step = min(
        pixels // (2 * positions) for pixels, positions in zip(size, a.shape[2:], strict=True)
    )
    if step < 4 or keep < FEWEST_SAMPLES * step**2:
        return a.new_full((a.shape[1],), torch.inf)
    down, across = (_side(n, pixels, a)[step // 2 :: step]
                    for n, pixels in zip(a.shape[2:], size, strict=True))  # fmt: skip
    pixels = (down @ (a @ across.T)).movedim(1, 0).flatten(1)
    count = min(pixels.shape[1], -(-keep * 11 // (10 * step**2)))  # a tenth more, to be below
    return pixels.kthvalue(pixels.shape[1] - count + 1, dim=1).values


def _lower_bound(
    a: Float[Tensor, "images units rows columns"],
    peak: Float[Tensor, "images units"],
    size: tuple[int, int],
    keep: int,
) -> Float[Tensor, "units"]:
    """The ``keep``-th largest pixel of the tenth of a unit's maps that have the highest peaks."""
    order = peak.argsort(dim=0, descending=True)[: -(-len(a) // 10)]
    highest = upsample(a[order, torch.arange(a.shape[1], device=a.device)], size)
    return highest.movedim(1, 0).flatten(1).topk(keep, dim=1, sorted=False).values.amin(1)


def _kth_above(
    a: Float[Tensor, "images units rows columns"],
    peak: Float[Tensor, "images units"],
    bound: Float[Tensor, "units"],
    size: tuple[int, int],
    keep: int,
) -> tuple[Float[Tensor, "units"], Int[Tensor, "units"]]:
    """The ``keep``-th largest of each unit's pixels above a bound, and their number. If they are
    fewer, the smallest of them; infinity without any."""
    unit, image = ((peak > bound) & (peak > 0)).T.nonzero(as_tuple=True)
    chunk = images_per_chunk(size[0] * size[1])
    values, count = [bound.new_empty(0)], torch.zeros_like(bound, dtype=torch.long)
    for n, u in zip(image.split(chunk), unit.split(chunk), strict=True):
        pixels = upsample(a[n, u], size).flatten(1)
        above = pixels > bound[u, None]
        values.append(pixels[above])
        count.index_add_(0, u, above.float().sum(1).long())  # much faster than a sum of bools
    result = torch.full_like(bound, torch.inf)
    for u, own in enumerate(torch.cat(values).split(count.tolist())):
        if len(own):
            result[u] = own.kthvalue(max(len(own) - keep, 0) + 1).values
    return result, count


def upsample(
    a: Float[Tensor, "*maps rows columns"], size: tuple[int, int]
) -> Float[Tensor, "*maps height width"]:
    """Bilinear upsampling by two matrix products, several times as fast as torch's."""
    down, across = (_side(n, pixels, a) for n, pixels in zip(a.shape[-2:], size, strict=True))
    return down @ (a @ across.T)


def _side(positions: int, pixels: int, like: Tensor) -> Float[Tensor, "pixels positions"]:
    """The matrix of linear upsampling along one side of a map."""
    eye = torch.eye(positions, dtype=like.dtype, device=like.device)
    return interpolate(eye[None], pixels, mode="linear", align_corners=False)[0].T
