"""Flat shapes as implicit functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# A function of (right, down), in radii from the centre: about the distance to the edge, positive
# inside.
Shape = Callable[[Tensor, Tensor], Tensor]


def _least(*terms: Tensor) -> Tensor:
    return torch.stack(terms).amin(0)


def _most(*terms: Tensor) -> Tensor:
    return torch.stack(terms).amax(0)


def _box(x: Tensor, y: Tensor, wide: float, high: float) -> Tensor:
    return _least(wide - x.abs(), high - y.abs())


def _plus(x: Tensor, y: Tensor) -> Tensor:
    return _most(_box(x, y, 1.0, 0.33), _box(x, y, 0.33, 1.0))


SHAPES: dict[str, Shape] = {
    "disc": lambda x, y: 0.95 - x.hypot(y),
    "square": lambda x, y: _box(x, y, 0.82, 0.82),
    "triangle": lambda x, y: _least(0.8 - y, 0.45 * (y + 1.1) - 0.87 * x.abs()),
    "plus": _plus,
    "diamond": lambda x, y: 0.75 * (1.05 - x.abs() - y.abs()),
    "bar": lambda x, y: _box(x, y, 1.0, 0.42),
    "crescent": lambda x, y: _least(1 - x.hypot(y), (x - 0.5).hypot(y + 0.25) - 0.75),
    "cross": lambda x, y: _plus(0.71 * (x + y), 0.71 * (x - y)),
    "pillar": lambda x, y: _box(x, y, 0.42, 1.0),
    "tee": lambda x, y: _most(_box(x, y + 0.6, 0.9, 0.35), _box(x, y, 0.35, 0.95)),
    "ring": lambda x, y: 0.32 - (x.hypot(y) - 0.68).abs(),
    "frame": lambda x, y: 0.27 - (_most(x.abs(), y.abs()) - 0.63).abs(),
    "hourglass": lambda x, y: _least(0.9 - y.abs(), 0.75 * (y.abs() - x.abs() + 0.25)),
    "corner": lambda x, y: _most(_box(x + 0.55, y, 0.37, 0.9), _box(x, y - 0.55, 0.9, 0.37)),
    "chevron": lambda x, y: _least(0.9 - x.abs(), 0.32 - 0.75 * (y - x.abs() + 0.45).abs()),
    "arch": lambda x, y: _least(0.32 - (x.hypot(y - 0.3) - 0.7).abs(), 0.6 - y),
}
INFORMATIVE = tuple(SHAPES)[:10]
DISTRACTORS = tuple(SHAPES)[10:]
