"""From a probed network to what its pictures show: units, modules, lesions, attributions.

Nothing is selected by hand: units are taken at even steps from the best to the worst matched, and
images are the first of each class, the same for every method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.bench.leaderboard.figures.network_pictures import (
    AttributionExamples,
    Lesions,
    ModuleExamples,
    ModuleWall,
    PictureData,
    StrongestUnits,
    UnitExamples,
    mean_spot,
)
from legible.metrics.base import Layer, Probe
from legible.metrics.explainers import explanations
from legible.metrics.lesion import lesions
from legible.metrics.maps import pixel_thresholds
from legible.metrics.modules import layer_modules, membership
from legible.metrics.relevance import positive
from legible.metrics.semantics import best_concepts
from legible.metrics.similarity import layer_correlation

UNITS = 5  # units that are drawn
TOP = 5  # images of a unit
MODULES = 5  # modules that are drawn, the largest first
WALL = 8  # images of a module
STRONGEST = 6  # images of which the strongest unit is drawn, the same for all methods
SPOTS = 200  # images of the mean spot
EXPLAINED = 12  # images that are explained; few, because attributions are slow
ATTRIBUTED = 3  # explained images that are drawn, of those that show their class's concept


@torch.no_grad()
def gather_picture_data(
    probe: Probe,
    images: Float[Tensor, "images channels height width"],
    class_names: Sequence[str],
    layer: str = "",
    attributions: bool = False,
) -> PictureData:
    """Gathers what the pictures of a run show at a layer (default: the last with a map, else the
    last).

    ``images`` are the probed images in [0, 1], in the probe's order, before normalisation.
    ``attributions`` adds the maps of Captum's algorithms, which takes seconds for a large network.
    """
    spatial = [name for name, each in probe.layers.items() if each.spatial]
    drawn = probe.layers[layer or (spatial or list(probe.layers))[-1]]
    if bool(drawn.dead.all()):
        return PictureData(drawn.name, [])
    matches = best_matches(drawn, probe)
    units = spread_units(matches.iou, ~drawn.dead).tolist()
    labels = layer_modules(drawn)
    on_trunk = getattr(probe.network.taps[drawn.name], "on_trunk", False)
    drops = lesions(drawn, probe, membership(labels).T.bool()) if on_trunk else None
    spot = mean_spot(_array(drawn.activation[:SPOTS])) if drawn.spatial else None
    return PictureData(
        drawn.name,
        unit_examples(drawn, probe, images, matches, units),
        ModuleExamples(
            np.nan_to_num(_array(layer_correlation(drawn))), _array(labels).astype(np.int64),
            module_walls(drawn, images),
        ),
        Lesions(_array(drops), class_names) if drops is not None and len(drops) else None,
        _strongest_units(drawn, probe, images, matches),
        spot, _attribution(probe) if attributions else None,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Matches:
    """The best concept of each unit: IoU (NaN: unknown), name, and the region's threshold."""

    iou: Float[Tensor, "units"]
    names: list[str]
    threshold: Float[Tensor, "units"]


def best_matches(layer: Layer, probe: Probe) -> Matches:
    """The concept that each unit of a layer matches best."""
    size = (probe.images.shape[2], probe.images.shape[3])
    if not layer.spatial:
        return Matches(layer.pooled.new_full((layer.units,), torch.nan), [""] * layer.units,
                        layer.pooled.new_full((layer.units,), torch.inf))  # fmt: skip
    threshold = pixel_thresholds(layer, size)
    if probe.concepts is None or not len(probe.concepts):
        return Matches(threshold.new_full((layer.units,), torch.nan), [""] * layer.units, threshold)
    iou, concept = best_concepts(layer, probe)
    names = [probe.concepts.names[k] if k >= 0 else "" for k in concept.tolist()]
    return Matches(iou, names, threshold)


def spread_units(
    score: Float[Tensor, "units"], live: Bool[Tensor, "units"], count: int = UNITS
) -> Int[Tensor, "selected"]:
    """Live units at even steps from the highest to the lowest score; unknown scores come last."""
    order = score.nan_to_num(-1.0).argsort(descending=True, stable=True)
    order = order[live[order]]
    steps = torch.linspace(0, max(len(order) - 1, 0), min(count, len(order)))
    return order[steps.round().long().to(order.device)]


