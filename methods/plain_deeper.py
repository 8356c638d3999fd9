"""Null row: plain training with one more convolution, the capacity of icnn."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from legible.methods.base import Data, Method, TapChoice, register
from legible.metrics.network import NetworkLike


@register
class PlainDeeper(Method):
    """Plain training with one more 3x3 convolution after the Tap, the layer that icnn adds.

    Equation: a <- a + s (relu(conv(a)) - a); L = CE.
    Paper: none. This is ``icnn`` (Zhang et al. 2018) without masks and filter loss; it separates
    what icnn gains from what the added layer gains.
    Repository: none.
    Differences: none. The layer has as many channels as the Tap, and for the same seed the same
    initial weights as ``icnn``'s. A step has one more convolution than plain's.
    """

    kind = "null"
    target_reason = "adds a layer and no loss, so that nothing is meant to move"
    needs = frozenset({"spatial"})

    def __init__(self, strength: float = 1.0, taps: TapChoice | None = None) -> None:
        super().__init__(strength, taps)

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        device = data.labels.device
        for i, tap in enumerate(self.taps):
            units = network.taps[tap].units
            kernel = torch.randn(units, units, 3, 3, generator=self.generator, device=device)
            self.register_parameter(f"kernel{i}", nn.Parameter(kernel * math.sqrt(2 / (9 * units))))
            self.register_parameter(f"bias{i}", nn.Parameter(torch.zeros(units, device=device)))
            relu = self.expose(network, tap, nn.ReLU())
            self.install(network, tap, partial(self.convolve, i=i, relu=relu))

    def convolve(self, x: Tensor, i: int, relu: nn.Module) -> Tensor:
        """The added convolution and a ReLU."""
        kernel, bias = getattr(self, f"kernel{i}"), getattr(self, f"bias{i}")
        out = functional.conv2d(x, kernel.to(x.dtype), bias.to(x.dtype), padding=1)
        return relu(out).to(x.dtype)
