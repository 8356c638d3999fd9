"""A network as methods and metrics see it, and the concepts its images show.

Nothing here knows of metrics, so that changing one changes no trained run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

# ----------------------------------------------------------------- the network, as seen from here


class Edge(NamedTuple):
    """One way out of a Tap: a parameter-free ``bridge``, then the ``weight`` layer it feeds.

    ``norm`` is the BatchNorm that follows the weight layer, if any (metrics fold it in).
    ``weight`` is None for a skip connection, which carries activation but has no weight.
    """

    weight: nn.Linear | nn.Conv2d | None
    bridge: nn.Module
    norm: nn.Module | None = None


@runtime_checkable
class TapLike(Protocol):
    """What a Tap shows to methods and metrics (see bench/taps.py)."""

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
    """One forward pass: logits, and by Tap name what entered (raw) and what left each Tap."""

    logits: Float[Tensor, "batch classes"]
    activations: Mapping[str, Tensor]
    transformed: Mapping[str, Tensor]


@runtime_checkable
class NetworkLike(Protocol):
    """What a network shows to methods and metrics (see bench/taps.py)."""

    @property
    def taps(self) -> Mapping[str, TapLike]: ...
    def __call__(self, images: Tensor) -> Output: ...
    def continue_from(self, tap: str, activation: Tensor) -> Tensor: ...


# ----------------------------------------------------------------- concepts


@dataclass(frozen=True, eq=False)
class Concepts:
    """Exact masks of named concepts, packed to bits along the image width.

    ``packed`` has shape (images, concepts, height, ceil(width / 8)), most significant bit first.
    ``landmark[k]`` says that concept k occurs once an image, so that its centre means something.
    ``of_class[c]`` is the index of the concept that defines class c, or -1.
    Masks overlap and nest.
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
        """Packs bool masks; raises ValueError when the counts of names and masks differ."""
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
        """The bool masks of some images. Ask for chunks: all of them may not fit in memory."""
        packed = self.packed[rows]
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
        bits = packed.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(1)
        return bits.flatten(-2)[..., : self.width].bool()

    def images(self, rows: Tensor | slice) -> Concepts:
        """The same concepts on a subset of the images."""
        return replace(self, packed=self.packed[rows])

    def select(self, concepts: Sequence[int]) -> Concepts:
        """A subset of the concepts."""
        position = {k: i for i, k in enumerate(concepts)}
        return Concepts(
            tuple(self.names[k] for k in concepts),
            tuple(self.categories[k] for k in concepts),
            tuple(self.landmark[k] for k in concepts),
            self.packed[:, list(concepts)],
            self.width,
            tuple(position.get(k, -1) for k in self.of_class),
        )

    def to(self, device: torch.device | str) -> Concepts:
        """The same concepts on another device."""
        return replace(self, packed=self.packed.to(device))
