"""Modules of units: partitions by synchronization dynamics, and by spectral clustering.

A partition is an int tensor with the module number of each unit, -1 for units in no module. Modules
of all methods are extracted by `layer_modules(layer)`. Everything here is deterministic and starts
from the units' correlation matrix (metrics/similarity.py), so it needs little memory.
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

DIMENSIONS = 10  # of the space in which units synchronise; with more, a ball holds all or none
STEPS = 20  # of the dynamics, at most
ORDERED = 1e-3  # the dynamics stop when the local order is closer to 1 than this
MERGED = 1e-4  # units closer than this times sqrt(dimensions) are in one module
RADII = 32  # number of neighbourhood radii


# ----------------------------------------------------------------- modules of a layer


def layer_modules(layer: Layer) -> Int[Tensor, "units"]:
    """The layer's modules by synchronization; -1 for dead units and units in no module."""
    return remember(layer, "modules", lambda: synchronised_modules(layer_correlation(layer)))


def spectral_modules(layer: Layer, count: int | None = None) -> Int[Tensor, "units"]:
    """The layer's modules by spectral clustering, for comparison; -1 for dead units."""
    key = ("spectral modules", count)
    return remember(layer, key, lambda: spectral_partition(layer_correlation(layer), count))


def claimed_modules(layer: Layer) -> Int[Tensor, "units"]:
    """The modules that the method itself claims, without dead units; all -1 if it claims none."""
    live = live_units(layer_correlation(layer))
    if layer.claimed is None:
        return torch.full((layer.units,), -1, device=live.device)
    return numbered(torch.where(live, layer.claimed.to(live.device), -1))


def graph(correlation: Float[Tensor, "units units"]) -> Float[Tensor, "units units"]:
    """The weighted graph of units for modularity: max(rho, 0), without self-loops."""
    weights = correlation.clamp(min=0)
    return weights - weights.diagonal().diag()


# ----------------------------------------------------------------- synchronization


def synchronised_modules(
    correlation: Float[Tensor, "units units"], smallest: int = 2
) -> Int[Tensor, "units"]:
    """Modules of units whose signatures synchronise, at the best neighbourhood radius.

    Signatures are reduced to their 10 leading principal components; these follow the Sync dynamics
    (`synchronise`) at radii from the mean distance to the nearest neighbour up to one that joins
    all units; the radius whose partition has the highest modularity on `graph` is used. Groups of
    fewer than ``smallest`` units, and dead units, are in no module: -1. Without any positive
    correlation all units are -1.

    Source: Shao et al., with their rules for stopping and merging (they leave out groups of fewer
    than 3); the choice of the radius by modularity is this project's.
    """
    live = live_units(correlation).nonzero()[:, 0]
    result = torch.full((len(correlation),), -1, device=correlation.device)
    rho = correlation[live][:, live].double()
    weights = graph(rho)
    if len(live) < 2 or not weights.any():
        return result
    points = embedding(rho)
    best = math.inf
    for radius in radii(points):
        partition = merge(synchronise(points, radius), smallest)
        cost = -float(newman_modularity(weights, partition))
        if cost < best - 1e-12:  # of equally good radii, the smallest
            best, result[live] = cost, partition
        if len(live) == int((partition == 0).sum()):
            break
    return result


def embedding(
    correlation: Float[Tensor, "units units"], dimensions: int = DIMENSIONS
) -> Float[Tensor, "units dims"]:
    """Principal coordinates of the signatures, scaled so that the farthest two are pi/2 apart.

    All axes have the same factor, so distances keep their proportions. (The principal components
    of vectors follow from their scalar products.)
    """
    centred = correlation - correlation.mean(0)
    centred = centred - centred.mean(1, keepdim=True)
    values, axes = torch.linalg.eigh((centred + centred.T) / 2)
    values, axes = values[-dimensions:].clamp(min=0), axes[:, -dimensions:]
    points = axes * values.sqrt()
    span = torch.cdist(points, points).max()
    return points * (math.pi / 2) / span if span > 1e-6 else torch.zeros_like(points)


