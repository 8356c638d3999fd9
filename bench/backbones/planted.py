"""Planted networks: weights set by hand, so that the right scores of metrics are known.

They are made for the dataset ``planted``, where each part has a channel of its own: the channels
that a unit reads are the parts that it detects. They need no training; the method ``untrained``
leaves the weights as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap

#: Pixels along the side of one position of the maps, as in bench/data/planted.py.
PIXELS_PER_POSITION = 4
#: Units of each block of `planted_blocks`.
MEMBERS = 4


def convolution(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """A convolution with given weights: (units, channels) or (units, channels, side, side)."""
    weight = weight[..., None, None] if weight.ndim == 2 else weight
    units, channels, side, _ = weight.shape
    layer = nn.Conv2d(channels, units, side, padding=side // 2)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(units) if bias is None else bias)
    return layer


def linear(weight: Tensor) -> nn.Linear:
    """A linear layer with given weights, (targets, units), and a bias of zero."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.zero_()
    return layer


def build(image: tuple[int, int, int], first: nn.Module, *rest: nn.Module) -> Network:
    """Average pooling to positions, ``first``, ReLU, Tap "parts", global mean, then ``rest``."""
    modules = nn.Sequential(
        nn.AvgPool2d(PIXELS_PER_POSITION),
        first,
        nn.ReLU(),
        Tap("parts"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *rest,
    )
    return Network(modules, list(modules), image)


def identity_weight(units: int, channels: int) -> Tensor:
    """Weights (units, channels) with which unit u reads channel u."""
    return torch.eye(units, channels)


@backbone
def planted_parts(image: tuple[int, int, int], classes: int, each: int = 1) -> Network:
    """Unit u detects the parts u, u + 1, ..., u + each - 1 (modulo classes) and nothing else.

    With ``each`` = 1 all answers are right.
    """
    detects = torch.stack([torch.eye(classes).roll(k, dims=1) for k in range(each)]).sum(0)
    weight = detects @ identity_weight(classes, image[0])
    return build(image, convolution(weight), linear(detects.T))


@backbone
def planted_faults(image: tuple[int, int, int], classes: int) -> Network:
    """Unit c detects part c, but unit 0 is dead, unit 1 copies unit 2, and unit 3 is constant."""
    weight = identity_weight(classes, image[0])
    weight[0] = weight[3] = 0
    weight[1] = weight[2]
    bias = torch.zeros(classes)
    bias[0], bias[3] = -1, 1
    return build(image, convolution(weight, bias), linear(torch.eye(classes)))


@backbone
def planted_blocks(image: tuple[int, int, int], classes: int) -> Network:
    """One block of four units for each class; its units detect one part and drive one class.

    Each unit of block b reads part b and a noise channel of its own, so the dataset needs
    ``noise`` = 4 * parts. A second layer of four units for each block has weights within blocks
    only.
    """
    units = MEMBERS * classes
    if image[0] != classes + units:
        raise ValueError(f"planted_blocks needs the dataset planted(noise={units})")
    blocks = torch.eye(classes).repeat_interleave(MEMBERS, dim=0)  # (units, classes)
    first = torch.cat([blocks, 0.02 * torch.eye(units)], dim=1)
    hidden = linear(blocks @ blocks.T + 0.5 * torch.eye(units))
    return build(image, convolution(first), hidden, nn.ReLU(), Tap("dense"), linear(blocks.T))


@backbone
def planted_localizer(
    image: tuple[int, int, int], classes: int, down: int = 0, right: int = 0
) -> Network:
    """Unit c is active ``down`` positions below and ``right`` positions right of part c only.

    On ``aligned`` data with ``side`` = 4, where a part fills one position, it is active at one
    position. Where that position lies outside the image, all units are silent.
    """
    reach = max(abs(down), abs(right))
    weight = torch.zeros(classes, image[0], 2 * reach + 1, 2 * reach + 1)
    unit = torch.arange(classes)
    weight[unit, unit, reach - down, reach - right] = 1.0
    return build(image, convolution(weight), linear(torch.eye(classes)))
