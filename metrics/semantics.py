"""Semantics: does a unit stand for one concept? Its activation against exact concept masks.

A unit's region is where its activation is among its highest 0.5 % (see metrics/maps.py). Masks are
unpacked and counted in chunks of images.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.maps import (
    images_per_chunk,
    mask_counts,
    peaks,
    pixel_thresholds,
    pixels_per_position,
    thresholds,
    upsample,
)
from legible.metrics.network import Concepts
from legible.metrics.relevance import midranks
from legible.metrics.subsets import unit_subsets

#: Registers a metric of the aspect semantics.
semantic = partial(
    metric,
    aspect="semantics",
    better="higher",
    null=0.0,
    needs={"spatial", "concepts", "measurable"},
    limits=(0.0, 1.0),
)

#: A unit detects a concept if its IoU is at least this (NetDissect; over the whole dataset).
DETECTS = 0.04
#: A region matches a part in an image if its IoU is above this (ICNN).
MATCHES = 0.2
#: Number of a unit's highest peaks that concept purity looks at.
TOP = 10
#: Smallest number of images with a concept for which its AUC is computed.
FEWEST_IMAGES = 10
#: Chunks of maps that are compared with masks at a time, because the masks are larger.
MAPS = 8
#: Largest number of values of a layer that are copied at a time: 128 MiB of float32.
MOST_VALUES = 2**25


# ----------------------------------------------------------------- NetDissect


def dissect(
    layer: Layer, concepts: Concepts, lite: bool = False
) -> Float[Tensor, "units concepts"]:
    """IoU of every unit with every concept, regions upsampled bilinearly to the masks' size.

    Intersections are counted over all images. A unit's area is counted only in images that contain
    some concept of the same category. ``lite``: like NetDissect-Lite's code, see
    `netdissect_iou_lite`. NaN for dead units and for concepts in no image.
    """
    key = ("overlap", concepts, lite)
    return remember(layer, key, lambda: _dissect(layer, concepts, lite))


def _dissect(layer: Layer, concepts: Concepts, lite: bool) -> Float[Tensor, "units concepts"]:
    kinds = sorted(set(concepts.categories))
    kind = torch.tensor([kinds.index(c) for c in concepts.categories], device=layer.dead.device)
    size = (concepts.packed.shape[2], concepts.width)
    shape = (layer.units, len(concepts) + len(kinds))
    inter, area = (layer.activation.new_zeros(shape, dtype=torch.float64) for _ in range(2))
    covered = area.new_zeros(shape[1])
    least = thresholds(layer) if lite else pixel_thresholds(layer, size)
    least = least * (1 - 1e-6)  # equal values differ by rounding after upsampling
    for rows, a in layer.chunks(images_per_chunk(shape[1] * size[0] * size[1])):
        chunk = _with_categories(concepts.masks(rows), kind, len(kinds)).flatten(2)
        covered += chunk.sum((0, 2))
        # no pixel of an upsampled map exceeds its peak, so most maps have no region
        active = a.flatten(2).amax(2) * (1 + 1e-5) >= least
        contains = chunk.any(2)
        for maps, mask, there, units in zip(a, chunk.to(a.dtype), contains, active, strict=True):
            (unit,) = units.nonzero(as_tuple=True)
            for part in unit.split(MAPS * images_per_chunk(size[0] * size[1])):
                region = upsample(maps[part], size).ge_(least[part, None, None]).flatten(1)
                counts = region @ mask.T
                counted = (counts > 0 if lite else there[None]).double()
                inter[part] += counts
                area[part] += region.sum(1)[:, None] * counted  # whole numbers: exact in float32
    area = area[:, kind + len(concepts)]  # from the categories' columns
    inter, covered = inter[:, : len(concepts)], covered[: len(concepts)]
    iou = inter / (area + covered - inter)
    return iou.masked_fill((covered == 0) | layer.dead[:, None], float("nan"))


def _with_categories(
    masks: Bool[Tensor, "images concepts height width"], kind: Int[Tensor, "concepts"], kinds: int
) -> Bool[Tensor, "images both height width"]:
    """The masks, and then for each category the union of its concepts' masks."""
    unions = [masks[:, kind == k].any(1, keepdim=True) for k in range(kinds)]
    return torch.cat([masks, *unions], dim=1)


def masks_of(probe: Probe) -> Concepts:
    """The probe's concept masks. Raises ValueError if it has none."""
    if probe.concepts is None:
        raise ValueError("metrics of semantics need a probe with concept masks")
    return probe.concepts


def largest(table: Float[Tensor, "units concepts"]) -> Float[Tensor, "units"]:
    """The largest of non-negative values over concepts; NaN if none is defined."""
    value = table.nan_to_num(-1.0).amax(1)
    return value.masked_fill(value < 0, float("nan"))


