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
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from legible.metrics.base import Layer, metric, remember
from legible.metrics.modules import layer_modules
from legible.metrics.partition_agreement import NAN, SEED, agreement
from legible.metrics.similarity import layer_correlation, live_units

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
    generator = torch.Generator().manual_seed(SEED)
    values = []
    for _ in range(ORDERS):
        order = torch.randperm(len(theirs.activation), generator=generator)
        values.append(_matched(cross_correlation(mine, theirs, order.to(theirs.activation.device))))
    return sum(values) / ORDERS


@metric(
    aspect="consistency", better="higher", per="pair", null=0.0, headline=True,
    title="matched units' correlation above chance, two seeds", limits=(-1.0, 1.0),
)  # fmt: skip
def matched_correlation_excess(mine: Layer, theirs: Layer) -> float:
    """`matched_correlation` minus `matched_correlation_null`: do two seeds learn the same units?

    0 by chance, near 1 for the same units in another order. The headline of its aspect, by the
    evidence on its card: it tells trained from untrained networks, while the agreement of modules
    (ARI, AMI) between halves, splits or seeds is as high in untrained ones. It needs two seeds.
    """
    return matched_correlation(mine, theirs) - matched_correlation_null(mine, theirs)
