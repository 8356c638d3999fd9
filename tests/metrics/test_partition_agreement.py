"""Agreement of partitions: scikit-learn's values, permutation nulls, undefined cases."""

import math

import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from legible.metrics.partition_agreement import (
    adjusted_information,
    adjusted_rand,
    agreement,
    contingency,
)


def partitions(seed, units=40, modules=5):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(modules, (units,), generator=generator)
    moved = torch.rand(units, generator=generator) < 0.4
    return first, torch.where(moved, torch.randint(modules, (units,), generator=generator), first)


@pytest.mark.parametrize("seed", range(5))
def test_ari_and_ami_are_scikit_learns(seed):
    first, second = partitions(seed)
    table = contingency(first, second)
    assert float(adjusted_rand(table)) == pytest.approx(adjusted_rand_score(first, second))
    expected = adjusted_mutual_info_score(first, second)
    assert float(adjusted_information(table[None])[0]) == pytest.approx(expected)
    values = agreement(first, second)
    assert values["ari"] == pytest.approx(adjusted_rand_score(first, second))
    assert values["ami"] == pytest.approx(expected)


def test_the_null_is_that_of_permuted_labels():
    first, second = partitions(0)
    values = agreement(first, second)
    generator = torch.Generator().manual_seed(9)
    draws = [
        adjusted_rand_score(first, second[torch.randperm(40, generator=generator)])
        for _ in range(400)
    ]
    draws = torch.tensor(draws, dtype=torch.float64)
    assert abs(values["ari_null"]) < 0.01
    assert values["ari_null_low"] == pytest.approx(float(draws.quantile(0.025)), abs=0.02)
    assert values["ari_null_high"] == pytest.approx(float(draws.quantile(0.975)), abs=0.02)
    assert values["ari_null_low"] < values["ari_null"] < values["ari_null_high"] < values["ari"]


def test_unassigned_units_are_left_out_of_both():
    first, second = partitions(1)
    first[:4], second[2:7] = -1, -1
    values = agreement(first, second)
    assert values["coverage"] == pytest.approx(33 / 40)
    assert values["ari"] == pytest.approx(adjusted_rand_score(first[7:], second[7:]))


def test_partitions_that_agree_by_necessity_are_undefined():
    one = torch.zeros(6, dtype=torch.long)
    assert math.isnan(agreement(one, one)["ari"])
    assert math.isnan(agreement(one, one)["ami"])
    assert math.isnan(agreement(torch.arange(6), torch.arange(6))["ari"])
    assert agreement(one, torch.tensor([0, 0, 0, 1, 1, 1]))["ari"] == pytest.approx(0)
    nothing = torch.full((6,), -1)
    assert agreement(nothing, one)["coverage"] == 0
    assert math.isnan(agreement(nothing, one)["ari"])
