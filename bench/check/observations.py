"""What laws look at: logits, what passes each Tap, and how far two sets of tensors differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.data.base import Split
from legible.methods.base import Method


@torch.no_grad()
def logits(
    network: Network, method: Method, split: Split, size: int = 256
) -> Float[Tensor, "images classes"]:
    """Returns the logits of a split's images in evaluation mode, in batches of ``size``."""
    network.eval()
    method.eval()
    dtype = next(network.parameters()).dtype
    return torch.cat([network(images.to(dtype)).logits for _, images in split.batches(size)])


class Difference(NamedTuple):
    """The largest absolute difference between two sets of tensors, and the tensor's name."""

    name: str
    distance: float


def largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Difference:
    """Compares two sets of tensors by name.

    The distance is infinite for a tensor that is missing, has another shape, or where one of the
    two is NaN. If all are equal, the name is "" and the distance 0.
    """
    worst = Difference("", 0.0)
    for name in sorted({*first, *second}):
        if name not in first or name not in second or first[name].shape != second[name].shape:
            return Difference(name, float("inf"))
        gap = (first[name].detach().double() - second[name].detach().double()).abs()
        distance = float(gap.nan_to_num(nan=float("inf")).max()) if gap.numel() else 0.0
        if distance > worst.distance:
            worst = Difference(name, distance)
    return worst


class TapOutput(NamedTuple):
    """An activation at a Tap: a copy made when it passed, and what the network reports later."""

    copy: Tensor
    activation: Tensor


@torch.no_grad()
def tap_outputs(network: Network, images: Tensor) -> dict[str, TapOutput]:
    """Runs the network and returns each Tap's output; the two differ after an in-place change."""
    copies: dict[str, Tensor] = {}

    def copying(name: str) -> Callable[..., None]:
        return lambda module, inputs, out: copies.update({name: out.clone()})

    hooks = [tap.point.register_forward_hook(copying(name)) for name, tap in network.taps.items()]
    activations = network(images).activations
    for hook in hooks:
        hook.remove()
    return {name: TapOutput(copies[name], activations[name]) for name in copies}