def unit_examples(
    layer: Layer, probe: Probe, images: Tensor, matches: Matches, units: Sequence[int]
) -> list[UnitExamples]:
    """The images that excite each of some units most, strongest first, and its best concept."""
    peaks = _peaks(layer)
    rows = peaks[:, list(units)].topk(min(TOP, len(peaks)), dim=0).indices.T
    return [
        UnitExamples(
            unit, _array(images[at]), _maps(layer, at, at.new_full((len(at),), unit)),
            float(matches.threshold[unit]), matches.names[unit], float(matches.iou[unit]),
            _masks(probe, matches.names[unit], at),
        )
        for unit, at in zip(units, rows, strict=True)
    ]  # fmt: skip


def _masks(
    probe: Probe, concept: str, rows: Tensor
) -> Bool[np.ndarray, "rows height width"] | None:
    if probe.concepts is None or not concept:
        return None
    index = probe.concepts.names.index(concept)
    return probe.concepts.select([index]).masks(rows)[:, 0].cpu().numpy()


def module_walls(
    layer: Layer, images: Tensor, modules: int = MODULES, count: int = WALL
) -> list[ModuleWall]:
    """The images that excite each of the largest modules most, strongest first.

    A module's response to an image is the mean over its units of the peak as a share of the unit's
    highest peak.
    """
    peaks, labels = _peaks(layer), layer_modules(layer)
    largest = peaks.amax(0).clamp(min=torch.finfo(peaks.dtype).tiny)
    names, sizes = labels[labels >= 0].unique(return_counts=True)
    walls = []
    for i in sizes.argsort(descending=True, stable=True)[:modules].tolist():
        members = (labels == names[i]).nonzero()[:, 0]
        response = (peaks[:, members] / largest[members]).mean(1)
        rows = response.topk(min(count, len(response))).indices
        a = layer.activation[rows][:, members].clamp(min=0)
        share = a / largest[members].view(-1, *[1] * (a.ndim - 2))
        area = share.mean(1) if a.ndim > 2 else share.mean(1)[:, None, None]
        walls.append(ModuleWall(int(names[i]), len(members), _array(images[rows]), _array(area)))
    return walls


def _peaks(layer: Layer) -> Float[Tensor, "images units"]:
    a = layer.activation.clamp(min=0)
    return a.flatten(2).amax(2) if a.ndim > 2 else a


def _maps(layer: Layer, rows: Tensor, units: Tensor) -> Float[np.ndarray, "pairs rows columns"]:
    a = layer.activation[rows, units].clamp(min=0)
    return _array(a if a.ndim > 1 else a[:, None, None])


def _strongest_units(
    layer: Layer, probe: Probe, images: Tensor, matches: Matches
) -> StrongestUnits:
    """The first image of each class, and the unit nearest to its own highest activation on it."""
    first = [(probe.labels == c).nonzero()[:1, 0] for c in range(probe.classes)]
    rows = torch.cat(first)[:STRONGEST]
    peaks = _peaks(layer)
    share = peaks[rows] / peaks.amax(0).clamp(min=torch.finfo(peaks.dtype).tiny)
    units = share.masked_fill(layer.dead, -1.0).argmax(1)
    names = [matches.names[unit] for unit in units.tolist()]
    return StrongestUnits(_array(images[rows]), _maps(layer, rows, units),
                          _array(units).astype(np.int64), names)  # fmt: skip


def _attribution(probe: Probe) -> AttributionExamples | None:
    """The positive relevance of the first images by each algorithm that passes its audit there;
    images are scaled to their own range."""
    explained = explanations(probe.subset(slice(EXPLAINED)))
    if not explained.attributions:
        return None
    images = explained.images[:ATTRIBUTED]
    low, high = images.flatten(1).aminmax(dim=1)
    scaled = (images - low.view(-1, 1, 1, 1)) / (high - low).clamp(min=1e-9).view(-1, 1, 1, 1)
    evidence = explained.evidence
    masks = torch.zeros_like(images[:, 0]) > 0 if evidence is None else evidence[:ATTRIBUTED]
    maps = {
        name: _array(positive(attribution[:ATTRIBUTED]))
        for name, attribution in explained.attributions.items()
    }
    return AttributionExamples(_array(scaled), masks.cpu().numpy(), maps)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()
