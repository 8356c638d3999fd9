"""Differences between tensors, what passes Taps, and logits."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from legible.bench.backbones.taps import Network, Tap
from legible.bench.check.method_subject import plain_result
from legible.bench.check.observations import largest_difference, logits, tap_outputs


def test_the_tensor_that_differs_most_is_named() -> None:
    first = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([0.0]), "c": torch.zeros(0)}
    second = {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor([3.0]), "c": torch.zeros(0)}
    assert largest_difference(first, second) == ("b", 3.0)
    assert largest_difference(first, first) == ("", 0.0)


@pytest.mark.parametrize(
    "other", [{}, {"a": torch.zeros(3)}, {"a": torch.tensor([0.0, math.nan])},
              {"a": torch.zeros(2), "b": torch.zeros(1)}],
)  # fmt: skip
def test_missing_tensors_other_shapes_and_nan_differ_infinitely(other: dict) -> None:
    assert largest_difference({"a": torch.zeros(2)}, other).distance == math.inf


@pytest.mark.parametrize("inplace", [False, True])
def test_a_change_in_place_after_a_tap_is_visible(inplace: bool) -> None:
    parts = OrderedDict(
        conv=nn.Conv2d(1, 2, 3, padding=1), tap=Tap("conv"), clip=nn.Hardtanh(0, 0.1, inplace),
        mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(2, 3),
    )  # fmt: skip
    stack = nn.Sequential(parts)
    network = Network(stack, list(stack), (1, 8, 8)).eval()
    (output,) = tap_outputs(network, torch.randn(4, 1, 8, 8)).values()
    assert torch.equal(output.copy, output.activation) is not inplace
    assert not network.taps["conv"].point._forward_hooks


def test_logits_are_those_of_evaluation_in_any_batch_size() -> None:
    plain = plain_result()
    split = plain.data.test
    expected = plain.network(split.normalise(split.images)).logits
    for size in (5, 256):
        values = logits(plain.network.train(), plain.method, split, size)
        torch.testing.assert_close(values, expected.detach(), rtol=1e-4, atol=1e-5)
    assert not plain.network.training