def best_concepts(
    layer: Layer, probe: Probe
) -> tuple[Float[Tensor, "units"], Int[Tensor, "units"]]:
    """Each unit's highest NetDissect IoU, and the index of that concept; NaN and -1 without one."""
    value, concept = dissect(layer, masks_of(probe)).nan_to_num(-1.0).max(1)
    undefined = value < 0
    return value.masked_fill(undefined, float("nan")), concept.masked_fill(undefined, -1)


@semantic(per="unit", part="exclusivity", title="NetDissect IoU")
def netdissect_iou(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Dataset-wide IoU of a unit's regions with the concept that they match best (NetDissect).

    Regions are the highest 0.5 % of pixels of the unit's map, bilinearly upsampled (thresholded
    over pixels, as in the authors' later code `dissect`). IoU = intersection / (unit's area in
    images that contain the concept's category + concept's area - intersection). Its ceiling is the
    oracle's value, well below 1 on coarse maps. A dead unit is undefined. No headline: like all
    metrics of a unit's highest regions, it does not tell a network on kanji from the same network
    with rotated units.
    """
    return best_concepts(layer, probe)[0]


@semantic(per="unit", part="exclusivity", title="NetDissect IoU (Lite tally)")
def netdissect_iou_lite(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """`netdissect_iou` as computed by NetDissect-Lite's code.

    The threshold is over the map's positions, before upsampling, and a unit's area is counted only
    in images where its region overlaps the concept's category. Upsampling lowers peaks, so regions
    are smaller than 0.5 %; those of a saturated unit shrink to its plateaus.
    """
    return largest(dissect(layer, masks_of(probe), lite=True))


def _detected(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """The concept that each unit detects; -1 for a unit that detects none."""
    value, concept = best_concepts(layer, probe)
    return torch.where(value >= DETECTS, concept, -1)


@semantic(per="layer", part="coverage", title="unique detectors", limits=(0.0, float("inf")))
def unique_detectors(layer: Layer, probe: Probe) -> float:
    """Number of different best concepts of the units whose NetDissect IoU is at least 0.04.

    Among as many random units as there are classes, so that layers with different numbers of units
    can be compared; mean of 20 draws. Undefined if all units are dead.
    """
    if layer.dead.all():
        return float("nan")
    detected = _detected(layer, probe)[unit_subsets(layer, probe)]
    counts = [len(row[row >= 0].unique()) for row in detected]
    return sum(counts) / len(counts)


@semantic(per="layer", part="coverage", title="detectors", limits=(0.0, float("inf")))
def detectors(layer: Layer, probe: Probe) -> float:
    """Number of units whose NetDissect IoU with a concept is at least 0.04.

    The expected number among as many random units as there are classes, so that layers with
    different numbers of units can be compared. Undefined if all units are dead.
    """
    if layer.dead.all():
        return float("nan")
    share = (_detected(layer, probe) >= 0).double().mean()
    return float(share * min(layer.units, max(1, probe.classes)))


# ----------------------------------------------------------------- part interpretability


def part_shares(layer: Layer, concepts: Concepts) -> Float[Tensor, "units concepts"]:
    """Share of the images with a concept in which a unit's region matches it: IoU above 0.2.

    Regions consist of whole positions, as in nearest-neighbour upsampling. NaN for dead units and
    for concepts in no image.
    """
    return remember(layer, ("parts", concepts), lambda: _part_shares(layer, concepts))


def _part_shares(layer: Layer, concepts: Concepts) -> Float[Tensor, "units concepts"]:
    map_size = (layer.activation.shape[2], layer.activation.shape[3])
    image = (concepts.packed.shape[2], concepts.width)
    blank = torch.ones(1, 1, *image, dtype=torch.bool, device=concepts.packed.device)
    pixels = pixels_per_position(blank, map_size)[0, 0]
    least = thresholds(layer)[:, None]
    matches = layer.activation.new_zeros(layer.units, len(concepts), dtype=torch.float64)
    images = matches.new_zeros(len(concepts))
    for rows, inside in mask_counts(concepts, map_size):
        region = (layer.activation[rows].clamp(min=0).flatten(2) >= least).float()
        inter, part = region @ inside.mT, inside.sum(2)
        union = (region @ pixels)[..., None] + part[:, None] - inter
        matches += (inter > MATCHES * union).sum(0)
        images += (part > 0).sum(0)
    return (matches / images).masked_fill(layer.dead[:, None], float("nan"))


@semantic(per="unit", part="localisation", title="part interpretability")
def part_interpretability(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How often a unit's region matches the concept that it matches most often (ICNN).

    Share of the images with the concept in which the IoU of region and mask exceeds 0.2; the
    largest over concepts. Regions are the unit's highest 0.5 % of positions over all images, with
    the size of a position (the paper does not give the radius of its receptive fields). A region of
    0.5 % cannot cover a common concept; the oracle's value is the ceiling. A dead unit is
    undefined.
    """
    return largest(part_shares(layer, masks_of(probe)))


