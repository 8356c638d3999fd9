"""Null row: plain training of a network with one more convolution, icnn's capacity."""

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
    """A 3x3 convolution and a ReLU behind the Tap, which keep the number of channels.

    Equation: a <- a + s (relu(conv(a)) - a); L = CE.
    Paper: none; it is what remains of ``icnn`` (Zhang et al. 2018) without masks and filter
    loss, so that a gain can be told from that of an added layer.
    Repository: none.
    Differences: none. Same added layer, initialised alike, as ``icnn``'s for the same seed. A
    step has one more convolution than plain's.
    """

    kind = "null"
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
            self.install(network, tap, partial(self.convolve, i=i))

    def convolve(self, x: Tensor, i: int) -> Tensor:
        kernel, bias = getattr(self, f"kernel{i}"), getattr(self, f"bias{i}")
        out = functional.conv2d(x, kernel.to(x.dtype), bias.to(x.dtype), padding=1)
        return out.relu().to(x.dtype)
