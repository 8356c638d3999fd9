"""Copies of a unit count once."""

import torch

from legible.metrics.copies import copy_groups, distinct_correlation
from legible.metrics.similarity import correlation


def responses(*columns: list[float]) -> torch.Tensor:
    return torch.tensor(columns).T


def test_units_that_respond_alike_are_one_group():
    rho = torch.tensor([[1, 0.2, 0.96, 0], [0.2, 1, 0.1, 0], [0.96, 0.1, 1, 0], [0, 0, 0, 0.0]])
    groups = copy_groups(rho).tolist()
    assert groups == [0, 1, 0, 2]  # the pair first, then by unit; the dead unit is alone


def test_copies_of_a_copy_are_copies():
    rho = torch.tensor([[1, 0.96, 0.94], [0.96, 1, 0.96], [0.94, 0.96, 1.0]])
    assert copy_groups(rho).tolist() == [0, 0, 0]


def test_the_correlation_of_groups_is_the_mean_over_their_members():
    rho = torch.tensor([[1, 0.2, 0.96], [0.2, 1, 0.4], [0.96, 0.4, 1.0]])
    torch.testing.assert_close(distinct_correlation(rho), torch.tensor([[1, 0.3], [0.3, 1.0]]))


def test_without_copies_nothing_changes():
    rho = correlation(torch.rand(30, 5, generator=torch.Generator().manual_seed(0)))
    assert distinct_correlation(rho) is rho


def test_copying_all_units_gives_the_matrix_of_the_originals():
    x = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    merged = distinct_correlation(correlation(torch.cat([x, 2 * x, x], 1)))
    torch.testing.assert_close(merged, correlation(x), atol=1e-5, rtol=0)
