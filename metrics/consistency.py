"""Consistency: are the modules the same on other images, or with another seed?

Two partitions of units into modules are compared by ARI and AMI:

- halves: the modules on two halves of the probe's images;
- train and test: the modules on training images and on the probe's images;
- two seeds: the modules of two networks on the same images. The units of the two networks are first
  matched by correlation (Hungarian algorithm).

A unit counts only if it is in a module in both partitions. Coverage is the share of units that
count. Each agreement comes with its permutation null: the mean and the 95 % range for a random
assignment of the second partition's modules to units. Untrained networks score above that null, so
compare with them too. Copies of a unit agree on any images, so read these metrics together with
effective rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.copies import copy_groups
from legible.metrics.modules import layer_modules, membership
from legible.metrics.partition_agreement import NAN, SEED, agreement
from legible.metrics.selectivity import class_means
from legible.metrics.similarity import layer_correlation, live_units
from legible.metrics.subsets import unit_subsets

ORDERS = 8  # random orders of the images, for the match of units by chance

# ----------------------------------------------------------------- matched units


def _remembered(first: Layer, second: Layer, what: Any, compute: Callable[..., Any]) -> Any:
    """The result of ``compute(first, second)``, computed once for each pair of layers.

    The second layer is stored with it, so that no other object can get its id.
    """
    key = (what, id(second))
    return remember(first, key, lambda: (second, compute(first, second)))[1]


def _scaling(layer: Layer) -> tuple[Float[Tensor, "units 1"], Float[Tensor, "units 1"]]:
    """The mean of each unit's responses max(a, 0), and the factor that gives them unit norm.

    0 and 0 for units without a direction.
    """

    def compute() -> tuple[Tensor, Tensor]:
        live = live_units(layer_correlation(layer))[:, None]
        size = layer.activation[:, 0].numel()
        sums = [_flat(a, live).sum(1, keepdim=True) for _, a in layer.chunks()]
        mean = torch.stack(sums).sum(0) / size
        powers = [(_flat(a, live) - mean).square().sum(1, keepdim=True) for _, a in layer.chunks()]
        return mean, torch.where(live, torch.stack(powers).sum(0), torch.inf).rsqrt()

    return remember(layer, "scaling", compute)


def _flat(a: Float[Tensor, "images units *map"], live: Tensor) -> Float[Tensor, "units samples"]:
    return torch.where(live, a.movedim(1, 0).flatten(1), 0.0).double()


def cross_correlation(
    first: Layer, second: Layer, order: Int[Tensor, "images"] | None = None
) -> Float[Tensor, "units others"]:
    """Correlation of each unit of one network with each unit of another; 0 for dead units.

    Over images and positions, computed in chunks of images. With ``order``, image i of the first
    network is paired with image order[i] of the second. Raises ValueError if the layers do not
    have the same numbers of images and positions.
    """
    if first.activation[:, 0].shape != second.activation[:, 0].shape:
        raise ValueError("the two layers must have the same images and positions")
    (mean, scale), (other_mean, other_scale) = _scaling(first), _scaling(second)
    rho = mean.new_zeros(first.units, second.units)
    for rows, mine in first.chunks():
        theirs = second.activation[rows if order is None else order[rows]].clamp(min=0)
        rho += (_flat(mine, scale > 0) - mean) @ (_flat(theirs, other_scale > 0) - other_mean).T
    return (rho * scale * other_scale.T).clamp(-1, 1)


def matched_units(
    correlation: Float[Tensor, "units others"],
) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """The one-to-one matching of units with the highest total correlation (Hungarian algorithm)."""
    rows, columns = linear_sum_assignment(correlation.cpu().numpy(), maximize=True)
    device = correlation.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def matched_agreement(first: Layer, second: Layer) -> dict[str, float]:
    """`agreement` of two networks' modules after matching their units on the same images.

    Dead units are in no module, so their arbitrary matches do not count.
    """
    rho = _remembered(first, second, "cross correlation", cross_correlation)
    mine, theirs = matched_units(rho)
    return agreement(layer_modules(first)[mine], layer_modules(second)[theirs])


# ----------------------------------------------------------------- metrics of two layers


def unmatched_agreement(first: Layer, second: Layer) -> dict[str, float]:
    """`agreement` of two layers' modules, without matching units."""
    return agreement(layer_modules(first), layer_modules(second))


