"""Detection of concepts: where units find them, how exclusively, and how many of them.

Three numbers, each of which a cheat cannot win: *localisation* compares a unit within the images
that hold a concept, so that knowing the image's label does not help, and with the layer's other
units, so that one map for all units does not; *exclusivity* asks which concepts a unit's highest
responses lie in; *coverage* matches units and concepts one to one, so that copies count once.

Localisation and coverage look at concepts that define no class (at all concepts if every one
defines a class): the label of an image says nothing about them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from legible.metrics.base import Layer, Probe
from legible.metrics.maps import QUANTILE, mask_counts, thresholds
from legible.metrics.network import Concepts
from legible.metrics.semantics import (
    FEWEST_IMAGES,
    masks_of,
    part_shares,
    semantic,
    units_per_part,
)
from legible.metrics.subsets import unit_subsets

NAN = float("nan")


def scored_concepts(concepts: Concepts) -> Int[Tensor, "scored"]:
    """Indices of the concepts that define no class, in at least ten images.

    If every concept defines a class, the indices of all concepts in at least ten images.
    """
    images = (concepts.packed > 0).flatten(2).any(2).sum(0)
    common = images >= FEWEST_IMAGES
    free = torch.ones_like(common)
    free[[k for k in concepts.of_class if k >= 0]] = False
    return ((common & free) if free.any() else common).nonzero()[:, 0]


def _finds(layer: Layer, probe: Probe) -> Float[Tensor, "units scored"]:
    """How often a unit's region matches each scored concept where it is (`part_shares`)."""
    concepts = masks_of(probe)
    return part_shares(layer, concepts)[:, scored_concepts(concepts)]


# ----------------------------------------------------------------- localisation


@semantic(per="unit", part="localisation", headline=True, title="localisation", limits=(-1.0, 1.0))
def concept_localisation(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How much better a unit finds a concept in an image than the layer's units do on average.

    P(u, k) is the share of the images with concept k in which the IoU of unit u's region and the
    concept's mask exceeds 0.2 (`part_interpretability`, after ICNN). The value is
    max_k (P(u, k) - mean over live units of P(., k)), over concepts that define no class. 0 for
    units that all have the same map, or that only know the image's label; the oracle's value is the
    ceiling. A dead unit is undefined [ours].
    """
    finds = _finds(layer, probe)
    if not finds.numel():
        return finds.new_full((layer.units,), NAN)
    return (finds - finds.nanmean(0)).amax(1)


# ----------------------------------------------------------------- exclusivity


def top_precision(layer: Layer, concepts: Concepts) -> Float[Tensor, "units concepts"]:
    """Share of a unit's highest 0.5 % of positions that contain a concept, above chance.

    (p - b) / (1 - b), where p is that share and b the share of all positions that contain the
    concept. Positions equal to the threshold count in proportion; where a unit is active at fewer
    positions, the missing ones contain nothing. NaN for dead units, and for concepts in fewer than
    ten images or at every position.
    """
    size = units_per_part(layer) // 4  # several values are computed for each
    parts = zip(
        layer.activation.split(max(1, size), dim=1), thresholds(layer).split(max(1, size)),
        strict=True,
    )  # fmt: skip
    table = torch.cat([_top_precision(a, least[:, None], concepts) for a, least in parts])
    return table.double().masked_fill(layer.dead[:, None], NAN)


def _top_precision(
    activation: Float[Tensor, "images units rows columns"],
    least: Float[Tensor, "units 1"],
    concepts: Concepts,
) -> Float[Tensor, "units concepts"]:
    _, units, *map_size = activation.shape
    keep = max(1, round(QUANTILE * activation[:, 0].numel()))
    weight = _top_weights(activation, least, keep)
    hits = weight.new_zeros(units, len(concepts))
    containing, covered = hits.new_zeros(len(concepts)), hits.new_zeros(len(concepts))
    for rows, counts in mask_counts(concepts, (map_size[0], map_size[1])):
        contains = (counts > 0).to(weight)
        hits += weight[:, rows].flatten(1) @ contains.movedim(1, 2).flatten(0, 1)
        covered += contains.sum((0, 2))
        containing += contains.any(2).sum(0)
    chance = covered / activation[:, 0].numel()
    value = (hits / keep - chance) / (1 - chance)
    return value.masked_fill((containing < FEWEST_IMAGES) | (chance == 1), NAN)


def _top_weights(
    activation: Float[Tensor, "images units rows columns"],
    least: Float[Tensor, "units 1"],
    keep: int,
) -> Float[Tensor, "units images positions"]:
    """1 at each unit's highest positions, a share at those equal to its threshold, 0 elsewhere."""
    a = activation.clamp(min=0).flatten(2).movedim(1, 0)
    above, equal = (a > least[..., None]).float(), (a == least[..., None]).float()
    room = keep - above.sum((1, 2))
    share = (room / equal.sum((1, 2)).clamp(min=1)).clamp(0, 1)
    return above + equal * share[:, None, None]


@semantic(
    per="unit", part="exclusivity", title="precision of the highest responses",
    limits=(-float("inf"), 1.0),
)  # fmt: skip
def concept_precision(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Share of a unit's highest responses that lie in one concept, above chance.

    Over all images: the unit's highest 0.5 % of positions, and the concept that contains most of
    them; (p - b) / (1 - b) with b the concept's share of all positions. The largest over concepts
    in at least ten images. 1 if all of them lie in the concept; about 1/2 for a unit that answers
    equally to two concepts. A dead unit is undefined [ours, after average precision].
    """
    table = top_precision(layer, masks_of(probe))
    if not table.numel():
        return table.new_full((layer.units,), NAN)
    best = table.nan_to_num(-torch.inf).amax(1)
    return best.masked_fill(best.isinf(), NAN)


# ----------------------------------------------------------------- coverage


@semantic(per="layer", part="coverage", headline=True, title="coverage of concepts")
def concept_coverage(layer: Layer, probe: Probe) -> float:
    """How well units and concepts can be matched one to one.

    P(u, k) is the share of the images with concept k in which the IoU of unit u's region and the
    concept's mask exceeds 0.2 (`part_interpretability`). As many random units as there are classes
    are matched one to one with concepts that define no class, so that the sum of P is largest
    (Hungarian algorithm). The value is the mean of P over the matched pairs, and over 20 random
    sets of units. Copies of a unit count once. Undefined if all units are dead [ours].
    """
    finds = _finds(layer, probe).nan_to_num(0.0)
    if layer.dead.all() or not finds.numel():
        return NAN
    values = []
    for units in unit_subsets(layer, probe):
        table = finds[units].cpu().numpy()
        rows, columns = linear_sum_assignment(table, maximize=True)
        values.append(float(table[rows, columns].mean()))
    return sum(values) / len(values)