# ----------------------------------------------------------------- concept purity


def concepts_at(
    position: Int[Tensor, "images units"], map_size: tuple[int, int], concepts: Concepts
) -> Bool[Tensor, "images units concepts"]:
    """Whether a position of each image and unit contains a pixel of each concept."""
    hit = torch.zeros(*position.shape, len(concepts), dtype=torch.bool, device=position.device)
    for rows, counts in mask_counts(concepts, map_size):
        index = position[rows, :, None].expand(-1, -1, len(concepts))
        hit[rows] = (counts > 0).mT.gather(1, index)
    return hit


def purity(
    peak: Float[Tensor, "images units"], hit: Bool[Tensor, "images units concepts"]
) -> Float[Tensor, "units"]:
    """Share of each unit's ten highest peaks that hit the concept which they hit most often.

    In an image in which the unit is silent, it hits no concept.
    """
    value, order = peak.sort(dim=0, descending=True, stable=True)
    index = order[:TOP, :, None].expand(-1, -1, hit.shape[2])
    return (hit.gather(0, index) & (value[:TOP] > 0)[..., None]).double().mean(0).amax(1)


def purity_anywhere(layer: Layer, probe: Probe) -> float:
    """`concept_purity` of 64 units with peaks of random height at random positions."""
    map_size = (layer.activation.shape[2], layer.activation.shape[3])
    generator = probe.generator("concept purity")
    shape = (len(probe.labels), 64)
    peak = torch.rand(shape, generator=generator).to(probe.labels.device)
    position = torch.randint(map_size[0] * map_size[1], shape, generator=generator).to(peak.device)
    return purity(peak, concepts_at(position, map_size, masks_of(probe))).mean().item()


@semantic(per="unit", null=purity_anywhere, part="exclusivity", title="concept purity")
def concept_purity(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Share of a unit's ten highest peaks that lie in the same concept.

    Take the ten images with the unit's highest peaks. The metric is the share of these peaks that
    lie in the same concept, namely the concept that holds most of them. A peak lies in a concept if
    its position contains a pixel of it. [ours, after PIP-Net's purity of the top ten patches.]
    Common and large concepts are hit by chance: the null value is this share for random peaks. A
    dead unit is undefined.
    """
    map_size = (layer.activation.shape[2], layer.activation.shape[3])
    peak, position = peaks(layer)
    values = purity(peak, concepts_at(position, map_size, masks_of(probe)))
    return values.masked_fill(layer.dead, float("nan"))


# ----------------------------------------------------------------- concept AUC


def concept_aucs(layer: Layer, concepts: Concepts) -> Float[Tensor, "units concepts"]:
    """Area under the ROC curve of every unit for every concept, over positions of all images.

    A position contains a concept if it contains a pixel of it. NaN for dead units, and for concepts
    in fewer than ten images or at every position.
    """
    parts = [_aucs(a, concepts) for a in layer.activation.split(units_per_part(layer), dim=1)]
    return torch.cat(parts).masked_fill(layer.dead[:, None], float("nan"))


def units_per_part(layer: Layer) -> int:
    """Number of units whose values on all images are looked at together."""
    return max(1, MOST_VALUES // max(1, layer.activation[:, 0].numel()))


def _aucs(
    activation: Float[Tensor, "images units rows columns"], concepts: Concepts
) -> Float[Tensor, "units concepts"]:
    images, units, *map_size = activation.shape
    chunks = activation.split(images_per_chunk(activation[:, 0].numel()), dim=1)
    ranks = torch.cat([midranks(a.clamp(min=0).movedim(1, 0).flatten(1)) for a in chunks])
    ranks = ranks.unflatten(1, (images, -1))
    total = ranks.new_zeros(units, len(concepts), dtype=torch.float64)
    positive, containing = total.new_zeros(len(concepts)), total.new_zeros(len(concepts))
    for rows, counts in mask_counts(concepts, (map_size[0], map_size[1])):
        contains = (counts > 0).double()
        total += ranks[:, rows].double().flatten(1) @ contains.movedim(1, 2).flatten(0, 1)
        positive += contains.sum((0, 2))
        containing += contains.any(2).sum(0)
    negative = ranks[0].numel() - positive
    area = (total - positive * (positive + 1) / 2) / (positive * negative)
    undefined = (containing < FEWEST_IMAGES) | (negative == 0)
    return area.masked_fill(undefined, float("nan"))


@semantic(per="unit", null=0.5, part="localisation", title="concept AUC")
def concept_auc(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How well a unit's activation at a position predicts its concept there: area under ROC.

    Over all positions of all images (INVERT, Bykov et al. 2023, ranks whole images); ties count
    half. The largest over concepts in at least ten images, so chance is a little above 0.5. A dead
    unit is undefined. No headline: units that know the image's label alone, with no place, score
    higher than trained ones.
    """
    return largest(concept_aucs(layer, masks_of(probe)))