def _halves(part: str) -> Callable[[Layer, Layer], float]:
    def compare(first: Layer, second: Layer) -> float:
        return _remembered(first, second, "agreement", unmatched_agreement)[part]

    return compare


def _splits(part: str) -> Callable[[Layer, Layer], float]:
    def compare(train: Layer, test: Layer) -> float:
        return _remembered(train, test, "agreement", unmatched_agreement)[part]

    return compare


def _seeds(part: str) -> Callable[[Layer, Layer], float]:
    def compare(mine: Layer, theirs: Layer) -> float:
        return _remembered(mine, theirs, "matched agreement", matched_agreement)[part]

    return compare


_NEITHER: dict[str, Any] = {"better": "neither"}
#: By key of `agreement`: title, docstring, and further arguments of `metric`.
PARTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ari": (
        "ARI of modules",
        """Adjusted Rand index of the modules {where}; 1 for equal modules.

        0 by chance, for any number and sizes of modules. Unlike AMI it counts pairs of units, so
        large modules weigh more. Read it together with its permutation null, coverage, effective
        rank (copies of a unit agree on any images) and the untrained network.""",
        {"better": "higher", "null": 0.0, "limits": (-0.5, 1.0)},
    ),
    "ari_null": (
        "ARI, permutation null",
        "Mean ARI over 1000 random permutations of the second partition's units ({where}).",
        _NEITHER,
    ),
    "ari_null_low": (
        "ARI, null 2.5 %",
        "Lower end of the 95 % range of the ARI under the permutation null ({where}).",
        _NEITHER,
    ),
    "ari_null_high": (
        "ARI, null 97.5 %",
        "Upper end of the 95 % range of the ARI under the permutation null ({where}).",
        _NEITHER,
    ),
    "ami": (
        "AMI of modules",
        "Adjusted mutual information of the modules {where}.",
        {"better": "higher", "null": 0.0, "limits": (-1.0, 1.0)},
    ),
    "ami_null": (
        "AMI, permutation null",
        "Mean AMI over 1000 random permutations of the second partition's units ({where}).",
        _NEITHER,
    ),
    "ami_null_low": (
        "AMI, null 2.5 %",
        "Lower end of the 95 % range of the AMI under the permutation null ({where}).",
        _NEITHER,
    ),
    "ami_null_high": (
        "AMI, null 97.5 %",
        "Upper end of the 95 % range of the AMI under the permutation null ({where}).",
        _NEITHER,
    ),
    "coverage": (
        "coverage in both",
        "Share of all units that are in a module in both partitions ({where}).",
        {"better": "neither", "null": 0.0, "limits": (0.0, 1.0)},
    ),
}
#: Comparisons: function, suffix of the metrics' names, and words for titles and docstrings.
COMPARISONS = (
    (_halves, "", "", "on two disjoint halves of the probe's images"),
    (_splits, "_splits", ", train and test", "on training images and on the probe's images"),
    (_seeds, "_seeds", ", two seeds", "of two seeds' networks, with matched units"),
)

for _of, _suffix, _words, _where in COMPARISONS:
    for _part, (_title, _text, _facts) in PARTS.items():
        _function = _of(_part)
        _base = "consistency_coverage" if _part == "coverage" else _part
        _function.__name__ = _base + _suffix
        _function.__doc__ = _text.format(where=_where)
        metric(aspect="consistency", per="pair", title=_title + _words, **_facts)(_function)


def _matched(rho: Float[Tensor, "units others"]) -> float:
    return float(rho[matched_units(rho)].mean()) if rho.any() else NAN


