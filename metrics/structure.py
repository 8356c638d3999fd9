"""Structure: do the units form modules?

Units are nodes, and the correlations of their responses on the probe are edges. Modules are
extracted in the same way for all methods (metrics/modules.py), or are those that the method itself
claims. Copies of a unit increase all of these metrics but `modularity_excess`, so read them
together with effective rank. No metric here has a direction that survives the comparison with
untrained networks: the aspect is descriptive.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.copies import distinct_correlation
from legible.metrics.modules import (
    claimed_modules,
    graph,
    layer_modules,
    newman_modularity,
    spectral_modules,
    synchronised_modules,
)
from legible.metrics.similarity import distances, layer_correlation, live_units, neighbours
from legible.metrics.similarity import effective_rank as rank_of

SHUFFLES = 20  # shuffled graphs, each with modules extracted from it
PERMUTATIONS = 100  # of the units over fixed modules

NAN = float("nan")


def z_score(value: Float[Tensor, ""], null: Float[Tensor, "draws"]) -> float:
    """(value - mean) / standard deviation of the draws; NaN if they do not vary."""
    spread = null.std()
    return float((value - null.mean()) / spread) if len(null) > 1 and spread > 1e-9 else NAN


# ----------------------------------------------------------------- modularity


@metric(
    aspect="structure", better="higher", per="layer", null=0.0, title="modularity Q",
    limits=(-0.5, 1.0),
)  # fmt: skip
def modularity(layer: Layer, probe: Probe) -> float:
    """Newman's Q of the layer's modules on the graph of the units, weights max(rho, 0).

    0 for a single module or by chance. It is larger with more modules and with fewer positive
    correlations, so read it together with `modularity_excess`. Undefined without any positive
    correlation.
    """
    return float(newman_modularity(graph(layer_correlation(layer)), layer_modules(layer)))


@metric(
    aspect="structure", better="neither", per="layer", null=0.0, headline=True,
    title="modularity Q above shuffled weights", limits=(-1.0, 1.0),
)  # fmt: skip
def modularity_excess(layer: Layer, probe: Probe) -> float:
    """Modularity Q minus its mean over 20 graphs with the correlations shuffled over unit pairs.

    Copies of a unit are merged first (`distinct_correlation`): they would be modules of their own.
    Modules are extracted from each shuffled graph, so the null has the best partition too.
    Shuffling preserves the weights but not the units' degrees. Descriptive, without a better
    direction: untrained networks have more of it than trained ones. It heads its aspect because,
    unlike Q, it is near 0 for independent units; and unlike `modularity_z`, which divides by a
    small and uncertain deviation, it falls steadily when modules dissolve.
    """
    rho = distinct_correlation(layer_correlation(layer))
    if len(rho) == layer.units:
        return modularity(layer, probe) - float(_shuffled_modularity(layer, probe).mean())
    value = newman_modularity(graph(rho), synchronised_modules(rho))
    return float(value - _modularity_of_shuffled(rho, probe).mean())


@metric(
    aspect="structure", better="higher", per="layer", null=0.0,
    title="modularity Q, z against shuffled weights",
    breaks={"dose": "at first the deviation by which it divides falls faster than Q"},
)  # fmt: skip
def modularity_z(layer: Layer, probe: Probe) -> float:
    """Modularity Q as a z score: (Q - mean) / standard deviation over 20 shuffled graphs.

    Values above about 2 are not by chance. How far above 2 has little meaning, because the
    deviation is tiny if all units have a common response.
    """
    value = newman_modularity(graph(layer_correlation(layer)), layer_modules(layer))
    return z_score(value, _shuffled_modularity(layer, probe))


def _shuffled_modularity(layer: Layer, probe: Probe) -> Float[Tensor, "draws"]:
    def compute() -> Tensor:
        return _modularity_of_shuffled(layer_correlation(layer), probe)

    return remember(layer, ("shuffled modularity", probe.seed), compute)


def _modularity_of_shuffled(
    correlation: Float[Tensor, "units units"], probe: Probe
) -> Float[Tensor, "draws"]:
    generator = probe.generator("modularity")
    graphs = (shuffled(correlation, generator) for _ in range(SHUFFLES))
    return torch.stack([newman_modularity(graph(rho), synchronised_modules(rho)) for rho in graphs])


def shuffled(
    correlation: Float[Tensor, "units units"], generator: torch.Generator
) -> Float[Tensor, "live live"]:
    """The live units' correlations, assigned to pairs of units at random.

    They are sorted first, so the order of units does not matter.
    """
    live = live_units(correlation)
    rho = correlation[live][:, live]
    row, column = torch.triu_indices(len(rho), len(rho), 1, device=rho.device)
    values = rho[row, column].sort().values
    result = torch.eye(len(rho), dtype=rho.dtype, device=rho.device)
    order = torch.randperm(len(values), generator=generator).to(rho.device)
    result[row, column] = result[column, row] = values[order]
    return result


# ----------------------------------------------------------------- within and between modules


def within_share(
    similarity: Float[Tensor, "units units"], partitions: Int[Tensor, "draws units"]
) -> Float[Tensor, "draws"]:
    """sum_k of similarity within module k / similarity between module k and all modules."""
    count = int(partitions.max()) + 1
    member = (partitions[..., None] == torch.arange(count, device=partitions.device)).to(similarity)
    reach = similarity @ member
    within = (member * reach).sum(1)
    total = (member * reach.sum(-1, keepdim=True)).sum(1)
    return (within / total).sum(-1)


def within_null(
    similarity: Float[Tensor, "units units"],
    partition: Int[Tensor, "units"],
    generator: torch.Generator,
) -> Float[Tensor, "draws"]:
    """`within_share` for 100 random assignments of units to modules of the same sizes.

    Units are first sorted by their total similarity, so their order does not matter.
    """
    order = similarity.sum(1).argsort()
    sizes = partition.sort().values
    orders = torch.rand(PERMUTATIONS, len(order), generator=generator).argsort(1)
    return within_share(similarity[order][:, order], sizes[orders.to(sizes.device)])


def _within(
    layer: Layer, partition: Int[Tensor, "units"], generator: torch.Generator | None
) -> float:
    assigned = partition >= 0
    if not assigned.any():
        return NAN
    similarity = layer_correlation(layer)[assigned][:, assigned] + 1
    value = within_share(similarity, partition[assigned][None])[0]
    if generator is None:
        return float(value)
    return z_score(value, within_null(similarity, partition[assigned], generator))


@metric(aspect="structure", better="higher", per="layer", null=1.0, title="within / between")
def within_between(layer: Layer, probe: Probe) -> float:
    """icCNN's ratio: sum_k within_k / all_k, on the similarity rho + 1 of units in modules.

    From 0 to the number of modules; 1 for uniform similarity. It is larger with more modules, so
    compare it only for equal numbers of modules, or read `within_between_z`.
    """
    return _within(layer, layer_modules(layer), None)


@metric(
    aspect="structure", better="higher", per="layer", null=0.0,
    title="within / between, z against permuted units",
)  # fmt: skip
def within_between_z(layer: Layer, probe: Probe) -> float:
    """`within_between` as a z score: against 100 random assignments of units to modules.

    The random modules have the same sizes. The modules were extracted from the same correlations,
    so values are always above 0: it compares networks, but does not test whether there are modules.
    Undefined for a single module.
    """
    return _within(layer, layer_modules(layer), probe.generator("within"))


# ----------------------------------------------------------------- claimed modules


@metric(
    aspect="structure", better="higher", per="layer", null=0.0, needs={"claimed"},
    title="modularity Q, claimed modules", limits=(-0.5, 1.0),
)  # fmt: skip
def claimed_modularity(layer: Layer, probe: Probe) -> float:
    """Newman's Q of the modules that the method itself claims, on the same graph."""
    return float(newman_modularity(graph(layer_correlation(layer)), claimed_modules(layer)))


