"""The measurability gate: are a layer's maps fine enough for a dataset's concept masks?

The oracle is a layer that no network beats: unit k is the mask of concept k itself, averaged down
to the map. What it scores is the ceiling of the semantic metrics there, and a row of the table.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch.nn.functional import adaptive_avg_pool2d

from legible.metrics.base import Layer
from legible.metrics.semantics import LEAST
from legible.metrics.maps import images_per_chunk
from legible.metrics.network import Concepts
from legible.metrics.semantics import dissect, shown_parts

#: What the oracle has to reach for a layer to be scored.
LEAST_IOU = 0.4
LEAST_INTERPRETABILITY = 0.9


def oracle_layer(concepts: Concepts, map_size: Sequence[int]) -> Layer:
    """A layer "oracle" with a unit for each concept: its mask, averaged over each cell."""
    rows, columns = map_size
    images, count, height, _ = concepts.packed.shape
    chunk = images_per_chunk(count * height * concepts.width)
    maps = [
        adaptive_avg_pool2d(concepts.masks(slice(start, start + chunk)).float(), (rows, columns))
        for start in range(0, images, chunk)
    ]
    return Layer("oracle", torch.cat(maps))


def common(concepts: Concepts) -> Concepts:
    """The concepts in at least ten images: those that every metric of semantics can score."""
    having = (concepts.packed > 0).flatten(2).any(2).sum(0)
    return concepts.select(torch.nonzero(having >= LEAST).flatten().tolist())


@functools.lru_cache(maxsize=8)  # the same for all networks judged on the same images
def measurable(concepts: Concepts, map_size: Sequence[int]) -> tuple[bool, float, float]:
    """Whether the oracle reaches IoU 0.4 and part interpretability 0.9; both values.

    NetDissect IoU and part interpretability of each oracle unit with its own concept, averaged
    over the concepts that define classes (all, where none does). Those are what units are asked
    to find; a concept that covers much of every image is beyond any region of 0.5 % of the
    positions, the oracle's included, on maps of every size. NaN, and not measurable, where no
    image shows one of them.
    """
    chosen = sorted({k for k in concepts.of_class if k >= 0}) or list(range(len(concepts)))
    if not chosen or not len(concepts.packed):
        return False, math.nan, math.nan
    layer = oracle_layer(concepts.select(chosen), map_size)
    iou, shown = (
        table[range(len(chosen)), chosen].nanmean().item()
        for table in (dissect(layer, concepts), shown_parts(layer, concepts))
    )
    return iou >= LEAST_IOU and shown >= LEAST_INTERPRETABILITY, iou, shown