@metric(
    aspect="consistency", better="higher", per="pair",
    title="correlation of matched units, two seeds", limits=(-1.0, 1.0),
)  # fmt: skip
def matched_correlation(mine: Layer, theirs: Layer) -> float:
    """Mean correlation of units matched one to one between two seeds' networks.

    On the same images, with the matching of highest total correlation (Hungarian algorithm). 1 if
    the second network has the first one's units in another order. A dead unit counts as 0; without
    any live unit it is undefined. The best match of unrelated units is above 0, so read it together
    with `matched_correlation_null`.
    """
    return _matched(_remembered(mine, theirs, "cross correlation", cross_correlation))


@metric(
    aspect="consistency", better="neither", per="pair",
    title="correlation of matched units, other images", limits=(-1.0, 1.0),
)  # fmt: skip
def matched_correlation_null(mine: Layer, theirs: Layer) -> float:
    """`matched_correlation` by chance: with the second network's images in a random order.

    Mean over 8 random orders. Above 0, because the best match is chosen; high if all units follow
    something that all images have at the same place, as in untrained networks.
    """
    return _remembered(mine, theirs, "matched null", _shuffled_match)


def _shuffled_match(mine: Layer, theirs: Layer) -> float:
    correlations = _remembered(mine, theirs, "shuffled correlations", _shuffled_correlations)
    return sum(_matched(rho) for rho in correlations) / ORDERS


def _orders(images: int) -> list[Int[Tensor, "images"]]:
    """8 random orders of the images; always the same."""
    generator = torch.Generator().manual_seed(SEED)
    return [torch.randperm(images, generator=generator) for _ in range(ORDERS)]


def _shuffled_correlations(mine: Layer, theirs: Layer) -> list[Float[Tensor, "units others"]]:
    """`cross_correlation` with the second network's images in each of 8 random orders."""
    device = theirs.activation.device
    orders = _orders(len(theirs.activation))
    return [cross_correlation(mine, theirs, order.to(device)) for order in orders]


@metric(
    aspect="consistency", better="higher", per="pair", null=0.0,
    title="matched units' correlation above chance, two seeds", limits=(-1.0, 1.0),
)  # fmt: skip
def matched_correlation_excess(mine: Layer, theirs: Layer) -> float:
    """`matched_correlation` minus `matched_correlation_null`: do two seeds learn the same units?

    0 by chance, near 1 for the same units in another order. It tells trained from untrained
    networks, while the agreement of modules (ARI, AMI) between halves, splits or seeds is as high
    in untrained ones. No headline: units that know the label alone score highest (see
    `matched_dimensions`).
    """
    return matched_correlation(mine, theirs) - matched_correlation_null(mine, theirs)


# ----------------------------------------------------------------- matched dimensions

#: A unit whose class means explain all but this share of its variance says nothing else.
NOTHING_ELSE = 1e-4


class Residuals(NamedTuple):
    """A layer's responses with the class means removed, in the parts that products need.

    ``pooled`` are the mean responses of each image and ``means`` those of its class, both less the
    unit's mean. ``scale`` gives a unit's residual responses unit norm; 0 if nothing is left.
    ``positions`` is the number of positions of the map.
    """

    pooled: Float[Tensor, "images units"]
    means: Float[Tensor, "images units"]
    scale: Float[Tensor, "units"]
    positions: int


def _residuals(layer: Layer, probe: Probe) -> Residuals:
    def compute() -> Residuals:
        mean, total_scale = (part[:, 0] for part in _scaling(layer))
        live, positions = total_scale > 0, layer.activation[0, 0].numel()
        pooled = torch.where(live, layer.pooled, 0.0).double() - torch.where(live, mean, 0.0)
        means = class_means(pooled, probe.labels, probe.classes)[probe.labels]
        total = torch.where(live, total_scale, 1.0).square().reciprocal()
        left = total - positions * means.square().sum(0)
        usable = live & (left > NOTHING_ELSE * total)
        scale = torch.where(usable, torch.where(usable, left, 1.0).rsqrt(), 0.0)
        return Residuals(pooled, means, scale, positions)

    return remember(layer, ("residuals", probe.classes), compute)


