"""Textured backgrounds: smooth noise of several grain sizes and an oriented grating."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def textured_background(
    count: int, size: int, generator: torch.Generator
) -> Float[Tensor, "count 1 size size"]:
    """Random backgrounds of mean 0 and standard deviation about 1.

    Each has its own grain and direction.
    """
    weight = torch.rand(5, count, 1, 1, 1, generator=generator)
    total = weight[0] * _grating(count, size, generator)
    square = weight[0].square() / 2
    for grain, share in zip((4, 8, 16, size), weight[1:], strict=True):
        noise = torch.randn(count, 1, grain, grain, generator=generator)
        total = total + share * functional.interpolate(noise, size=(size, size), mode="bilinear")
        square = square + share.square() / 2
    return total / square.sqrt()


def _grating(count: int, size: int, generator: torch.Generator) -> Tensor:
    """A sine wave of random direction and phase, with 2 to 8 periods in an image."""
    draw = torch.rand(3, count, 1, 1, 1, generator=generator)
    angle, phase = draw[0] * math.pi, draw[1] * 2 * math.pi
    steps = torch.linspace(0, 2 * math.pi, size)
    along = angle.cos() * steps.view(1, 1, 1, -1) + angle.sin() * steps.view(1, 1, -1, 1)
    return torch.sin((2 + 6 * draw[2]) * along + phase)