def radii(points: Float[Tensor, "units dims"], count: int = RADII) -> list[float]:
    """Neighbourhood radii: mean distances to the k-th nearest unit, and their midpoints.

    k goes from 1 to the number of units. Midpoints matter if modules have equal sizes, because the
    radii then jump from inside a module to between modules.
    """
    ranked = torch.cdist(points, points).sort(1).values.mean(0)[1:].cpu().numpy()
    means = ranked[np.unique(np.geomspace(1, len(ranked), count // 2).round().astype(int)) - 1]
    between = (means[1:] + means[:-1]) / 2
    return [*np.sort(np.concatenate([means, between])).tolist(), math.pi / 2]


def synchronise(
    points: Float[Tensor, "units dims"], radius: float, steps: int = STEPS
) -> Float[Tensor, "units dims"]:
    """Final positions of units under the Sync dynamics (Shao's extended Kuramoto model).

    In each step all units move at once, each by the mean of sin(x_j - x_i), coordinate by
    coordinate, over the units j within ``radius`` of it (itself included). Stops after ``steps``,
    or one step after the mean of exp(-distance) over its neighbours exceeds 1 - 1e-3 for every
    unit. (Shao stops when the average over units does; in a large layer some units then have not
    arrived.)
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
    """Modules of units at the same place; groups of fewer than ``smallest`` units are -1."""
    near = torch.cdist(points, points) < MERGED * math.sqrt(points.shape[1])
    return components(near, smallest)


# ----------------------------------------------------------------- partitions


def components(joined: Bool[Tensor, "units units"], smallest: int = 1) -> Int[Tensor, "units"]:
    """Connected components of an undirected graph, largest first; too small ones are -1."""
    pairs = joined.nonzero().cpu().numpy()
    shape = (len(joined), len(joined))
    adjacency = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=shape)
    _, labels = csgraph.connected_components(adjacency, directed=False)
    return numbered(torch.as_tensor(labels, device=joined.device), smallest)


def numbered(labels: Int[Tensor, "units"], smallest: int = 1) -> Int[Tensor, "units"]:
    """The partition with modules numbered from 0: by size, largest first, then by first unit.

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
    valid = (labels >= 0) & (sizes[labels.clamp(min=0)] >= smallest)
    return torch.where(valid, rank[labels.clamp(min=0)], -1)


def membership(partition: Int[Tensor, "units"]) -> Float[Tensor, "units modules"]:
    """A one-hot column for each module; units in no module have a row of zeros."""
    count = int(partition.max()) + 1 if len(partition) else 0
    return (partition[:, None] == torch.arange(count, device=partition.device)).double()


def newman_modularity(
    weights: Float[Tensor, "units units"], partition: Int[Tensor, "units"]
) -> Float[Tensor, ""]:
    """Newman's Q: 1/(2m) sum_ij (A_ij - k_i k_j / 2m) delta(c_i, c_j), in [-1/2, 1).

    Each unit in no module counts as a module of its own, so leaving units out does not improve Q.
    0 for a single module of all units; NaN for a graph without weights.
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
    """Spectral clustering on max(similarity, 0) of the live units (scikit-learn, cluster_qr).

    ``count``: the number of modules; by default given by `eigengap`. Units whose diagonal entry is
    zero are -1.
    """
    live = live_units(similarity).nonzero()[:, 0]
    result = torch.full((len(similarity),), -1, device=similarity.device)
    affinity = similarity[live][:, live].double().clamp(min=0).cpu().numpy()
    if len(live) < 3:
        return result
    count = min(count or eigengap(affinity), len(live) - 1)
    clustering = SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=0
    )
    # a small weight joins all units, because scikit-learn warns of graphs that are not connected
    labels = clustering.fit_predict(affinity + 1e-6)
    result[live] = numbered(torch.as_tensor(labels, device=result.device))
    return result


def eigengap(affinity: Float[np.ndarray, "units units"], most: int = 20) -> int:
    """Number of modules by the eigengap, from 2 to ``most``.

    It is the number after which the eigenvalues of the normalised Laplacian rise most.
    """
    laplacian = csgraph.laplacian(affinity, normed=True)
    values = np.linalg.eigvalsh(laplacian)[: min(most, len(affinity) - 1) + 1]
    return int(np.diff(values)[1:].argmax()) + 2 if len(values) > 2 else 2
