"""Tap and Network: the one seam through which methods, metrics, lesions and attributions work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.metrics.network import Edge, Output


class Tap(nn.Module):
    """An identity placed after an interpretable activation.

    What a method installed ``before`` comes first and is part of the raw activation (a rotation,
    a dictionary's encoder); then comes ``point``, the layer Captum is pointed at; then the other
    transforms (a mask, a decoder). It has no parameters, so it never shows in a state_dict.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.shape: tuple[int, ...] = ()  # of one image's activation
        self.outgoing: tuple[Edge, ...] = ()
        self.on_trunk = False
        self.before: list[Callable[[Tensor], Tensor]] = []
        self.point = nn.Identity()
        self.transforms: list[Callable[[Tensor], Tensor]] = []
        self.record: dict[str, tuple[Tensor, Tensor]] | None = None
        # in tuples, so that they are not submodules of the Tap
        self._norm: tuple[nn.Module, ...] = ()
        self._incoming: tuple[nn.Module, ...] = ()

    @property
    def units(self) -> int:
        """Number of channels, or of units for a dense activation."""
        return self.shape[0]

    @property
    def spatial(self) -> bool:
        """Whether a unit's activation is a map of more than one cell."""
        return len(self.shape) == 3 and min(self.shape[1:]) > 1

    @property
    def norm(self) -> nn.Module | None:
        """The normalisation layer before the activation, if any."""
        return self._norm[0] if self._norm else None

    @property
    def incoming(self) -> nn.Linear | nn.Conv2d | None:
        """The weight layer whose rows are the units; None behind a residual sum."""
        return self._incoming[0] if self._incoming else None  # type: ignore[return-value]

    def install(self, transform: Callable[[Tensor], Tensor], before: bool = False) -> None:
        """Applies ``transform`` to all that passes from now on, after those already there."""
        (self.before if before else self.transforms).append(transform)

    def leave(self, x: Tensor) -> Tensor:
        """What leaves the Tap when the raw activation is ``x``."""
        for transform in self.transforms:
            x = transform(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        for transform in self.before:
            x = transform(x)
        raw = self.point(x)
        x = self.leave(raw)
        if self.record is not None:
            self.record[self.name] = (raw, x)
        return x

    def extra_repr(self) -> str:
        return f"{self.name}, shape={self.shape}"


class Network(nn.Module):
    """A backbone whose forward pass returns its Taps' activations beside the logits.

    ``trunk`` lists modules of ``backbone`` in the order they run; each takes the last one's
    output. Taps inside a trunk module (a residual block) are off the trunk: they record and
    transform, but the network cannot be continued from them.
    """

    def __init__(
        self, backbone: nn.Module, trunk: Sequence[nn.Module], image: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.trunk = tuple(trunk)
        self.image = image
        self.wire()

    def wire(self) -> None:
        """Finds the Taps in running order, their shapes, norms and ways out."""
        found = [m for module in self.trunk for m in module.modules() if isinstance(m, Tap)]
        self._taps = tuple(found)
        for position, module in enumerate(self.trunk):
            if isinstance(module, Tap):
                module.on_trunk = True
                module.outgoing = _ways_out(self.trunk[position + 1 :])
                module._norm, module._incoming = _sources(self.trunk[:position])
            elif isinstance(module, Wired):
                module.wire()
        was_training = self.training
        self.eval()
        with torch.no_grad():
            parameter = next(self.parameters())
            zeros = torch.zeros(2, *self.image, dtype=parameter.dtype, device=parameter.device)
            for name, activation in self(zeros).activations.items():
                self.taps[name].shape = tuple(activation.shape[1:])
        self.train(was_training)

    @property
    def taps(self) -> dict[str, Tap]:
        """The Taps by name, in running order; the last one stands before the head."""
        return {tap.name: tap for tap in self._taps}

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Output:
        record: dict[str, tuple[Tensor, Tensor]] = {}
        for tap in self._taps:
            tap.record = record
        try:
            x = images
            for module in self.trunk:
                x = module(x)
        finally:
            for tap in self._taps:
                tap.record = None
        return Output(
            x,
            {name: raw for name, (raw, _) in record.items()},
            {name: out for name, (_, out) in record.items()},
        )

    def continue_from(self, tap: str, activation: Tensor) -> Float[Tensor, "batch classes"]:
        """Logits as if ``activation`` were the Tap's raw activation (its transforms apply).

        Raises ValueError for a Tap inside a residual block.
        """
        start = self.taps[tap]
        if not start.on_trunk:
            raise ValueError(f"Tap '{tap}' is inside a block: the network cannot run on from it")
        x = start.leave(activation)
        for module in self.trunk[self.trunk.index(start) + 1 :]:
            x = module(x)
        return x

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Puts ``new`` in the place of ``old``, wherever it stands, and wires anew."""
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if child is old:
                    setattr(parent, name, new)
        self.trunk = tuple(new if module is old else module for module in self.trunk)
        self.wire()


class Wired(nn.Module):
    """A trunk module with weights, and perhaps Taps, inside (a residual block)."""

    def entries(self) -> tuple[Edge, ...]:
        """The weight layers its input meets first."""
        raise TypeError(f"{type(self).__name__} does not say where its input goes")

    def wire(self) -> None:
        """Sets ``outgoing``, ``_norm`` and ``_incoming`` of the Taps inside."""


def _ways_out(rest: Sequence[nn.Module]) -> tuple[Edge, ...]:
    """Edges from a Tap through the modules that follow it on the trunk."""
    bridge: list[nn.Module] = []
    for position, module in enumerate(rest):
        if isinstance(module, Wired):
            path = nn.Sequential(*bridge)
            return tuple(edge._replace(bridge=path) for edge in module.entries())
        if isinstance(module, nn.Linear | nn.Conv2d):
            after = rest[position + 1] if position + 1 < len(rest) else None
            norm = after if _is_norm(after) else None
            return (Edge(module, nn.Sequential(*bridge), norm),)
        if not isinstance(module, Tap):
            bridge.append(module)
    return ()


def _sources(before: Sequence[nn.Module]) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
    """The norm and the weight layer that make a Tap's units."""
    norm: tuple[nn.Module, ...] = ()
    for module in reversed(before):
        if isinstance(module, nn.Linear | nn.Conv2d):
            return norm, (module,)
        if isinstance(module, Wired):
            break
        if _is_norm(module):
            norm = (module,)
    return norm, ()


def _is_norm(module: nn.Module | None) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or getattr(module, "is_norm", False)


def channel_of(tap: Tap, edge: Edge) -> Int[Tensor, "bridged"]:
    """For each unit behind an edge's bridge (LeNet's 400 pooled units), the Tap's channel."""
    index = torch.arange(tap.units, dtype=torch.float32)
    index = index.reshape(1, -1, *[1] * (len(tap.shape) - 1)).expand(1, *tap.shape)
    out = edge.bridge(index.contiguous())
    return out.flatten(2).mean(2)[0].round().long() if out.ndim > 2 else out[0].round().long()