@metric(
    aspect="structure", better="higher", per="layer", null=1.0, needs={"claimed"},
    title="within / between, claimed modules",
)  # fmt: skip
def claimed_within_between(layer: Layer, probe: Probe) -> float:
    """icCNN's ratio of the modules that the method itself claims."""
    return _within(layer, claimed_modules(layer), None)


@metric(
    aspect="structure", better="higher", per="layer", null=0.0, needs={"claimed"},
    title="within / between, claimed modules, z",
)  # fmt: skip
def claimed_within_between_z(layer: Layer, probe: Probe) -> float:
    """The claimed modules' ratio as a z score: against random assignments of units to modules.

    Unlike `within_between_z` this is a fair test, because the modules were claimed without these
    responses.
    """
    return _within(layer, claimed_modules(layer), probe.generator("within"))


# ----------------------------------------------------------------- order, coverage, rank


@metric(
    aspect="structure", better="higher", per="unit", null=0.0, limits=(0.0, 1.0),
    breaks={
        "known": "members of a clean block just beyond the mean distance count as isolated",
        "dose": "the radius grows with the noise, so dissolved blocks score like clean ones",
    },
)  # fmt: skip
def order_parameter(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How near a unit's neighbours are: the mean of exp(-distance) over them and itself.

    The distance is that of signatures, sqrt(2 - 2 rho). Neighbours are within the mean distance of
    units to their 3 nearest ones. A unit without neighbours scores 0, copies of a unit score 1, a
    dead unit is undefined. The mean over units is Shao's local order parameter r_c.
    """
    rho = layer_correlation(layer)
    near = neighbours(rho)
    count = near.sum(1)
    closeness = (1 + (near * (-distances(rho)).exp()).sum(1)) / (1 + count)
    return torch.where(count > 0, closeness, 0.0).masked_fill(~live_units(rho), NAN)


@metric(
    aspect="structure", better="neither", per="layer", null=0.0, title="coverage of modules",
    limits=(0.0, 1.0),
)  # fmt: skip
def coverage(layer: Layer, probe: Probe) -> float:
    """Share of the layer's units, dead ones included, that are in a module."""
    return float((layer_modules(layer) >= 0).double().mean())


@metric(aspect="structure", better="neither", per="layer", title="number of modules")
def module_count(layer: Layer, probe: Probe) -> float:
    """Number of modules by the synchronization dynamics."""
    return float(layer_modules(layer).max() + 1)


@metric(aspect="structure", better="neither", per="layer", title="number of modules, spectral")
def spectral_module_count(layer: Layer, probe: Probe) -> float:
    """Number of modules by spectral clustering (largest eigengap), for comparison."""
    return float(spectral_modules(layer).max() + 1)


@metric(aspect="structure", better="neither", per="layer")
def effective_rank(layer: Layer, probe: Probe) -> float:
    """Effective number of different units: exp of the entropy of the correlation's eigenvalues.

    From 1, if all live units are copies of one, to the number of live units.
    """
    return float(rank_of(layer_correlation(layer)))
