"""Which units each weight layer joins, the part of a weight that matters, and a sheet of units.

For methods that penalise weights, and for the metrics of what they treat.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.metrics.network import NetworkLike

#: Squared norm below which a filter has no direction.
TINY = 1e-20


class Link(NamedTuple):
    """A weight layer, the normalisation after it, and the Taps whose units it joins.

    ``source`` is None where images come in. ``target`` is None where logits go out, and where the
    layer's outputs are not the units of a later Tap: other layers lie between, or the outputs of
    several layers are joined. The target of the last convolution of a residual branch is the Tap
    after the sum.
    """

    layer: nn.Linear | nn.Conv2d
    norm: nn.Module | None
    source: str | None
    target: str | None

    @property
    def weight(self) -> Float[Tensor, "targets inputs *kernel"]:
        return self.layer.weight


def links(network: NetworkLike) -> list[Link]:
    """Every weight layer next to a Tap, once each, in the order of the forward pass."""
    by_layer: dict[int, Link] = {}
    taps = list(network.taps.values())
    for position, tap in enumerate(taps):
        if tap.incoming is not None and id(tap.incoming) not in by_layer:
            by_layer[id(tap.incoming)] = Link(tap.incoming, tap.norm, None, tap.name)
        later = taps[position + 1 :]
        for edge in tap.outgoing:
            if edge.weight is not None and id(edge.weight) not in by_layer:
                units = len(edge.weight.weight)
                own = [t.name for t in later if t.incoming is edge.weight]
                after_sum = [t.name for t in later if t.incoming is None and t.units == units]
                target = (own + after_sum + [None])[0]
                by_layer[id(edge.weight)] = Link(edge.weight, edge.norm, tap.name, target)
    return list(by_layer.values())


def links_to(network: NetworkLike, taps: list[str]) -> list[Link]:
    """The weight layers that make the units of ``taps``; for all Taps, also the head."""
    all_taps = len(taps) == len(network.taps)
    return [link for link in links(network) if link.target in taps or all_taps]


def effective_weight(link: Link) -> Float[Tensor, "targets inputs *kernel"]:
    """The part of a layer's weight that the network's function depends on.

    Before a normalisation a filter's own norm has no effect. There each filter is scaled to unit
    norm times the normalisation's |gamma|, so that rescaling does not evade a penalty on it. A zero
    filter stays zero, without gradient.
    """
    weight = link.weight.float()
    if link.norm is None:
        return weight
    power = weight.flatten(1).square().sum(1)
    live = power.detach() > TINY
    scale = torch.where(live, torch.where(live, power, 1.0).rsqrt(), 0.0)
    gamma = getattr(link.norm, "weight", None)
    if gamma is not None:
        scale = scale * gamma.float().abs()
    return weight * scale.view(-1, *[1] * (weight.ndim - 1))


def by_unit(
    weight: Float[Tensor, "targets inputs *kernel"], units: int
) -> Float[Tensor, "targets units entries"]:
    """Groups a weight's inputs by the unit they come from.

    The entries of a unit are those of its kernel, or the positions of its map where a layer
    flattens the map (flattening keeps a channel's positions together).
    """
    return weight.reshape(len(weight), units, -1)


def sheet(units: int) -> tuple[int, int]:
    """Height and width of the most nearly square grid of that many units (1 x n for a prime)."""
    height = next(h for h in range(int(units**0.5), 0, -1) if units % h == 0)
    return height, units // height
