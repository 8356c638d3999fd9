"""Tap and Network: how methods, metrics, lesions and attributions reach activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.metrics.network import Edge, Output


class Tap(nn.Module):
    """An identity module after an interpretable activation.

    It applies, in this order: transforms that a method installed with ``before=True``, whose
    result is the raw activation (a rotation, a dictionary's encoder); ``point``, an identity layer
    for Captum; the other transforms (a mask, a decoder). It has no parameters, so it adds nothing
    to a state_dict. ``shape`` is that of one image's activation.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.shape: tuple[int, ...] = ()
        self.outgoing: tuple[Edge, ...] = ()
        self.on_trunk = False
        self.before: list[Callable[[Tensor], Tensor]] = []
        self.point = nn.Identity()
        self.transforms: list[Callable[[Tensor], Tensor]] = []
        self.record: dict[str, tuple[Tensor, Tensor]] | None = None
        # tuples, so that these modules do not become submodules of the Tap
        self._norm: tuple[nn.Module, ...] = ()
        self._incoming: tuple[nn.Module, ...] = ()

    @property
    def units(self) -> int:
        """Number of channels, or of units of a linear layer."""
        return self.shape[0]

    @property
    def spatial(self) -> bool:
        """Whether a unit's activation is a map with more than one position on both sides."""
        return len(self.shape) == 3 and min(self.shape[1:]) > 1

    @property
    def norm(self) -> nn.Module | None:
        """The normalisation layer before the activation; None if there is none."""
        return self._norm[0] if self._norm else None

    @property
    def incoming(self) -> nn.Linear | nn.Conv2d | None:
        """The layer whose weight has a row for each unit; None after a residual sum."""
        return self._incoming[0] if self._incoming else None  # type: ignore[return-value]

    def install(self, transform: Callable[[Tensor], Tensor], before: bool = False) -> None:
        """Adds a transform of the activation, after those that were installed earlier."""
        (self.before if before else self.transforms).append(transform)

    def transformed(self, raw: Tensor) -> Tensor:
        """A raw activation after the transforms that a method installed."""
        for transform in self.transforms:
            raw = transform(raw)
        return raw

    def leave(self, raw: Tensor) -> Tensor:
        """What the next module receives for a raw activation."""
        return self.transformed(raw)

    def forward(self, x: Tensor) -> Tensor:
        for transform in self.before:
            x = transform(x)
        raw = self.point(x)
        x = self.transformed(raw)
        if self.record is not None:
            self.record[self.name] = (raw, x)
        return x

    def extra_repr(self) -> str:
        return f"{self.name}, shape={self.shape}"


class Network(nn.Module):
    """A backbone whose forward pass returns logits and the activations at its Taps.

    ``trunk`` lists modules of ``backbone`` in the order in which they run; the input of each is the
    output of the one before. A Tap inside such a module (a residual block) is not on the trunk: it
    records and transforms, but the network cannot be continued from it. ``image`` is the shape of
    one image.
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
        """Finds the Taps in the order in which they run, their shapes, norms and outgoing edges."""
        taps = [m for module in self.trunk for m in module.modules() if isinstance(m, Tap)]
        self._taps = tuple(taps)
        for position, module in enumerate(self.trunk):
            if isinstance(module, Tap):
                module.on_trunk = True
                module.outgoing = _outgoing(self.trunk[position + 1 :])
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
        """The Taps by name, in the order in which they run; the last one is before the head."""
        return {tap.name: tap for tap in self._taps}

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Output:
        return self._run(images, self.trunk)

    def run_from(self, tap: str, value: Tensor) -> Output:
        """The output of the network from a Tap of the trunk on, which is given the value that the
        module before it computes. Earlier Taps are left out of the activations."""
        return self._run(value, self.trunk[self.trunk.index(self.taps[tap]) :])

    def _run(self, x: Tensor, modules: Sequence[nn.Module]) -> Output:
        record: dict[str, tuple[Tensor, Tensor]] = {}
        for tap in self._taps:
            tap.record = record
        try:
            for module in modules:
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
        """Logits of the network run on from a Tap with a raw activation (its transforms apply).

        Raises ValueError for a Tap that is not on the trunk.
        """
        start = self.taps[tap]
        if not start.on_trunk:
            raise ValueError(f"Tap '{tap}' is inside a block: choose a Tap on the trunk")
        x = start.leave(activation)
        for module in self.trunk[self.trunk.index(start) + 1 :]:
            x = module(x)
        return x

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Replaces the module ``old`` by ``new`` everywhere, and calls `wire` again."""
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if child is old:
                    setattr(parent, name, new)
        self.trunk = tuple(new if module is old else module for module in self.trunk)
        self.wire()


class Wired(nn.Module):
    """A trunk module that contains layers with weights and perhaps Taps: a residual block."""

    def entries(self) -> tuple[Edge, ...]:
        """The edges from the module's input to the first layers with weights inside."""
        raise TypeError(f"{type(self).__name__} must define entries()")

    def sources(self) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
        """The normalisation and the layer with weights that compute the module's output, each in a
        tuple; empty after a sum."""
        return (), ()

    def wire(self) -> None:
        """Sets ``outgoing``, ``_norm`` and ``_incoming`` of the Taps inside the module."""


def _outgoing(rest: Sequence[nn.Module]) -> tuple[Edge, ...]:
    """Edges of a Tap, through the modules that follow it on the trunk."""
    bridge: list[nn.Module] = []
    for position, module in enumerate(rest):
        if isinstance(module, Wired):
            return tuple(
                edge._replace(bridge=nn.Sequential(*bridge, *edge.bridge.children()))
                for edge in module.entries()
            )
        if isinstance(module, nn.Linear | nn.Conv2d):
            after = rest[position + 1] if position + 1 < len(rest) else None
            norm = after if is_norm(after) else None
            return (Edge(module, nn.Sequential(*bridge), norm),)
        if not isinstance(module, Tap):
            bridge.append(module)
    return ()


def _sources(before: Sequence[nn.Module]) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
    """The normalisation and the layer with weights that compute a Tap's units."""
    norm: tuple[nn.Module, ...] = ()
    for module in reversed(before):
        if isinstance(module, nn.Linear | nn.Conv2d):
            return norm, (module,)
        if isinstance(module, Wired):
            return (norm, ()) if norm else module.sources()
        if is_norm(module):
            norm = (module,)
    return norm, ()


def is_norm(module: nn.Module | None) -> bool:
    """Whether a module is a normalisation that metrics fold into weights."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or getattr(module, "is_norm", False)
