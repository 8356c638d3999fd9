"""The interface of networks for methods and metrics, and concept masks of images.

This file imports no metric, so a change of a metric does not change the key of a trained run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

# ----------------------------------------------------------------- networks


class Edge(NamedTuple):
    """A connection from a Tap to the next layer with weights.

    ``bridge`` is what lies between, without parameters (pooling, flattening). ``norm`` is the
    BatchNorm after the layer, if any; metrics fold it into the weights. ``weight`` is None for a
    skip connection, which has no weight.
    """

    weight: nn.Linear | nn.Conv2d | None
    bridge: nn.Module
    norm: nn.Module | None = None


@runtime_checkable
class TapLike(Protocol):
    """A Tap, for methods and metrics (see bench/backbones/taps.py)."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def units(self) -> int: ...
    @property
    def spatial(self) -> bool: ...
    @property
    def on_trunk(self) -> bool: ...
    @property
    def point(self) -> nn.Module: ...
    @property
    def outgoing(self) -> tuple[Edge, ...]: ...
    @property
    def norm(self) -> nn.Module | None: ...
    @property
    def incoming(self) -> nn.Linear | nn.Conv2d | None: ...

    def install(self, transform: Callable[[Tensor], Tensor], before: bool = False) -> None: ...


class Output(NamedTuple):
    """The result of a forward pass.

    Logits and, by name of the Tap, the raw activations and the activations after transforms.
    """

    logits: Float[Tensor, "batch classes"]
    activations: Mapping[str, Tensor]
    transformed: Mapping[str, Tensor]


@runtime_checkable
class NetworkLike(Protocol):
    """A network, for methods and metrics (see bench/backbones/taps.py)."""

    @property
    def taps(self) -> Mapping[str, TapLike]: ...
    def __call__(self, images: Tensor) -> Output: ...
    def continue_from(self, tap: str, activation: Tensor) -> Tensor: ...


# ----------------------------------------------------------------- concepts


@dataclass(frozen=True, eq=False)
class Concepts:
    """Exact masks of named concepts, packed to bits along the image width.

    ``packed`` has shape (images, concepts, height, ceil(width / 8)), most significant bit first.
    ``landmark[k]``: whether concept k occurs at most once in (nearly) every image, so that its
    centre is meaningful. ``of_class[c]``: index of the concept that defines class c, or -1. Masks
    may overlap.
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]
    landmark: tuple[bool, ...]
    packed: UInt8[Tensor, "images concepts height bytes"]
    width: int
    of_class: tuple[int, ...] = ()

    @classmethod
    def pack(
        cls,
        masks: Bool[Tensor, "images concepts height width"],
        names: Sequence[str],
        categories: Sequence[str],
        landmark: Sequence[bool],
        of_class: Sequence[int] = (),
    ) -> Concepts:
        """Packs bool masks. Raises ValueError if there are not as many names as masks."""
        if masks.dtype != torch.bool:
            raise ValueError(f"concept masks must be bool, not {masks.dtype}")
        if not len(names) == len(categories) == len(landmark) == masks.shape[1]:
            raise ValueError(
                f"{masks.shape[1]} concept masks but {len(names)} names, {len(categories)} "
                f"categories and {len(landmark)} landmark flags"
            )
        width = masks.shape[-1]
        padded = nn.functional.pad(masks, (0, -width % 8)).to(torch.uint8)
        bits = padded.unflatten(-1, (-1, 8))
        weights = torch.tensor(
            [128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=masks.device
        )
        packed = (bits * weights).sum(-1, dtype=torch.uint8)
        return cls(tuple(names), tuple(categories), tuple(landmark), packed, width, tuple(of_class))

    def __len__(self) -> int:
        return len(self.names)

    def masks(
        self, rows: Tensor | slice = slice(None)
    ) -> Bool[Tensor, "images concepts height width"]:
        """The bool masks of some images; use chunks, as all masks may not fit in memory."""
        packed = self.packed[rows]
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
        bits = packed.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(1)
        return bits.flatten(-2)[..., : self.width].bool()

    def images(self, rows: Tensor | slice) -> Concepts:
        """The masks of some of the images."""
        return replace(self, packed=self.packed[rows])

    def select(self, concepts: Sequence[int]) -> Concepts:
        """The masks of some of the concepts, by index."""
        position = {k: i for i, k in enumerate(concepts)}
        return replace(
            self,
            names=tuple(self.names[k] for k in concepts),
            categories=tuple(self.categories[k] for k in concepts),
            landmark=tuple(self.landmark[k] for k in concepts),
            packed=self.packed[:, list(concepts)],
            of_class=tuple(position.get(k, -1) for k in self.of_class),
        )

    def to(self, device: torch.device | str) -> Concepts:
        """The masks on another device."""
        return replace(self, packed=self.packed.to(device))
