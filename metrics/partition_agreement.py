"""Agreement of two partitions of the same units: ARI and AMI, with their permutation nulls."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from sklearn.metrics.cluster import expected_mutual_information
from torch import Tensor

from legible.metrics.modules import membership, numbered

PERMUTATIONS = 1000
SEED = 1202  # of the permutations; the same for every pair
NAN = float("nan")


def contingency(
    first: Int[Tensor, "units"], second: Int[Tensor, "*draws units"]
) -> Float[Tensor, "*draws modules others"]:
    """Number of units in module i of the first and in module j of the second partition."""
    others = torch.arange(int(second.max()) + 1, device=second.device)
    member = (second[..., None] == others).float()  # counts are exact in float32
    return (membership(first).float().T @ member).double()


def adjusted_rand(table: Float[Tensor, "*draws modules others"]) -> Float[Tensor, "*draws"]:
    """Adjusted Rand index of contingency tables: 1 for equal partitions, 0 by chance.

    NaN if both partitions are a single module, or if in both each unit is a module: they always
    agree then (scikit-learn returns 1).
    """

    def pairs(counts: Tensor) -> Tensor:
        return counts * (counts - 1) / 2

    together = pairs(table).sum((-2, -1))
    rows, columns = pairs(table.sum(-1)).sum(-1), pairs(table.sum(-2)).sum(-1)
    expected = rows * columns / pairs(table.sum((-2, -1)))
    return (together - expected) / ((rows + columns) / 2 - expected)


def adjusted_information(table: Float[Tensor, "*draws modules others"]) -> Float[Tensor, "*draws"]:
    """Adjusted mutual information of contingency tables with the same margins.

    (I - E[I]) / ((H_1 + H_2) / 2 - E[I]): 1 for equal partitions, 0 by chance; NaN if both
    partitions are a single module. Source: Vinh et al.; E[I] is scikit-learn's.
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

    Keys: ``ari``, ``ari_null`` (mean), ``ari_null_low`` and ``ari_null_high`` (95 % range), the
    same for ``ami``, and ``coverage``, the share of units that are in a module in both partitions.
    Only these units count; NaN with fewer than two of them. The null depends only on the sizes of
    modules, not on the order of units.
    """
    both = (first >= 0) & (second >= 0)
    results = {"coverage": float(both.double().mean())}
    a, b = numbered(first[both]), numbered(second[both])
    generator = torch.Generator().manual_seed(SEED)
    orders = torch.rand(PERMUTATIONS, len(b), generator=generator).argsort(1).to(b.device)
    tables = None
    if len(a) > 1:
        permuted = contingency(a.sort().values, b.sort().values[orders])
        tables = torch.cat([contingency(a, b)[None], permuted])
    for name, score in (("ari", adjusted_rand), ("ami", adjusted_information)):
        undefined = torch.full((2,), NAN, dtype=torch.float64)
        values = undefined if tables is None else score(tables)
        low, high = values[1:].quantile(torch.tensor([0.025, 0.975]).to(values)).tolist()
        null = {"": values[0], "_null": values[1:].mean(), "_null_low": low, "_null_high": high}
        results |= {name + suffix: float(value) for suffix, value in null.items()}
    return results
