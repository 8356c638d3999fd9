"""The oracle and the measurability gate: are a layer's maps fine enough for the concept masks?

The oracle is an ideal layer: the activation of unit k is the mask of concept k, averaged over each
position of the map. Its scores are the ceiling of the semantic metrics on maps of that size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import adaptive_avg_pool2d

from legible.metrics.base import Layer
from legible.metrics.maps import images_per_chunk
from legible.metrics.network import Concepts
from legible.metrics.semantics import FEWEST_IMAGES, dissect, part_shares

#: The gate: the scores that the oracle must reach.
LEAST_IOU = 0.4
LEAST_INTERPRETABILITY = 0.9


def oracle_layer(concepts: Concepts, map_size: Sequence[int]) -> Layer:
    """A layer "oracle" with a unit for each concept: its mask, averaged over each position."""
    rows, columns = map_size
    images, count, height, _ = concepts.packed.shape
    chunk = images_per_chunk(count * height * concepts.width)
    maps = [
        adaptive_avg_pool2d(concepts.masks(slice(start, start + chunk)).float(), (rows, columns))
        for start in range(0, images, chunk)
    ]
    return Layer("oracle", torch.cat(maps))


def common(concepts: Concepts) -> Concepts:
    """The concepts in at least ten images, which all semantic metrics can score."""
    images = (concepts.packed > 0).flatten(2).any(2).sum(0)
    return concepts.select(torch.nonzero(images >= FEWEST_IMAGES).flatten().tolist())


class Gate(NamedTuple):
    """The oracle's scores on maps of one size, and whether the maps are fine enough."""

    passes: bool
    iou: float
    interpretability: float


@functools.lru_cache(maxsize=8)  # the same for all networks scored on the same images
def measurability(concepts: Concepts, map_size: Sequence[int]) -> Gate:
    """The measurability gate: the oracle must reach IoU 0.4 and part interpretability 0.9.

    These are NetDissect IoU and part interpretability of each oracle unit with its own concept,
    averaged over the concepts that define classes (over all concepts if none does). Other concepts
    do not count: one that covers much of every image is larger than any region of 0.5 % of the
    positions, on maps of every size. NaN, and the gate is not passed, if no image contains one of
    the concepts.
    """
    indices = sorted({k for k in concepts.of_class if k >= 0}) or list(range(len(concepts)))
    if not indices or not len(concepts.packed):
        return Gate(False, math.nan, math.nan)
    layer = oracle_layer(concepts.select(indices), map_size)
    iou, interpretability = (
        table[range(len(indices)), indices].nanmean().item()
        for table in (dissect(layer, concepts), part_shares(layer, concepts))
    )
    passes = iou >= LEAST_IOU and interpretability >= LEAST_INTERPRETABILITY
    return Gate(passes, iou, interpretability)
