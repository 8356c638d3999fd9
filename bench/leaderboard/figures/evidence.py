"""A probed network -> what its pictures show: units, modules, lesions, focus, answers to images.

Nothing is picked by eye: units are taken at even steps from the best to the worst matched, shown
images are the first of each class, the same for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.bench.leaderboard.figures.drawing import save
from legible.bench.leaderboard.figures.pictures import (
    AttributionGrid,
    Lesions,
    ModuleEvidence,
    UnitExamples,
    Views,
    attribution_grid,
    curves,
    focus_pair,
    gallery,
    lesion_map,
    mean_spot,
    module_matrix,
    module_members,
    views,
)
from legible.bench.suites.run_spec import Block
from legible.metrics.base import Layer, Probe
from legible.metrics.explainers import explanations
from legible.metrics.lesion import lesions
from legible.metrics.maps import pixel_thresholds
from legible.metrics.modules import membership, layer_modules
from legible.metrics.semantics import best_concepts
from legible.metrics.relevance import positive
from legible.metrics.similarity import layer_correlation

UNITS = 5  # of a gallery
TOP = 5  # images of a unit
VIEWS = 6  # images that all methods are shown
SPOTS = 200  # images that the mean spot is taken over
EXPLAINED = 12  # images that attributions are asked of, to be quick
SHOWN = 3  # images of an attribution grid, of those explained that show their class's concept


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of one row on one block; the same ``kind`` of two rows can be laid side by side."""

    block: Block
    row: tuple[str, str]  # method and params
    kind: Literal[
        "units", "views", "modules", "members", "lesions", "focus", "attribution", "curves"
    ]
    alt: str
    data: bytes
    mime: Literal["image/png", "image/svg+xml"] = "image/png"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one run's pictures show, at one layer. Fields are None or empty where the layer has no
    map, no live units, no modules, or the network cannot be run on from it."""

    layer: str
    units: list[UnitExamples]
    modules: ModuleEvidence | None
    lesions: Lesions | None
    views: Views | None
    spot: Float[np.ndarray, "rows columns"] | None
    attribution: AttributionGrid | None = None


@torch.no_grad()
def examine(
    probe: Probe,
    images: Float[Tensor, "images channels height width"],
    class_names: Sequence[str],
    layer: str = "",
    attributions: bool = False,
) -> Evidence:
    """Gathers a run's evidence at a layer (default: the last with a map, else the last).

    ``images`` are the probed images in [0, 1], in the probe's order, before normalisation.
    ``attributions`` adds the maps of Captum's algorithms, which takes seconds for a large network.
    """
    spatial = [name for name, found in probe.layers.items() if found.spatial]
    chosen = probe.layers[layer or (spatial or list(probe.layers))[-1]]
    if bool(chosen.dead.all()):
        return Evidence(chosen.name, [], None, None, None, None)
    matched = best_matches(chosen, probe)
    galleried = spread_units(matched.iou, ~chosen.dead).tolist()
    found = layer_modules(chosen)
    on_trunk = getattr(probe.network.taps[chosen.name], "on_trunk", False)
    drops = lesions(chosen, probe, membership(found).T.bool()) if on_trunk else None
    spot = mean_spot(_array(chosen.activation[:SPOTS])) if chosen.spatial else None
    return Evidence(
        chosen.name,
        unit_examples(chosen, images, matched, galleried),
        ModuleEvidence(
            np.nan_to_num(_array(layer_correlation(chosen))), _array(found).astype(np.int64),
            _array(images[_peaks(chosen).argmax(0)]),
        ),
        Lesions(_array(drops), class_names) if drops is not None and len(drops) else None,
        _views(chosen, probe, images, matched),
        spot, _attribution(probe) if attributions else None,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Matches:
    """The best concept of each unit: IoU (NaN: unknown), name, and the region's threshold."""

    iou: Float[Tensor, "units"]
    names: list[str]
    threshold: Float[Tensor, "units"]


def best_matches(layer: Layer, probe: Probe) -> Matches:
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
    score: Float[Tensor, "units"], live: Tensor, count: int = UNITS
) -> Int[Tensor, "chosen"]:
    """Live units at even steps from the highest to the lowest score; unknown scores come last."""
    order = score.nan_to_num(-1.0).argsort(descending=True, stable=True)
    order = order[live[order]]
    steps = torch.linspace(0, max(len(order) - 1, 0), min(count, len(order)))
    return order[steps.round().long().to(order.device)]


def _peaks(layer: Layer) -> Float[Tensor, "images units"]:
    a = layer.activation.clamp(min=0)
    return a.flatten(2).amax(2) if a.ndim > 2 else a


def _maps(layer: Layer, rows: Tensor, units: Tensor) -> Float[np.ndarray, "pairs rows columns"]:
    a = layer.activation[rows, units].clamp(min=0)
    return _array(a if a.ndim > 1 else a[:, None, None])


def unit_examples(
    layer: Layer, images: Tensor, matched: Matches, units: Sequence[int]
) -> list[UnitExamples]:
    """The images that excite each of some units most, strongest first, and its best concept."""
    peaks = _peaks(layer)
    rows = peaks[:, list(units)].topk(min(TOP, len(peaks)), dim=0).indices.T
    return [
        UnitExamples(
            unit, _array(images[at]), _maps(layer, at, at.new_full((len(at),), unit)),
            float(matched.threshold[unit]), matched.names[unit], float(matched.iou[unit]),
        )
        for unit, at in zip(units, rows, strict=True)
    ]  # fmt: skip


