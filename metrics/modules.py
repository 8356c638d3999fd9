"""Which units form modules: partitions by synchronization dynamics, and by spectral clustering.

A partition is an int tensor with a module number per unit, -1 for units in no module. The same
extraction serves every method: `layer_modules(layer)`. All of it starts from the correlation matrix of
the units (`metrics.similarity`), so it never holds activations, and is deterministic.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array, csgraph
from sklearn.cluster import SpectralClustering
from torch import Tensor

from legible.metrics.probe import Layer, remember
from legible.metrics.similarity import layer_correlation, live_units

DIMENSIONS = 10  # of the space in which the units synchronise: balls in more hold all or nothing
STEPS = 20  # of the dynamics, at most
ORDERED = 1e-3  # the dynamics stop where the local order is nearer to 1 than this
MERGED = 1e-4  # units nearer than this, times sqrt(dimensions), have become one
RADII = 32  # neighbourhood radii tried


# ----------------------------------------------------------------- on a probed layer


def layer_modules(layer: Layer) -> Int[Tensor, "units"]:
    """The layer's modules by synchronization, -1 for dead and unassigned units; remembered."""
    return remember(layer, "modules", lambda: synchronised_modules(layer_correlation(layer)))


def spectral_modules(layer: Layer, count: int | None = None) -> Int[Tensor, "units"]:
    """The layer's modules by spectral clustering, the second opinion; -1 for dead units."""
    key = ("spectral modules", count)
    return remember(layer, key, lambda: spectral_partition(layer_correlation(layer), count))


def claimed_modules(layer: Layer) -> Int[Tensor, "units"]:
    """The modules that the method itself claims, dead units left out; all -1 if it claims none."""
    live = live_units(layer_correlation(layer))
    if layer.claimed is None:
        return torch.full((layer.units,), -1, device=live.device)
    return numbered(torch.where(live, layer.claimed.to(live.device), -1))


def graph(correlation: Float[Tensor, "units units"]) -> Float[Tensor, "units units"]:
    """The weighted graph of the units that modularity reads: max(rho, 0), no self-loops."""
    weights = correlation.clamp(min=0)
    return weights - weights.diagonal().diag()


# ----------------------------------------------------------------- synchronization


def synchronised_modules(
    correlation: Float[Tensor, "units units"], smallest: int = 2
) -> Int[Tensor, "units"]:
    """Modules of units whose signatures synchronise, for the best neighbourhood radius.

    Signatures -> the 10 leading principal components -> Sync dynamics (`synchronise`) at radii
    from the mean distance of the nearest neighbour up to one that joins all units -> the radius
    whose partition has the highest modularity on `graph` (or, ``choose="mdl"``, the shortest
    description). Groups of fewer than ``smallest`` units stay unassigned, -1, and so do dead
    units. Without any positive correlation every unit is -1.

    Source: Shao et al., dynamics with their stopping and merging rules (they leave out groups
    of fewer than 3); the choice of the radius by modularity is this project's.
    """
    live = live_units(correlation).nonzero()[:, 0]
    found = torch.full((len(correlation),), -1, device=correlation.device)
    rho = correlation[live][:, live].double()
    weights = graph(rho)
    if len(live) < 2 or not weights.any():
        return found
    points = embedding(rho)
    best = math.inf
    for radius in radii(points):
        partition = merge(synchronise(points, radius), smallest)
        cost = -float(newman_modularity(weights, partition))
        if cost < best - 1e-12:  # the smallest radius, where several do equally well
            best, found[live] = cost, partition
        if len(live) == int((partition == 0).sum()):
            break
    return found


def embedding(
    correlation: Float[Tensor, "units units"], dimensions: int = DIMENSIONS
) -> Float[Tensor, "units dims"]:
    """Principal coordinates of the signatures, scaled so that the farthest two are pi/2 apart.

    One factor for all axes: distances keep their proportions and minor axes stay minor. (The
    principal components of vectors follow from their scalar products alone.)
    """
    centred = correlation - correlation.mean(0)
    centred = centred - centred.mean(1, keepdim=True)
    values, axes = torch.linalg.eigh((centred + centred.T) / 2)
    values, axes = values[-dimensions:].clamp(min=0), axes[:, -dimensions:]
    points = axes * values.sqrt()
    span = torch.cdist(points, points).max()
    return points * (math.pi / 2) / span if span > 1e-6 else torch.zeros_like(points)


