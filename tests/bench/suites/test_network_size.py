"""Networks that no machine could hold are refused by name; all others pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from legible.bench.backbones.vgg import vgg
from legible.bench.errors import UserError
from legible.bench.suites.network_size import refuse_giant


def test_a_built_in_backbone_passes_and_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    refuse_giant("vgg", vgg, {})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("params", [{"width": 10**9}, {"width": 2 * 10**5}, {"stages": 30}])
def test_a_giant_is_refused_in_one_line(params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="backbone 'vgg'") as error:
        refuse_giant("vgg", vgg, params)
    assert "\n" not in str(error.value)


def test_many_small_layers_are_counted() -> None:
    def deep(image: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(*(nn.Linear(1, 1) for _ in range(20_000)))

    with pytest.raises(UserError, match="more than"):
        refuse_giant("deep", deep, {})


def test_another_error_is_not_judged_here() -> None:
    def picky(image: tuple[int, int, int], classes: int) -> nn.Module:
        raise ValueError("images of 28 pixels only")

    refuse_giant("picky", picky, {})
