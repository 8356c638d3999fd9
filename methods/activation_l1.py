"""Activation L1: sparse activations by an L1 penalty."""

from __future__ import annotations

import torch
from torch import Tensor

from legible.methods.base import Method, Step, TapChoice, Target, register


@register
class ActivationL1(Method):
    """Penalises the mean absolute activation, which makes activations sparse.

    Equation: L = CE + s * sum over Taps of mean |a|.
    Paper: standard; for example Glorot, Bordes & Bengio, "Deep sparse rectifier neural
    networks", AISTATS 2011.
    Repository: none.
    Differences: the mean over images, units and positions makes ``strength`` comparable
    between layers.
    """

    target = Target("activation_size", "lower")
    search = {"strength": (0.01, 0.1, 1.0, 10.0, 100.0)}

    def __init__(self, strength: float = 0.1, taps: TapChoice | None = None) -> None:
        super().__init__(strength, taps)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        means = [step.activations[tap].abs().mean() for tap in self.taps]
        return {"l1": self.strength * torch.stack(means).sum()}
