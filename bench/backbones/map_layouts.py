"""Layouts of maps. A Tap sees (units, height, width), whatever the layout of the model is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Numbers of tokens that belong to no place in the image: class tokens and registers.
PREFIX_TOKENS = (0, 1, 2, 4, 5)


class Layout(NamedTuple):
    """How a model holds an activation.

    ``kind``: "channels_first" (units, height, width); "channels_last" (height, width, units);
    "tokens" (tokens, units), of which the first ``prefix`` belong to no place in the image and the
    others are the positions of a map with ``side`` positions a side; "units" (units,).
    """

    kind: str
    prefix: int = 0
    side: int = 0


def layout_of(shape: tuple[int, ...]) -> Layout | None:
    """The layout of one image's activation; None for a shape that is no map and no units."""
    if len(shape) == 3:
        is_last = shape[0] == shape[1] != shape[2]
        return Layout("channels_last" if is_last else "channels_first")
    if len(shape) == 2:
        side = math.isqrt(shape[0])
        prefix = shape[0] - side**2
        return Layout("tokens", prefix, side) if side > 1 and prefix in PREFIX_TOKENS else None
    return Layout("units") if len(shape) == 1 else None


def require_layout(name: str, shape: tuple[int, ...]) -> Layout:
    """The layout of an activation. Raises ValueError if it is no map and no units."""
    layout = layout_of(shape)
    if layout is None:
        raise ValueError(
            f"'{name}' has the shape {shape}, which is neither a map nor a layer of units"
        )
    return layout


def map_size(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of a map with more than one position a side; () for anything else."""
    layout = layout_of(shape)
    if layout is None or layout.kind == "units":
        return ()
    if layout.kind == "tokens":
        return (layout.side,) * 2
    size = shape[:2] if layout.kind == "channels_last" else shape[1:]
    return tuple(size) if min(size) > 1 else ()


class ToMap(nn.Module):
    """Turns a model's activation into a map with channels first; leaves out prefix tokens."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        kind, prefix, side = self.layout
        if kind == "tokens":
            x = x[:, prefix:].unflatten(1, (side, side))
        return x.permute(0, 3, 1, 2) if kind in ("tokens", "channels_last") else x


class FromMap(nn.Module):
    """Turns a map back into the model's layout; ``x`` is the activation that `ToMap` had, whose
    prefix tokens come before the map's."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, maps: Tensor, x: Tensor | None = None) -> Tensor:
        kind, prefix, _ = self.layout
        if kind in ("tokens", "channels_last"):
            maps = maps.permute(0, 2, 3, 1)
        if kind == "tokens":
            maps = maps.flatten(1, 2)
        return maps if x is None else torch.cat([x[:, :prefix], maps], 1)
