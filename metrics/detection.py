"""Does a unit's activation tell where its concept is? Over all of its range, with no threshold."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from legible.metrics.base import Layer, Probe
from legible.metrics.maps import cells_of, images_per_chunk
from legible.metrics.network import Concepts
from legible.metrics.parts import largest, masks_of, semantic
from legible.metrics.relevance import midranks

#: Images that a concept has to be in for its area under the curve to mean something.
LEAST = 10


def concept_aucs(layer: Layer, concepts: Concepts) -> Float[Tensor, "units concepts"]:
    """Area under the ROC curve of every unit for every concept, over all cells of all images.

    A cell shows a concept when it holds a pixel of it. NaN for a concept in fewer than ten images
    or in every cell, and for dead units.
    """
    images, units, *map_size = layer.activation.shape
    chunks = layer.activation.split(images_per_chunk(layer.activation[:, 0].numel()), dim=1)
    ranks = torch.cat([midranks(a.clamp(min=0).movedim(1, 0).flatten(1)) for a in chunks])
    ranks = ranks.unflatten(1, (images, -1))
    total = ranks.new_zeros(units, len(concepts), dtype=torch.float64)
    positive, having = total.new_zeros(len(concepts)), total.new_zeros(len(concepts))
    for rows, counts in cells_of(concepts, (map_size[0], map_size[1])):
        shown = (counts > 0).double()
        total += ranks[:, rows].double().flatten(1) @ shown.movedim(1, 2).flatten(0, 1)
        positive += shown.sum((0, 2))
        having += shown.any(2).sum(0)
    negative = ranks[0].numel() - positive
    area = (total - positive * (positive + 1) / 2) / (positive * negative)
    unknown = (having < LEAST) | (negative == 0)
    return area.masked_fill(unknown | layer.dead[:, None], float("nan"))


@semantic(per="unit", headline=True, null=0.5, title="concept AUC")
def concept_auc(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How well a unit's activation at a place tells whether its concept is there: area under ROC.

    Over all cells of all images (INVERT, Bykov et al. 2023, ranks whole images); ties count half;
    the largest over concepts that are in at least ten images, so that chance lies a little above
    0.5. A dead unit is undefined. The headline of its aspect: a unit's highest 0.5 % shows what
    it responds to most, which rotating the units leaves nearly as it is; the area counts all
    that it responds to. Chosen for that on other networks than its card's (seeds 8 to 15).
    """
    return largest(concept_aucs(layer, masks_of(probe)))