def residual_correlation(
    correlation: Float[Tensor, "units others"],
    first: Layer,
    second: Layer,
    probe: Probe,
    order: Int[Tensor, "images"] | None = None,
) -> Float[Tensor, "units others"]:
    """Correlation of units of two layers over images and positions, with class means removed.

    ``correlation`` is that of the whole responses (`cross_correlation` with the same ``order``).
    From each response the unit's mean over its image's class is subtracted, so that units which
    share the label alone have correlation 0. 0 for units of which nothing is left.
    """
    (_, scale), (_, other_scale) = _scaling(first), _scaling(second)
    mine, theirs = _residuals(first, probe), _residuals(second, probe)
    unit_norm = torch.where((scale > 0) & (other_scale.T > 0), scale * other_scale.T, torch.inf)
    pooled, means = (x if order is None else x[order] for x in (theirs.pooled, theirs.means))
    by_class = mine.means.T @ pooled + mine.pooled.T @ means - mine.means.T @ means
    residual = correlation / unit_norm - mine.positions * by_class
    return (residual * mine.scale[:, None] * theirs.scale).clamp(-1, 1)


def distinct_units(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """The number of the group of copies that each unit belongs to.

    Copies are units with a residual correlation above 0.95 (connected components).
    """

    def compute() -> Tensor:
        return copy_groups(residual_correlation(layer_correlation(layer), layer, layer, probe))

    return remember(layer, ("distinct units", probe.classes), compute)


def _without_copies(
    rho: Float[Tensor, "units others"], groups: Int[Tensor, "others"]
) -> Float[Tensor, "units groups"]:
    """The mean correlation with the members of each group of copies."""
    member = membership(groups).to(rho)
    return rho @ member / member.sum(0)


def _matched_sums(
    rho: Float[Tensor, "units groups"],
    subsets: Int[Tensor, "draws picked"],
    groups: Int[Tensor, "units"],
) -> Float[Tensor, "draws"]:
    """Total correlation of the matched units in each subset, one unit for each group of copies."""
    sums = []
    for picked in subsets.cpu().numpy():
        _, first = np.unique(groups[picked].cpu().numpy(), return_index=True)
        table = rho[picked[np.sort(first)]].cpu().numpy()
        rows, columns = linear_sum_assignment(table, maximize=True)
        sums.append(float(table[rows, columns].sum()))
    return torch.tensor(sums, dtype=torch.float64)


@metric(
    aspect="consistency", better="higher", per="pair", null=0.0,
    headline=True, title="matched dimensions, two seeds", limits=(-1.0, 1.0),
    compares=("untrained", "shuffled_labels", "plain_rotated"),
    because="the oracle is the same for every seed",
)  # fmt: skip
def matched_dimensions(mine: Layer, theirs: Layer, probe: Probe) -> float:
    """Share of a network's units that another seed's network has too, beyond class and copies.

    Correlations are over images and positions, of responses with the class means removed
    (`residual_correlation`), so units that know the label alone share nothing. Units of one network
    with a correlation above 0.95 are copies and count once. As many random units of the first
    network as there are classes are matched one to one with units of the second (Hungarian
    algorithm). The value is the sum of the matched correlations, less its mean over 8 random orders
    of the second network's images, divided by the number of units picked; mean of 20 picks [ours].
    1 for the same distinct units in another order, 0 by chance. Undefined if nothing is left of
    all units of a network. It needs two seeds.
    """
    rho = _remembered(mine, theirs, "cross correlation", cross_correlation)
    shuffled = _remembered(mine, theirs, "shuffled correlations", _shuffled_correlations)
    if not (_residuals(mine, probe).scale.any() and _residuals(theirs, probe).scale.any()):
        return NAN
    subsets, groups = unit_subsets(mine, probe), distinct_units(mine, probe)
    copies = distinct_units(theirs, probe)
    orders = [None, *(o.to(rho.device) for o in _orders(len(theirs.activation)))]
    sums = [
        _matched_sums(
            _without_copies(residual_correlation(part, mine, theirs, probe, order), copies),
            subsets,
            groups,
        )
        for part, order in zip([rho, *shuffled], orders, strict=True)
    ]
    excess = sums[0] - torch.stack(sums[1:]).mean(0)
    return float(excess.mean() / subsets.shape[1])
