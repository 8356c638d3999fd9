"""Scores of attributions: of maps, of answers to perturbed images, and of rankings.

A map that says nothing (all zero) or is not finite is silent. It scores like a random map, so that
an explainer gains nothing by being silent on difficult images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Maps = Float[Tensor, "images height width"]
PerImage = Float[Tensor, "images"]
NAN = float("nan")
#: Of the random order of pixels for silent maps.
SEED = 1202

# ----------------------------------------------------------------- where the map lies


def positive(attribution: Float[Tensor, "images channels height width"]) -> Maps:
    """Positive relevance of each pixel: max(sum over channels, 0)."""
    return attribution.sum(1).clamp(min=0)


def silent(relevance: Maps) -> Bool[Tensor, "images"]:
    """Whether each map says nothing: all zero, or not finite."""
    flat = relevance.flatten(1)
    return ~flat.isfinite().all(1) | (flat.amax(1) <= 0)


def hits(relevance: Maps, mask: Bool[Tensor, "images height width"]) -> PerImage:
    """Pointing game: 1 if the highest pixel (of equal ones, the first) lies in the mask, else 0.

    Without the tolerance of 15 pixels of its first version. A silent map scores the mask's share of
    the pixels.
    """
    peak = relevance.flatten(1).argmax(1, keepdim=True)
    inside = mask.flatten(1).gather(1, peak)[:, 0].double()
    return torch.where(silent(relevance), area(mask), inside)


def mass(relevance: Maps, mask: Bool[Tensor, "images height width"]) -> PerImage:
    """Share of the relevance that lies in the mask (Arras et al., relevance mass accuracy).

    A silent map scores the mask's share of the pixels.
    """
    flat = relevance.flatten(1).double()
    share = (flat * mask.flatten(1)).sum(1) / flat.sum(1)
    return torch.where(silent(relevance), area(mask), share)


def rank(relevance: Maps, mask: Bool[Tensor, "images height width"]) -> PerImage:
    """Share of the K most relevant pixels that lie in the mask, K the mask's size.

    Arras et al., relevance rank accuracy. A silent map scores the mask's share of the pixels.
    """
    flat, inside = relevance.flatten(1), mask.flatten(1)
    size = inside.sum(1, keepdim=True)
    place = flat.argsort(dim=1, descending=True, stable=True)
    among = torch.arange(flat.shape[1], device=flat.device) < size
    share = (inside.gather(1, place) & among).sum(1) / size[:, 0].double()
    return torch.where(silent(relevance), area(mask), share)


def area(mask: Bool[Tensor, "images height width"]) -> PerImage:
    """Share of the pixels that lie in the mask: what a random map scores."""
    return mask.flatten(1).double().mean(1)


def gini(relevance: Maps) -> PerImage:
    """Gini index of the pixels' relevance: 0 for a flat or silent map, near 1 for one pixel."""
    flat = relevance.flatten(1).double().sort(dim=1).values
    count = flat.shape[1]
    weight = 2 * torch.arange(1, count + 1, device=flat.device) - count - 1
    value = (flat * weight).sum(1) / (count * flat.sum(1))
    return value.masked_fill(silent(relevance), 0.0)


def edges(images: Float[Tensor, "images channels height width"]) -> Maps:
    """Strength of an image's edges by Sobel's filter: a map that does not use the network."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(images)
    grey = torch.nn.functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    filters = torch.stack([kernel, kernel.T])[:, None]
    return torch.nn.functional.conv2d(grey, filters).square().sum(1).sqrt()


# ----------------------------------------------------------------- what the network answers

Answer = Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch"]]


def curve(
    images: Float[Tensor, "images channels height width"],
    relevance: Maps,
    answer: Answer,
    steps: int,
    insert: bool,
) -> PerImage:
    """Area under the curve of the answer while pixels are blanked, the most relevant first.

    With ``insert``, pixels are added to a blank image instead. A blank pixel is 0, the mean of the
    training images. ``answer`` gives a number for each image. Pixels of equal relevance count in
    the order in which they stand in the image, those of a silent map in a random order, always the
    same. From 0 to 1 if the answer is a probability.
    """
    order = relevance.flatten(1).argsort(dim=1, descending=True, stable=True)
    chance = torch.randperm(order.shape[1], generator=torch.Generator().manual_seed(SEED))
    order = torch.where(silent(relevance)[:, None], chance.to(order.device), order)
    place = order.argsort(dim=1).reshape(len(images), 1, *images.shape[2:])
    count = place[0].numel()
    values = []
    for step in range(steps + 1):
        early = place < count * step / steps
        values.append(answer(torch.where(early == insert, images, 0.0)))
    return torch.trapezoid(torch.stack(values).double(), dim=0) / steps


def unexplained_share(
    predicted: Float[Tensor, "draws images"], change: Float[Tensor, "draws images"]
) -> PerImage:
    """Share of the answer's change under perturbation that an attribution does not predict.

    min over b >= 0 of sum (b predicted - change)^2 / sum change^2, over the draws: Captum's
    normalised infidelity as a share. 0 for an exactly linear answer, 1 for a useless attribution,
    also for one that predicts no change. NaN if the answer does not change.
    """
    predicted, change = predicted.double(), change.double()
    overlap = (predicted * change).sum(0).clamp(min=0).square()
    power = change.square().sum(0)
    share = 1 - overlap / (predicted.square().sum(0) * power)
    share = share.masked_fill(predicted.abs().amax(0) <= 0, 1.0)
    return share.clamp(0, 1).masked_fill(power == 0, NAN)


# ----------------------------------------------------------------- rankings


def spearman(x: Float[Tensor, "units"], y: Float[Tensor, "units"]) -> float:
    """Spearman's rank correlation; equal values share their mean rank.

    Pairs that are not finite are left out. NaN for fewer than three pairs, or for a constant.
    """
    usable = x.isfinite() & y.isfinite()
    if int(usable.sum()) < 3:
        return NAN
    ranks = midranks(torch.stack([x[usable], y[usable]]).double())
    return torch.corrcoef(ranks)[0, 1].item() if (ranks.std(1) > 0).all() else NAN


def midranks(values: Float[Tensor, "rows values"]) -> Float[Tensor, "rows values"]:
    """The rank of each value in its row, from 1; equal values share the mean of their ranks.

    Like scipy's `rankdata`, but on the device of the values.
    """
    ordered, order = values.sort(dim=1)
    place = torch.arange(values.shape[1], device=values.device).expand_as(order)
    rises = ordered[:, 1:] != ordered[:, :-1]
    first = nn.functional.pad(rises, (1, 0), value=True)  # of equal values
    last = nn.functional.pad(rises, (0, 1), value=True)
    low = torch.where(first, place, 0).cummax(1).values
    high = torch.where(last, place, values.shape[1]).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(values).scatter_(1, order, (low + high + 2).to(values.dtype) / 2)
