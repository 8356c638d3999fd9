"""Null row: plain training with more weight decay."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legible.methods.base import Method, Step, TapChoice, Target, register


@register
class WeightDecay(Method):
    """Penalises squared weights, in addition to the recipe's own weight decay.

    Equation: L = CE + (s / 2) * sum over the network's weights (not biases, not normalisation)
    of ||W||_F^2.
    Paper: standard; for example Krogh & Hertz, "A simple weight decay can improve
    generalization", NIPS 1991.
    Repository: none.
    Differences: it is part of the loss, so an adaptive optimiser scales its gradient, unlike the
    recipe's own (decoupled) decay. Before BatchNorm a weight's size has no effect on the
    function; there decay changes the effective learning rate only.
    """

    kind = "null"
    acts_on = "all"
    claims = frozenset({"accuracy"})
    target = Target("weight_power", "lower")
    search = {"strength": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)}

    def __init__(self, strength: float = 1e-3, taps: TapChoice | None = None) -> None:
        super().__init__(strength, taps)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        assert isinstance(step.network, nn.Module)
        weights = [p for p in step.network.parameters() if p.ndim > 1]
        squares = torch.stack([w.float().square().sum() for w in weights])
        return {"weight_decay": self.strength / 2 * squares.sum()}