def _views(layer: Layer, probe: Probe, images: Tensor, matched: Matches) -> Views:
    """The first image of each class, and the unit nearest to its own highest activation on it."""
    first = [(probe.labels == c).nonzero()[:1, 0] for c in range(probe.classes)]
    rows = torch.cat(first)[:VIEWS]
    peaks = _peaks(layer)
    share = peaks[rows] / peaks.amax(0).clamp(min=torch.finfo(peaks.dtype).tiny)
    units = share.masked_fill(layer.dead, -1.0).argmax(1)
    names = [matched.names[unit] for unit in units.tolist()]
    return Views(_array(images[rows]), _maps(layer, rows, units),
                 _array(units).astype(np.int64), names)  # fmt: skip


def _attribution(probe: Probe) -> AttributionGrid | None:
    """Positive relevance of the first images by each algorithm that passes its audit there; images
    are scaled to their own range."""
    known = explanations(probe.subset(slice(EXPLAINED)))
    if not known.attributions:
        return None
    images = known.images[:SHOWN]
    low, high = images.flatten(1).aminmax(dim=1)
    scaled = (images - low.view(-1, 1, 1, 1)) / (high - low).clamp(min=1e-9).view(-1, 1, 1, 1)
    evidence = known.evidence
    masks = torch.zeros_like(images[:, 0]) > 0 if evidence is None else evidence[:SHOWN]
    maps = {name: _array(positive(attribution[:SHOWN])) for name, attribution in known.attributions.items()}
    return AttributionGrid(_array(scaled), masks.cpu().numpy(), maps)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def pictures_of(
    evidence: Evidence,
    block: Block,
    row: tuple[str, str],
    label: str,
    history: Sequence[Mapping[str, Any]] = (),
    baseline: Evidence | None = None,
    credit: str = "",
) -> list[Picture]:
    """The pictures of one run. ``history`` holds a training line an epoch, of which terms other
    than accuracies and counters are drawn; ``baseline`` is plain's evidence on the same block."""
    title = f"{label} · {' · '.join(block)} · {evidence.layer}"
    drawings = {}
    if evidence.views is not None:
        drawings["views"] = partial(views, evidence.views, title, credit)
    if evidence.units:
        drawings["units"] = partial(gallery, evidence.units, title, credit)
    if evidence.modules is not None:
        drawings["modules"] = partial(module_matrix, evidence.modules, title)
        if (evidence.modules.labels >= 0).any():
            drawings["members"] = partial(module_members, evidence.modules, title, credit)
    if evidence.lesions is not None:
        drawings["lesions"] = partial(lesion_map, evidence.lesions, title)
    if evidence.spot is not None and baseline is not None and baseline.spot is not None:
        drawings["focus"] = partial(
            focus_pair, baseline.spot, evidence.spot, ("plain", label), title
        )
    if evidence.attribution is not None:
        drawings["attribution"] = partial(attribution_grid, evidence.attribution, title, credit)
    if terms := loss_terms(history):
        drawings["curves"] = partial(curves, terms, f"{label} · {' · '.join(block)}")
    return [
        Picture(block, row, kind, caption(kind, evidence, title), save(draw, "png"))  # type: ignore[arg-type]
        for kind, draw in drawings.items()
    ]


def caption(kind: str, evidence: Evidence, title: str) -> str:
    """What a picture shows, with the names that its font may lack."""
    more = ""
    if kind == "units":
        parts = [f"unit {e.unit} {e.concept or 'none'} {e.iou:.2f}" for e in evidence.units]
        more = f" Concepts and IoU: {', '.join(parts)}."
    elif kind == "lesions" and evidence.lesions is not None:
        more = f" Classes: {', '.join(evidence.lesions.classes)}."
    elif kind == "views" and evidence.views is not None:
        pairs = zip(evidence.views.units, evidence.views.concepts, strict=True)
        more = f" Units: {', '.join(f'{unit} {name}'.strip() for unit, name in pairs)}."
    return f"{title}. {CAPTIONS[kind]}.{more}"


CAPTIONS = {
    "views": "The first image of each class and the unit that comes nearest to its own maximum, "
    "outlined at half its peak",
    "units": "Units from the best to the worst matched, the images that excite them most, their "
    "regions outlined, and the concept that they match best",
    "modules": "Correlation between units, ordered by module",
    "members": "The image that excites each member of a module most",
    "lesions": "Drop of each class's accuracy when a module is silenced",
    "focus": "Mean activation around the peak, plain and this method",
    "attribution": "Where each attribution algorithm sees the evidence for the class, with the "
    "mask of the concept that defines it",
    "curves": "Loss terms by epoch",
}


def loss_terms(history: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The training curves worth drawing: every named number but epochs, accuracies and times."""
    skip = ("epoch", "accuracy", "validation", "test", "watch.", "seconds", "lr", "loss")
    names = [n for n in (history[0] if history else {}) if not n.startswith(skip)]
    return {name: [float(line.get(name, np.nan)) for line in history] for name in names}
