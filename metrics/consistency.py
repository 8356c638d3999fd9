"""Are they the same modules on other data, or after another seed?

Two partitions of units, one from each of two probed layers, are compared by ARI and AMI: between
two halves of the probe, between training images and the probe, and between two seeds' networks on
the same images, whose units have no common order and are matched first (Hungarian, by correlation).
Units that either partition leaves unassigned are left out of both; the share that stays is
reported. Beside each agreement stands its permutation null: the mean and the 95 % range when the
second partition is dealt anew to the units. An untrained network is not at that null, so it, too,
is to be beaten; and copies of a unit agree on any data, so read it with effective rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from legible.metrics.partition_agreement import NAN, SEED, agreement
from legible.metrics.base import Layer, metric, remember
from legible.metrics.modules import layer_modules
from legible.metrics.similarity import layer_correlation, live_units

ORDERS = 8  # of the images, for the chance that units match

# ----------------------------------------------------------------- matched units


def _remembered(first: Layer, second: Layer, what: Any, compute: Callable[..., Any]) -> Any:
    """``compute(first, second)``, once for each pair; the second layer is kept, so that its id
    stays its own."""
    key = (what, id(second))
    return remember(first, key, lambda: (second, compute(first, second)))[1]


def _scaling(layer: Layer) -> tuple[Float[Tensor, "units 1"], Float[Tensor, "units 1"]]:
    """What to subtract from responses max(a, 0) and to multiply them by for unit norm; 0 and 0 for
    units without a direction."""

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
    """Correlation, over images and positions, of each unit of one network with each of another;
    0 for dead ones. Streamed over images, which the second network sees in another ``order``,
    if one is given.

    Raises ValueError when the layers were not probed on as many images and positions.
    """
    if first.activation[:, 0].shape != second.activation[:, 0].shape:
        raise ValueError("units are matched on the same images and positions, but these differ")
    (mean, scale), (other_mean, other_scale) = _scaling(first), _scaling(second)
    rho = mean.new_zeros(first.units, second.units)
    for rows, mine in first.chunks():
        theirs = second.activation[rows if order is None else order[rows]].clamp(min=0)
        rho += (_flat(mine, scale > 0) - mean) @ (_flat(theirs, other_scale > 0) - other_mean).T
    return (rho * scale * other_scale.T).clamp(-1, 1)


def matched_units(
    correlation: Float[Tensor, "units others"],
) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """The one-to-one matching of units with the highest total correlation (Hungarian)."""
    rows, columns = linear_sum_assignment(correlation.cpu().numpy(), maximize=True)
    device = correlation.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def matched_agreement(first: Layer, second: Layer) -> dict[str, float]:
    """`agreement` of two networks' modules after matching their units on the same images.

    Dead units match nothing of meaning and are unassigned, so they drop out.
    """
    rho = _remembered(first, second, "cross correlation", cross_correlation)
    mine, theirs = matched_units(rho)
    return agreement(layer_modules(first)[mine], layer_modules(second)[theirs])


# ----------------------------------------------------------------- metrics of two probed layers


def unmatched_agreement(first: Layer, second: Layer) -> dict[str, float]:
    """`agreement` of two layers' modules, unit by unit."""
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
#: By part of `agreement`: title, docstring, and what else the registry wants to know.
PARTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ari": (
        "ARI of modules",
        """Adjusted Rand index of the modules found {where}; 1 for the same modules.

        Chance is 0 whatever the number and the sizes of the modules, and unlike AMI it weighs
        pairs of units, so large modules count as what they are. Read it with its permutation
        null, coverage, effective rank (copies of a unit agree on any data) and the untrained
        network.""",
        {"better": "higher", "null": 0.0, "limits": (-0.5, 1.0)},
    ),
    "ari_null": (
        "ARI, permutation null",
        "Mean ARI over 1000 deals of the second partition to the units ({where}).",
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
        "Adjusted mutual information of the modules found {where}.",
        {"better": "higher", "null": 0.0, "limits": (-1.0, 1.0)},
    ),
    "ami_null": (
        "AMI, permutation null",
        "Mean AMI over 1000 deals of the second partition to the units ({where}).",
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
        "Share of all units that are in a module both times ({where}).",
        {"better": "neither", "null": 0.0, "limits": (0.0, 1.0)},
    ),
}
#: By what is compared: how, the suffix of the metrics' names, and words for title and docstring.
COMPARISONS = (
    (_halves, "", "", "on two disjoint halves of the probe"),
    (_splits, "_splits", ", train and test", "on training images and on the probe's"),
    (_seeds, "_seeds", ", two seeds", "in two seeds' networks, their units matched"),
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

    On the same images, matched for the highest total correlation (Hungarian): 1 when the second
    network has the first one's units in another order; a dead unit counts 0, and with no live
    unit it is undefined. Unrelated units match above 0 by the choice of the best, so read it with
    `matched_correlation_null`.
    """
    return _matched(_remembered(mine, theirs, "cross correlation", cross_correlation))


@metric(
    aspect="consistency", better="neither", per="pair",
    title="correlation of matched units, other images", limits=(-1.0, 1.0),
)  # fmt: skip
def matched_correlation_null(mine: Layer, theirs: Layer) -> float:
    """`matched_correlation` when the second network sees the images in another order: chance.

    Mean over 8 random orders. Above 0, by the choice of the best match, and high where all units
    follow one thing that every image shows at the same place, as in untrained networks.
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
    """`matched_correlation` less `matched_correlation_null`: do the same units come back?

    0 by chance, near 1 for the same units in another order. The headline of its aspect, by the
    evidence on its card: agreement of modules (ARI, AMI) between halves, splits or seeds is as high
    in untrained networks as in trained ones, which this tells apart. It needs runs of two seeds.
    """
    return matched_correlation(mine, theirs) - matched_correlation_null(mine, theirs)
