"""Null row: sparse dense layers by an L1 penalty on their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legible.methods.base import Method, Step, TapChoice, Target, register


@register
class WeightL1(Method):
    """Penalises the absolute weights of dense layers, which makes them sparse.

    Equation: L = CE + s * sum over dense layers of (sum |W| + sum |b|).
    Paper: standard; Tibshirani, "Regression shrinkage and selection via the lasso", 1996.
    Repository: as the competing option of BEAN's few-shot code (github.com/YuyangGao/BEAN,
    commit 8eede03), which sums over weights and biases of the dense layers.
    Differences: none in the formula; the code's strength is not recorded.
    """

    kind = "null"
    needs = frozenset({"dense"})
    acts_on = "all"
    claims = frozenset({"pruning_area_dense"})
    target = Target("dense_weight_size", "lower")
    search = {"strength": (1e-5, 1e-4, 1e-3)}

    def __init__(self, strength: float = 1e-4, taps: TapChoice | None = None) -> None:
        super().__init__(strength, taps)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        assert isinstance(step.network, nn.Module)
        dense = [m for m in step.network.modules() if isinstance(m, nn.Linear)]
        sizes = torch.stack([p.float().abs().sum() for m in dense for p in m.parameters()])
        return {"weight_l1": self.strength * sizes.sum()}
