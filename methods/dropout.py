"""Dropout at the chosen Taps."""

from __future__ import annotations

import torch
from torch import Tensor

from legible.methods.base import Data, Method, TapChoice, Target, register
from legible.metrics.network import NetworkLike


@register
class Dropout(Method):
    """Silences random units during training; whole channels where the Tap has a map.

    Equation: a <- a + s (m a / (1 - p) - a), m ~ Bernoulli(1 - p) for each image and unit;
    no change at evaluation.
    Paper: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 2014; for channels Tompson et al., CVPR 2015.
    Repository: torch.nn.Dropout and torch.nn.Dropout2d.
    Differences: the mask comes from the method's own generator, so that batch order and
    augmentation stay equal to those of plain training; ``strength`` s interpolates to no dropout.

    p: probability that a unit is silenced.
    """

    acts_on = "last"
    claims = frozenset({"accuracy"})
    target = Target("accuracy_half_units", "higher")
    search = {"p": (0.1, 0.2, 0.3, 0.5, 0.7)}

    def __init__(
        self, strength: float = 1.0, p: float = 0.5, taps: TapChoice | None = None
    ) -> None:
        super().__init__(strength, taps)
        if not 0 <= p < 1:
            raise ValueError(f"p must be in [0, 1), not {p}")
        self.p = p

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        for tap in self.taps:
            self.install(network, tap, self.drop)

    def drop(self, x: Tensor) -> Tensor:
        """Silences units with probability p and divides the others by 1 - p, in training only."""
        if not self.training:
            return x
        shape = (*x.shape[:2], *[1] * (x.ndim - 2))
        mask = torch.rand(shape, generator=self.generator, device=x.device) >= self.p
        return x * mask.to(x.dtype) / (1 - self.p)
