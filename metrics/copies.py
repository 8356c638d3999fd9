"""Copies of a unit: units of one layer that respond alike, counted once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.metrics.modules import components, membership
from legible.metrics.similarity import live_units

#: Units whose correlation is above this are copies.
COPIES = 0.95


def copy_groups(correlation: Float[Tensor, "units units"]) -> Int[Tensor, "units"]:
    """The number of the group of copies that each unit belongs to; largest groups first.

    Groups are the connected components of units with a correlation above 0.95. A unit without
    copies, also a dead one, is a group by itself.
    """
    itself = torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)
    return components((correlation > COPIES) | itself)


def distinct_correlation(
    correlation: Float[Tensor, "units units"],
) -> Float[Tensor, "distinct distinct"]:
    """The correlation of units with copies merged: the mean over the members of two groups.

    The same matrix if there are no copies. The diagonal stays 1, or 0 for a dead unit.
    """
    groups = copy_groups(correlation)
    if int(groups.max()) + 1 == len(correlation):
        return correlation
    member = membership(groups).to(correlation)
    size = member.sum(0)
    merged = member.T @ correlation @ member / (size * size[:, None])
    live = (member.T @ live_units(correlation).to(correlation) > 0).to(correlation)
    merged.diagonal().copy_(live)
    return merged
