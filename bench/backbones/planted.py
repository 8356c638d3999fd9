"""Networks whose answer is known, by hand-set weights, for the dataset ``planted``.

Units read channels, and each channel of ``planted`` shows one part, so what a unit detects is
known. Nothing has to be trained: the method ``untrained`` leaves the weights as they are set here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap

#: Pixels along the side of one cell of the maps, as in bench/data/planted.py.
CELL = 4
#: Members of a block of `planted_blocks`.
MEMBERS = 4


def reads(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """A convolution with these weights, (units, channels) or (units, channels, side, side)."""
    weight = weight[..., None, None] if weight.ndim == 2 else weight
    units, channels, side, _ = weight.shape
    layer = nn.Conv2d(channels, units, side, padding=side // 2)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(units) if bias is None else bias)
    return layer


def dense(weight: Tensor) -> nn.Linear:
    """A linear layer with these weights, (targets, units), and no bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.zero_()
    return layer


def build(image: tuple[int, int, int], first: nn.Module, *rest: nn.Module) -> Network:
    """Maps of cells -> ``first`` -> ReLU -> Tap "parts" -> mean -> ``rest``."""
    modules = nn.Sequential(
        nn.AvgPool2d(CELL),
        first,
        nn.ReLU(),
        Tap("parts"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *rest,
    )
    return Network(modules, list(modules), image)


def selects(units: int, channels: int) -> Tensor:
    """Weights (units, channels) that give unit u channel u."""
    return torch.eye(units, channels)


@backbone
def planted_parts(image: tuple[int, int, int], classes: int, each: int = 1) -> Network:
    """Unit u detects parts u, u + 1, ... u + each - 1 (counted round), and nothing else.

    With ``each`` = 1 the head answers every image rightly.
    """
    detects = torch.stack([torch.eye(classes).roll(k, dims=1) for k in range(each)]).sum(0)
    weight = detects @ selects(classes, image[0])
    return build(image, reads(weight), dense(detects.T))


@backbone
def planted_faults(image: tuple[int, int, int], classes: int) -> Network:
    """Unit c detects part c, but: unit 0 is dead, unit 1 a copy of unit 2, unit 3 constant."""
    weight = selects(classes, image[0])
    weight[0] = weight[3] = 0
    weight[1] = weight[2]
    bias = torch.zeros(classes)
    bias[0], bias[3] = -1, 1
    return build(image, reads(weight, bias), dense(torch.eye(classes)))


@backbone
def planted_blocks(image: tuple[int, int, int], classes: int) -> Network:
    """``classes`` blocks of four units; a block's units share a part and feed their class alone.

    Unit u of block b reads part b and a noise channel of its own, so the data need four noise
    channels a part. Another layer of four units a block follows, wired within the blocks only.
    """
    units = MEMBERS * classes
    if image[0] != classes + units:
        raise ValueError(f"planted_blocks needs the dataset's noise = {units}")
    blocks = torch.eye(classes).repeat_interleave(MEMBERS, dim=0)  # (units, classes)
    first = torch.cat([blocks, 0.02 * torch.eye(units)], dim=1)
    hidden = dense(blocks @ blocks.T + 0.5 * torch.eye(units))
    return build(image, reads(first), hidden, nn.ReLU(), Tap("dense"), dense(blocks.T))


@backbone
def planted_localizer(
    image: tuple[int, int, int], classes: int, down: int = 0, right: int = 0
) -> Network:
    """Unit c fires ``down`` cells below and ``right`` cells right of part c, nowhere else.

    On data with ``aligned`` parts of one cell (``side`` = 4) it fires in one cell exactly. Parts
    whose attention point lies outside the image get no answer.
    """
    reach = max(abs(down), abs(right))
    weight = torch.zeros(classes, image[0], 2 * reach + 1, 2 * reach + 1)
    unit = torch.arange(classes)
    weight[unit, unit, reach - down, reach - right] = 1.0
    return build(image, reads(weight), dense(torch.eye(classes)))