def radii(points: Float[Tensor, "units dims"], count: int = RADII) -> list[float]:
    """Neighbourhood radii: the mean distances to the k-th nearest unit, for k from 1 to all, and
    their midpoints (where modules are of one size, radii jump from inside one to between two)."""
    ranked = torch.cdist(points, points).sort(1).values.mean(0)[1:].cpu().numpy()
    chosen = ranked[np.unique(np.geomspace(1, len(ranked), count // 2).round().astype(int)) - 1]
    between = (chosen[1:] + chosen[:-1]) / 2
    return [*np.sort(np.concatenate([chosen, between])).tolist(), math.pi / 2]


def synchronise(
    points: Float[Tensor, "units dims"], radius: float, steps: int = STEPS
) -> Float[Tensor, "units dims"]:
    """Where the units end up: each step moves a unit by the mean of sin(x_j - x_i), coordinate by
    coordinate, over the units j within ``radius`` of it (itself included), all at once.

    Stops after ``steps``, or one step after the mean of exp(-distance) over every unit's
    neighbours exceeds 1 - 1e-3. (Shao stops where the average over units does; in a large layer
    that leaves stragglers on their way.) Source: Shao's extended Kuramoto model.
    """
    for _ in range(steps):
        distance = torch.cdist(points, points)
        near = distance <= radius
        mean = near.to(points) / near.sum(1, keepdim=True)
        order = (mean * (-distance).exp()).sum(1)
        sine, cosine = points.sin(), points.cos()  # sin(b - a) = sin b cos a - cos b sin a
        points = points + (mean @ sine) * cosine - (mean @ cosine) * sine
        if order.min() > 1 - ORDERED:
            break
    return points


def merge(points: Float[Tensor, "units dims"], smallest: int = 2) -> Int[Tensor, "units"]:
    """Units that have met are one module; groups under ``smallest`` units are -1."""
    near = torch.cdist(points, points) < MERGED * math.sqrt(points.shape[1])
    return components(near, smallest)


# ----------------------------------------------------------------- partitions


def components(joined: Bool[Tensor, "units units"], smallest: int = 1) -> Int[Tensor, "units"]:
    """Connected components of an undirected graph, largest first; those too small are -1."""
    pairs = joined.nonzero().cpu().numpy()
    shape = (len(joined), len(joined))
    adjacency = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=shape)
    _, labels = csgraph.connected_components(adjacency, directed=False)
    return numbered(torch.as_tensor(labels, device=joined.device), smallest)


def numbered(labels: Int[Tensor, "units"], smallest: int = 1) -> Int[Tensor, "units"]:
    """The same partition with modules numbered from 0, largest first, then by their first unit.

    Negative labels, and modules of fewer than ``smallest`` units, become -1.
    """
    labels = labels.long()
    sizes = torch.bincount(labels[labels >= 0], minlength=1)
    index = torch.arange(len(labels), device=labels.device)
    first = torch.full_like(sizes, len(labels)).scatter_reduce(
        0, labels.clamp(min=0), torch.where(labels >= 0, index, len(labels)), "amin"
    )
    order = torch.argsort(-sizes * (len(labels) + 1) + first)
    rank = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
    kept = (labels >= 0) & (sizes[labels.clamp(min=0)] >= smallest)
    return torch.where(kept, rank[labels.clamp(min=0)], -1)


def membership(partition: Int[Tensor, "units"]) -> Float[Tensor, "units modules"]:
    """A one-hot column per module; units in no module have a row of zeros."""
    count = int(partition.max()) + 1 if len(partition) else 0
    return (partition[:, None] == torch.arange(count, device=partition.device)).double()


def newman_modularity(
    weights: Float[Tensor, "units units"], partition: Int[Tensor, "units"]
) -> Float[Tensor, ""]:
    """Newman's Q: 1/(2m) sum_ij (A_ij - k_i k_j / 2m) delta(c_i, c_j), in [-1/2, 1).

    Units in no module stand alone, so that leaving units out earns nothing. 0 for one module of
    all units; NaN for a graph without weight.
    """
    total = weights.sum()
    degree = weights.sum(1)
    member = membership(partition).to(weights)
    inside = (member * (weights @ member)).sum() + (weights.diagonal() * (partition < 0)).sum()
    expected = (degree @ member).square().sum() + degree[partition < 0].square().sum()
    return inside / total - expected / total.square()


def spectral_partition(
    similarity: Float[Tensor, "units units"], count: int | None = None
) -> Int[Tensor, "units"]:
    """Spectral clustering on max(similarity, 0) of the live units (scikit-learn's, cluster_qr).

    ``count``: the number of modules; by default from the largest gap between eigenvalues of the
    normalised Laplacian. Units whose diagonal entry is zero are -1.
    """
    live = live_units(similarity).nonzero()[:, 0]
    found = torch.full((len(similarity),), -1, device=similarity.device)
    affinity = similarity[live][:, live].double().clamp(min=0).cpu().numpy()
    if len(live) < 3:
        return found
    count = min(count or eigengap(affinity), len(live) - 1)
    clustering = SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=0
    )
    # scikit-learn warns of graphs in several pieces: a trace of weight joins them
    labels = clustering.fit_predict(affinity + 1e-6)
    found[live] = numbered(torch.as_tensor(labels, device=found.device))
    return found


def eigengap(affinity: Float[np.ndarray, "units units"], most: int = 20) -> int:
    """The number of modules, from 2 to ``most``, after which the eigenvalues of the normalised
    Laplacian rise most."""
    laplacian = csgraph.laplacian(affinity, normed=True)
    values = np.linalg.eigvalsh(laplacian)[: min(most, len(affinity) - 1) + 1]
    return int(np.diff(values)[1:].argmax()) + 2 if len(values) > 2 else 2
