"""What a metric reads: a trained network's answers on held-out images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.metrics.network import Concepts, NetworkLike


@dataclass(eq=False)
class Layer:
    """What one Tap said of every probed image, before any transform a method installed.

    ``activation`` has shape (images, units) or (images, units, height, width).
    ``claimed`` is the partition of units into modules that the method itself claims (-1: none).
    """

    name: str
    activation: Float[Tensor, "images units *map"]
    claimed: Int[Tensor, "units"] | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def units(self) -> int:
        return self.activation.shape[1]

    @property
    def spatial(self) -> bool:
        """Whether the activation is a map finer than one cell."""
        return self.activation.ndim == 4 and min(self.activation.shape[-2:]) > 1

    @property
    def pooled(self) -> Float[Tensor, "images units"]:
        """Mean over positions of max(activation, 0)."""
        return remember(
            self,
            "pooled",
            lambda: (
                self.activation.clamp(min=0).flatten(2).mean(2)
                if self.activation.ndim > 2
                else self.activation.clamp(min=0)
            ),
        )

    @property
    def finite(self) -> bool:
        """Whether some unit's positive activations are finite on every image."""
        return bool(self.pooled.isfinite().all(0).any()) or not self.pooled.numel()

    @property
    def dead(self) -> Bool[Tensor, "units"]:
        """Units that are never above zero on the probe, or not finite."""
        return remember(
            self, "dead", lambda: ~(self.pooled.isfinite().all(0) & (self.pooled > 0).any(0))
        )

    def chunks(self, size: int = 256) -> Iterator[tuple[slice, Float[Tensor, "chunk units *map"]]]:
        """max(activation, 0) in chunks of images, with the slice of images each covers."""
        for start in range(0, len(self.activation), size):
            rows = slice(start, start + size)
            yield rows, self.activation[rows].clamp(min=0)

    def images(self, rows: Tensor | slice) -> Layer:
        """The same layer on a subset of the images."""
        return Layer(self.name, self.activation[rows], self.claimed)


@dataclass(eq=False)
class Probe:
    """A trained network's answers on held-out images: all that a metric may read."""

    network: NetworkLike
    images: Float[Tensor, "images channels height width"]  # as the network received them
    labels: Int[Tensor, "images"]
    logits: Float[Tensor, "images classes"]
    layers: Mapping[str, Layer]
    concepts: Concepts | None = None
    measurable: frozenset[str] = frozenset()  # layers that pass the measurability gate
    seed: int = 0
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)
    history: Sequence[Mapping[str, float | int]] = ()  # what training recorded, an entry an epoch

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    def generator(self, name: str) -> torch.Generator:
        """A CPU generator of its own for each named use, the same every time it is asked for."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + zlib.crc32(name.encode()))

    def subset(self, rows: Tensor | slice) -> Probe:
        """The same network probed on a subset of the images."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            logits=self.logits[rows],
            layers={name: layer.images(rows) for name, layer in self.layers.items()},
            concepts=self.concepts.images(rows) if self.concepts else None,
            memo={},
        )

    def halves(self) -> tuple[Probe, Probe]:
        """Two disjoint random halves of the probed images."""
        order = torch.randperm(len(self.labels), generator=self.generator("halves"))
        order = order.to(self.labels.device)
        middle = len(order) // 2
        return self.subset(order[:middle]), self.subset(order[middle : 2 * middle])


def remember(owner: Layer | Probe, key: Any, compute: Callable[[], Any]) -> Any:
    """``compute()``, once for each owner and key: intermediate results several metrics share."""
    if key not in owner.memo:
        owner.memo[key] = compute()
    return owner.memo[key]
