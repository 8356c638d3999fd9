"""Similarity of units: signatures, their correlation, neighbourhoods, effective rank.

A unit's signature is the vector of its responses over all images and positions, centred and with
unit norm, so the scalar product of two signatures is Pearson's correlation. A unit without a
direction (dead, constant or not finite) has a zero signature: its correlation with every unit,
itself included, is 0. So the diagonal of a correlation matrix (1 or 0) tells which units are live.

`signatures`, `correlation`, `neighbours` and `effective_rank` are differentiable where possible,
never wait for the device, and are also used by the method `sync`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from legible.metrics.probe import Layer, remember

#: A unit with a smaller peak is silent: its direction would be rounding noise, and the derivative
#: of its signature, which grows like 1 / norm, would overflow.
SILENT = 1e-12
#: A unit with a smaller variance / mean square is constant (float32 rounding gives 1e-14).
CONSTANT = 1e-10


def signatures(
    activation: Float[Tensor, "images units *map"],
) -> Float[Tensor, "units samples"]:
    """Each unit's responses over images and positions, centred and with unit norm, in float32.

    Invariant to a unit's scale and offset. Zero, with zero gradient, for a unit that is dead,
    constant or not finite.
    """
    responses = activation.float().movedim(1, 0).flatten(1)
    peak = responses.detach().abs().amax(1, keepdim=True)
    usable = peak.isfinite() & (peak > SILENT)
    # dividing by a constant changes neither the signature nor its gradient, but squares of tiny
    # responses do not underflow; without both `where`s the gradient could be NaN
    scaled = torch.where(usable, responses, 0.0) / torch.where(usable, peak, 1.0)
    centred = scaled - scaled.mean(1, keepdim=True)
    power = centred.square().sum(1, keepdim=True)
    live = usable & (power > CONSTANT * scaled.square().sum(1, keepdim=True)).detach()
    return torch.where(live, centred, 0.0) * torch.where(live, power, 1.0).rsqrt()


def correlation(activation: Float[Tensor, "images units *map"]) -> Float[Tensor, "units units"]:
    """Pearson's correlation of every two units over images and positions (differentiable).

    Rows and columns of units without a direction are zero, the diagonal too.
    """
    signature = signatures(activation)
    return signature @ signature.T


def live_units(correlation: Float[Tensor, "units units"]) -> Bool[Tensor, "units"]:
    """Whether each unit is live, that is, has a direction; from the diagonal of a correlation."""
    return correlation.detach().diagonal() > 0.5


def effective_rank(correlation: Float[Tensor, "units units"]) -> Float[Tensor, ""]:
    """exp of the entropy of the normalised eigenvalues of a correlation matrix (differentiable).

    From 1 (all live units are copies or mirror images of one) to the number of live units (all
    uncorrelated); NaN without any live unit. Source: Roy and Vetterli, "The effective rank", 2007.
    """
    eigenvalues = torch.linalg.eigvalsh(correlation).clamp(min=0)
    share = eigenvalues / eigenvalues.sum()
    return (-share * share.clamp(min=torch.finfo(share.dtype).tiny).log()).sum().exp()


def distances(correlation: Float[Tensor, "units units"]) -> Float[Tensor, "units units"]:
    """Distance between two units' signatures, sqrt(2 - 2 rho): 0 for copies, at most 2."""
    return (2 - 2 * correlation).clamp(min=0).sqrt()


def neighbours(
    correlation: Float[Tensor, "units units"], k: int = 3
) -> Bool[Tensor, "units units"]:
    """Whether two live units are neighbours: symmetric, False on the diagonal, without gradient.

    Neighbours are within the mean distance of live units to their k nearest units (or to all, if
    there are fewer). So a unit has about k neighbours on average, and an isolated one has none.
    Source: the first radius in Shao's synchronization clustering.
    """
    distance = distances(correlation.detach())
    pairs = _live_pairs(correlation)
    nearest = torch.where(pairs, distance, torch.inf).topk(min(k, len(pairs) - 1), 1, largest=False)
    finite = nearest.values.isfinite()
    radius = torch.where(finite, nearest.values, 0.0).sum() / finite.sum()
    rounding = 4 * torch.finfo(distance.dtype).eps ** 0.5  # of the distance of two copies
    return pairs & (distance <= radius + rounding)


def _live_pairs(correlation: Float[Tensor, "units units"]) -> Bool[Tensor, "units units"]:
    """Whether two units are different and both live."""
    live = live_units(correlation)
    itself = torch.eye(len(live), dtype=torch.bool, device=live.device)
    return live[:, None] & live & ~itself


def layer_correlation(layer: Layer, chunk: int = 256) -> Float[Tensor, "units units"]:
    """`correlation` of a layer's max(activation, 0), in float64.

    Two passes over chunks of images (means, then centred products); computed once for each layer.
    """
    return remember(layer, "correlation", lambda: _streamed(layer, chunk))


def _streamed(layer: Layer, chunk: int) -> Float[Tensor, "units units"]:
    usable = (~layer.dead)[:, None]

    def blocks() -> Iterator[Tensor]:
        for _, part in layer.chunks(chunk):
            responses = part.movedim(1, 0).flatten(1)
            yield torch.where(usable, responses, 0.0).double()

    samples = layer.activation[:, 0].numel()
    zero = torch.zeros((), dtype=torch.float64, device=layer.activation.device)
    mean = sum((block.sum(1, keepdim=True) for block in blocks()), zero) / samples
    gram = sum(((centred := block - mean) @ centred.T for block in blocks()), zero)
    power = gram.diagonal()
    live = power > CONSTANT * (power + samples * mean[:, 0].square())
    scale = torch.where(live, power, 1.0).rsqrt() * live
    rho = (gram * scale * scale[:, None]).clamp(-1, 1)
    rho.diagonal().copy_(live)
    return rho
