"""Probe and Layer: what metrics read of a trained network on held-out images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.metrics.large_tensors import some_rows
from legible.metrics.network import Concepts, NetworkLike


@dataclass(eq=False)
class Layer:
    """The activation at one Tap on all images of a probe.

    ``activation``, before any transform that a method installed, has the shape (images, units) or
    (images, units, height, width). ``claimed`` is the module of each unit according to the method
    itself (-1: in no module); None if it claims no modules. ``memo`` is used by `remember`.
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
        """Whether the activation is a map with more than one position on both sides."""
        return self.activation.ndim == 4 and min(self.activation.shape[-2:]) > 1

    @property
    def pooled(self) -> Float[Tensor, "images units"]:
        """Mean over positions of max(activation, 0)."""
        return remember(self, "pooled", self._pooled)

    def _pooled(self) -> Float[Tensor, "images units"]:
        if self.activation.ndim == 2:
            return self.activation.clamp(min=0)
        return torch.cat([a.flatten(2).mean(2) for _, a in self.chunks()])

    @property
    def finite(self) -> bool:
        """Whether at least one unit has finite activations on all images."""
        return bool(self.pooled.isfinite().all(0).any()) or not self.pooled.numel()

    @property
    def dead(self) -> Bool[Tensor, "units"]:
        """Whether each unit is dead: never above zero on these images, or not finite."""
        return remember(
            self, "dead", lambda: ~(self.pooled.isfinite().all(0) & (self.pooled > 0).any(0))
        )

    def chunks(self, size: int = 256) -> Iterator[tuple[slice, Float[Tensor, "chunk units *map"]]]:
        """Yields max(activation, 0) in chunks of images, each with the slice of its images."""
        for start in range(0, len(self.activation), size):
            rows = slice(start, start + size)
            yield rows, self.activation[rows].clamp(min=0)

    def images(self, rows: Tensor | slice) -> Layer:
        """The layer on some of the images."""
        return Layer(self.name, some_rows(self.activation, rows), self.claimed)


@dataclass(eq=False)
class Probe:
    """A trained network with its logits and activations on held-out images.

    A metric may read nothing else. ``images`` are as the network received them. ``concepts`` are
    the concept masks of the images; None without any. ``measurable`` holds the layers whose maps
    are fine enough for the masks. ``history`` is the record of training, one entry an epoch.
    ``fixed`` says why the network cannot be rerun with these units; "" if it can.
    """

    network: NetworkLike
    images: Float[Tensor, "images channels height width"]
    labels: Int[Tensor, "images"]
    logits: Float[Tensor, "images classes"]
    layers: Mapping[str, Layer]
    concepts: Concepts | None = None
    measurable: frozenset[str] = frozenset()
    seed: int = 0
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)
    history: Sequence[Mapping[str, float | int]] = ()
    fixed: str = ""

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    def generator(self, name: str) -> torch.Generator:
        """A random generator on the CPU for one use, by name; always in the same state."""
        seed = self.seed * 1_000_003 + zlib.crc32(name.encode())
        return torch.Generator().manual_seed(seed % 2**64)  # torch takes no more than 64 bits

    def subset(self, rows: Tensor | slice) -> Probe:
        """The probe of the same network on some of the images."""
        concepts = self.concepts
        return replace(
            self,
            images=some_rows(self.images, rows),
            labels=self.labels[rows],
            logits=self.logits[rows],
            layers={name: layer.images(rows) for name, layer in self.layers.items()},
            concepts=replace(concepts, packed=some_rows(concepts.packed, rows))
            if concepts
            else None,
            memo={},
        )

    def halves(self) -> tuple[Probe, Probe]:
        """The probe on two disjoint random halves of the images."""
        order = torch.randperm(len(self.labels), generator=self.generator("halves"))
        order = order.to(self.labels.device)
        middle = len(order) // 2
        return self.subset(order[:middle]), self.subset(order[middle : 2 * middle])


def remember(owner: Layer | Probe, key: Any, compute: Callable[[], Any]) -> Any:
    """The result of ``compute()``, computed once for each owner and key.

    For intermediate results that several metrics use.
    """
    if key not in owner.memo:
        owner.memo[key] = compute()
    return owner.memo[key]
