"""Wiring: how strongly units drive the next layer, and how modular that graph of weights is."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.modules import membership, spectral_partition
from legible.metrics.network import Edge

GROUPS = 4  # parts of the n-cut, as in Filan et al.
SHUFFLES = 20  # random graphs with the same edge weights
NAN = float("nan")
BREAKS = {"scale": "it uses only weights, which depend on the scale of units"}


def outgoing_strength(layer: Layer, probe: Probe) -> Float[Tensor, "targets units"]:
    """Strength of the connection from each unit to each target.

    The L1 norm of the kernel, summed over positions if a map is flattened, times
    |gamma| / sqrt(var + eps) of the BatchNorm that follows. The targets of all outgoing edges with
    weights are concatenated; no rows without such an edge. Source: the weight graph of Filan et al.
    """
    return remember(layer, ("strength", probe), lambda: _strength(layer, probe))


@torch.no_grad()
def _strength(layer: Layer, probe: Probe) -> Float[Tensor, "targets units"]:
    edges = [edge for edge in probe.network.taps[layer.name].outgoing if edge.weight is not None]
    parts = [torch.zeros(0, layer.units, dtype=torch.float64, device=layer.activation.device)]
    return torch.cat(parts + [_edge_strength(layer, edge) for edge in edges])


def _edge_strength(layer: Layer, edge: Edge) -> Float[Tensor, "targets units"]:
    assert edge.weight is not None
    size = edge.weight.weight.double().abs()
    strength = size.flatten(2).sum(2) if size.ndim > 2 else size
    gamma, variance = getattr(edge.norm, "weight", None), getattr(edge.norm, "running_var", None)
    if variance is not None:
        scale = (variance.double() + getattr(edge.norm, "eps", 0.0)).rsqrt()
        strength = strength * (scale if gamma is None else scale * gamma.double().abs())[:, None]
    by_unit = strength.new_zeros(len(strength), layer.units)
    return by_unit.index_add_(1, unit_of_input(layer, edge), strength)


def unit_of_input(layer: Layer, edge: Edge) -> Int[Tensor, "bridged"]:
    """The layer's unit behind each input of an edge's weight (LeNet's first one has 400 inputs)."""
    map_size = layer.activation.shape[2:]
    index = torch.arange(layer.units, dtype=torch.float32, device=layer.activation.device)
    index = index.reshape(1, -1, *[1] * len(map_size)).expand(1, -1, *map_size).contiguous()
    behind = edge.bridge(index)
    return (
        behind[0].flatten(1)[:, 0].round().long() if behind.ndim > 2 else behind[0].round().long()
    )


# ----------------------------------------------------------------- n-cut of the weights


def n_cut(
    adjacency: Float[Tensor, "nodes nodes"], partition: Int[Tensor, "nodes"]
) -> Float[Tensor, ""]:
    """n-cut: sum_k of the weight from part k to other parts / the weight of the nodes of part k.

    From 0 (no weight between parts) to the number of parts (no weight inside a part).
    """
    member = membership(partition).to(adjacency)
    volume = adjacency.sum(1) @ member
    inside = (member * (adjacency @ member)).sum(0)
    return ((volume - inside) / volume).sum()


def bipartite(strength: Float[Tensor, "targets units"]) -> Float[Tensor, "nodes nodes"]:
    """The graph of units and targets, without isolated nodes."""
    targets, units = strength.shape
    adjacency = strength.new_zeros(targets + units, targets + units)
    adjacency[:targets, targets:] = strength
    adjacency[targets:, :targets] = strength.T
    linked = adjacency.sum(1) > 0
    return adjacency[linked][:, linked]


def clustered_n_cut(strength: Float[Tensor, "targets units"], groups: int = GROUPS) -> Tensor:
    """n-cut of a spectral clustering of units and targets into ``groups`` parts."""
    adjacency = bipartite(strength)
    if len(adjacency) <= groups:
        return adjacency.new_tensor(NAN)
    scale = adjacency.sum() / len(adjacency)
    loops = torch.eye(len(adjacency)).to(adjacency)  # a diagonal entry marks a live node
    partition = spectral_partition(adjacency / scale + loops, groups)
    return n_cut(adjacency, partition)


def _cuts(layer: Layer, probe: Probe) -> tuple[Tensor, Tensor]:
    def compute() -> tuple[Tensor, Tensor]:
        strength = outgoing_strength(layer, probe)
        generator = probe.generator("n-cut")
        values = strength.flatten().sort().values
        orders = [torch.randperm(len(values), generator=generator) for _ in range(SHUFFLES)]
        shuffled = [values[order.to(values.device)].view_as(strength) for order in orders]
        return clustered_n_cut(strength), torch.stack(
            [clustered_n_cut(graph) for graph in shuffled]
        )

    return remember(layer, ("n-cut", probe.seed), compute)


@metric(
    aspect="structure", better="lower", per="layer", needs={"weights"}, title="n-cut of weights",
    breaks=BREAKS,
)  # fmt: skip
def weight_ncut(layer: Layer, probe: Probe) -> float:
    """n-cut of the outgoing weights, with units and targets clustered spectrally into 4 parts.

    Edges are L1 norms of kernels with BatchNorm folded in; isolated nodes are removed (Filan et
    al., who use the whole network and not one layer's outgoing weights). Undefined for 4 nodes or
    fewer. It uses only weights, so scaling a unit against its outgoing weights changes it.
    """
    return float(_cuts(layer, probe)[0])


@metric(
    aspect="structure", better="lower", per="layer", null=0.0, needs={"weights"},
    title="n-cut, z against shuffled weights", breaks=BREAKS,
)  # fmt: skip
def weight_ncut_z(layer: Layer, probe: Probe) -> float:
    """`weight_ncut` as a z score: against 20 graphs with shuffled weights; below 0: more modular.

    Each shuffled graph is clustered too.
    """
    value, null = _cuts(layer, probe)
    spread = null.std()
    return float((value - null.mean()) / spread) if spread > 1e-9 else NAN
