"""How strongly a layer's units drive the next layer, read from the weights."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.base import Edge, Layer, Probe, remember


def outgoing_strength(layer: Layer, probe: Probe) -> Float[Tensor, "targets units"]:
    """Size of each unit's way to each target: the L1 norm of the kernel, summed over positions
    where the way flattens a map, times the |gamma| / sqrt(var + eps) of a BatchNorm behind it.

    Targets of all ways out with a weight stand below each other; no rows where there is none.
    Source: the weight graph of Filan et al.
    """
    return remember(layer, ("strength", probe), lambda: _strength(layer, probe))


@torch.no_grad()
def _strength(layer: Layer, probe: Probe) -> Float[Tensor, "targets units"]:
    edges = [edge for edge in probe.network.taps[layer.name].outgoing if edge.weight is not None]
    parts = [torch.zeros(0, layer.units, dtype=torch.float64, device=layer.activation.device)]
    return torch.cat(parts + [_edge_strength(layer, edge) for edge in edges])


def _edge_strength(layer: Layer, edge: Edge) -> Float[Tensor, "targets units"]:
    assert edge.weight is not None
    kernel = edge.weight.weight.double().abs().flatten(2)
    strength = kernel.sum(2) if kernel.ndim > 2 else kernel
    gamma, variance = getattr(edge.norm, "weight", None), getattr(edge.norm, "running_var", None)
    if variance is not None:
        scale = (variance.double() + getattr(edge.norm, "eps", 0.0)).rsqrt()
        strength = strength * (scale if gamma is None else scale * gamma.double().abs())[:, None]
    by_unit = strength.new_zeros(len(strength), layer.units)
    return by_unit.index_add_(1, unit_behind(layer, edge), strength)


def unit_behind(layer: Layer, edge: Edge) -> Int[Tensor, "bridged"]:
    """For each input of the edge's weight (each of LeNet's 400 pooled cells), the layer's unit."""
    cells = layer.activation.shape[2:]
    index = torch.arange(layer.units, dtype=torch.float32, device=layer.activation.device)
    index = index.reshape(1, -1, *[1] * len(cells)).expand(1, -1, *cells).contiguous()
    behind = edge.bridge(index)
    return (
        behind[0].flatten(1)[:, 0].round().long() if behind.ndim > 2 else behind[0].round().long()
    )
