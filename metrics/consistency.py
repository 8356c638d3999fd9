"""Are they the same modules on other data, or after another seed?

Two partitions of the same units, one from each of two probed layers, are compared by ARI and AMI.
Units that either leaves unassigned are left out of both; the share that stays is reported. Beside
each agreement stands its permutation null: the mean and the 95 % range when the second partition
is dealt anew to the units. An untrained network is not at that null, so it, too, is to be beaten.

Between seeds units have no common order: `matched_agreement` and `matched_correlation` match them
first (Hungarian, by correlation on the same images). They are not registered, because the halves
of a probe hold different images.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import expected_mutual_information
from torch import Tensor

from metrics.base import Layer, metric, remember
from metrics.modules import membership, modules, numbered
from metrics.similarity import layer_correlation

PERMUTATIONS = 1000
SEED = 1202  # of the permutations, the same for every pair
NAN = float("nan")

# ----------------------------------------------------------------- agreement of partitions


def contingency(
    first: Int[Tensor, "units"], second: Int[Tensor, "*draws units"]
) -> Float[Tensor, "*draws modules others"]:
    """How many units are in module i of the first and module j of the second partition."""
    others = torch.arange(int(second.max()) + 1, device=second.device)
    member = (second[..., None] == others).float()  # counts are exact in float32
    return (membership(first).float().T @ member).double()


def adjusted_rand(table: Float[Tensor, "*draws modules others"]) -> Float[Tensor, "*draws"]:
    """Adjusted Rand index of contingency tables: 1 for the same partition, 0 by chance.

    NaN where both partitions are one module, or both all single units: they then agree whatever
    the units do (scikit-learn returns 1).
    """

    def pairs(counts: Tensor) -> Tensor:
        return counts * (counts - 1) / 2

    together = pairs(table).sum((-2, -1))
    rows, columns = pairs(table.sum(-1)).sum(-1), pairs(table.sum(-2)).sum(-1)
    expected = rows * columns / pairs(table.sum((-2, -1)))
    return (together - expected) / ((rows + columns) / 2 - expected)


def adjusted_information(table: Float[Tensor, "*draws modules others"]) -> Float[Tensor, "*draws"]:
    """Adjusted mutual information of contingency tables that share their margins.

    (I - E[I]) / ((H_1 + H_2) / 2 - E[I]), 1 for the same partition, 0 by chance; NaN where both
    partitions are one module. Source: Vinh et al.; E[I] is scikit-learn's.
    """
    margins = table.reshape(-1, *table.shape[-2:])[0]
    units = margins.sum()
    first = torch.special.entr(margins.sum(1) / units).sum()
    second = torch.special.entr(margins.sum(0) / units).sum()
    joint = torch.special.entr(table / units).sum((-2, -1))
    expected = expected_mutual_information(margins.cpu().numpy().astype(int), int(units))
    room = (first + second) / 2 - expected
    return (first + second - joint - expected) / torch.where(room > 1e-12, room, NAN)


def agreement(first: Int[Tensor, "units"], second: Int[Tensor, "units"]) -> dict[str, float]:
    """ARI and AMI of two partitions of the same units, with their permutation nulls.

    Keys ``ari``, ``ari_null`` (mean), ``ari_null_low`` and ``ari_null_high`` (95 % range), the
    same for ``ami``, and ``coverage``: the share of units assigned in both, which alone count.
    NaN with fewer than two of them. The units are put in order of their modules before the
    second partition is dealt anew, so their numbering does not matter.
    """
    both = (first >= 0) & (second >= 0)
    results = {"coverage": float(both.double().mean())}
    a, b = numbered(first[both]), numbered(second[both])
    order = (a * (len(b) + 1) + b).argsort(stable=True)
    a, b = a[order], b[order]
    generator = torch.Generator().manual_seed(SEED)
    deals = torch.rand(PERMUTATIONS, len(b), generator=generator).argsort(1).to(b.device)
    tables = contingency(a, torch.cat([b[None], b[deals]])) if len(a) > 1 else None
    for name, score in (("ari", adjusted_rand), ("ami", adjusted_information)):
        undefined = torch.full((2,), NAN, dtype=torch.float64)
        values = undefined if tables is None else score(tables)
        low, high = values[1:].quantile(torch.tensor([0.025, 0.975]).to(values)).tolist()
        null = {"": values[0], "_null": values[1:].mean(), "_null_low": low, "_null_high": high}
        results |= {name + suffix: float(value) for suffix, value in null.items()}
    return results


def _between(first: Layer, second: Layer) -> dict[str, float]:
    key = ("agreement", id(second))
    # the second layer is remembered too, so that its id stays its own
    return remember(first, key, lambda: (second, agreement(modules(first), modules(second))))[1]


# ----------------------------------------------------------------- metrics of two probed layers


@metric(
    aspect="consistency", better="higher", per="pair", null=0.0, headline=True,
    title="ARI of modules", limits=(-0.5, 1.0),
)  # fmt: skip
def ari(first: Layer, second: Layer) -> float:
    """Adjusted Rand index of the modules found on two sets of images; 1 for the same modules.

    The headline of its aspect: chance is 0 whatever the number and the sizes of the modules, and
    unlike AMI it weighs pairs of units, so large modules count as what they are. Read it with
    coverage and effective rank (copies of a unit agree on any data) and the untrained network.
    """
    return _between(first, second)["ari"]


@metric(aspect="consistency", better="neither", per="pair", title="ARI, permutation null")
def ari_null(first: Layer, second: Layer) -> float:
    """Mean ARI over 1000 deals of the second partition to the units."""
    return _between(first, second)["ari_null"]


@metric(aspect="consistency", better="neither", per="pair", title="ARI, null 2.5 %")
def ari_null_low(first: Layer, second: Layer) -> float:
    """Lower end of the 95 % range of the ARI under the permutation null."""
    return _between(first, second)["ari_null_low"]


@metric(aspect="consistency", better="neither", per="pair", title="ARI, null 97.5 %")
def ari_null_high(first: Layer, second: Layer) -> float:
    """Upper end of the 95 % range of the ARI under the permutation null."""
    return _between(first, second)["ari_null_high"]


@metric(
    aspect="consistency", better="higher", per="pair", null=0.0, title="AMI of modules",
    limits=(-1.0, 1.0),
)  # fmt: skip
def ami(first: Layer, second: Layer) -> float:
    """Adjusted mutual information of the modules found on two sets of images."""
    return _between(first, second)["ami"]


@metric(aspect="consistency", better="neither", per="pair", title="AMI, permutation null")
def ami_null(first: Layer, second: Layer) -> float:
    """Mean AMI over 1000 deals of the second partition to the units."""
    return _between(first, second)["ami_null"]


@metric(aspect="consistency", better="neither", per="pair", title="AMI, null 2.5 %")
def ami_null_low(first: Layer, second: Layer) -> float:
    """Lower end of the 95 % range of the AMI under the permutation null."""
    return _between(first, second)["ami_null_low"]


@metric(aspect="consistency", better="neither", per="pair", title="AMI, null 97.5 %")
def ami_null_high(first: Layer, second: Layer) -> float:
    """Upper end of the 95 % range of the AMI under the permutation null."""
    return _between(first, second)["ami_null_high"]


@metric(
    aspect="consistency", better="neither", per="pair", null=0.0, title="coverage in both",
    limits=(0.0, 1.0),
)  # fmt: skip
def consistency_coverage(first: Layer, second: Layer) -> float:
    """Share of all units that are in a module on both sets of images."""
    return _between(first, second)["coverage"]


# ----------------------------------------------------------------- between seeds


def cross_correlation(first: Layer, second: Layer) -> Float[Tensor, "units others"]:
    """Correlation, over images and positions, of each unit of one network with each of another;
    0 for dead ones.

    Raises ValueError when the layers were not probed on as many images and positions.
    """
    if first.activation[:, 0].shape != second.activation[:, 0].shape:
        raise ValueError("units are matched on the same images and positions, but these differ")
    both = Layer(first.name, torch.cat([first.activation, second.activation], 1))
    return layer_correlation(both)[: first.units, first.units :]


def matched_units(
    correlation: Float[Tensor, "units others"],
) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """The one-to-one matching of units with the highest total correlation (Hungarian)."""
    rows, columns = linear_sum_assignment(correlation.cpu().numpy(), maximize=True)
    device = correlation.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def matched_correlation(first: Layer, second: Layer) -> float:
    """Mean correlation of units matched one to one between two networks on the same images.

    1 when the second network has the first one's units in another order; a dead unit counts 0.
    """
    rho = cross_correlation(first, second)
    return float(rho[matched_units(rho)].mean())


def matched_agreement(first: Layer, second: Layer) -> dict[str, float]:
    """`agreement` of two networks' modules after matching their units on the same images.

    Dead units match nothing of meaning and are unassigned, so they drop out.
    """
    mine, theirs = matched_units(cross_correlation(first, second))
    return agreement(modules(first)[mine], modules(second)[theirs])
