"""Networks that cannot be traced, read through forward hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.bench.backbones.map_layouts import ToMap, map_size, require_layout
from legible.bench.backbones.taps import Tap
from legible.bench.backbones.traced import RECTIFIERS
from legible.bench.errors import nearest, one_line
from legible.metrics.network import Output

#: Number of layers with a map that are read when none are named.
DEFAULT_LAYERS = 2


class HookedNetwork(nn.Module):
    """A model whose activations are recorded at the outputs of some of its modules.

    It has the interface of a `Network`, but no Tap is on the trunk: it can be read, and not be run
    on from a layer. The model is used as it is; ``head`` is applied to its logits. ``reason`` says
    why it was not traced.
    """

    def __init__(
        self,
        model: nn.Module,
        image: tuple[int, int, int],
        layers: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.image = image
        self.reason = reason
        self.head: nn.Module = nn.Identity()
        shapes = _shapes(model, image)
        names = list(layers) or _defaults(model, shapes)
        for name in names:
            if name not in shapes:
                raise ValueError(f"has no layer '{name}'{nearest(name, shapes)}")
        layers = [name for name in shapes if name in names]
        self._maps = {name: ToMap(require_layout(name, shapes[name])) for name in layers}
        self._taps = {name: _tap(name, shapes[name]) for name in layers}

    @property
    def taps(self) -> Mapping[str, Tap]:
        """The Taps by the name of their module, in the order in which these run."""
        return self._taps

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Output:
        record: dict[str, tuple[Tensor, Tensor]] = {}
        for tap in self._taps.values():
            tap.record = record
        values = {name: self.model.get_submodule(name) for name in self._taps}
        logits = _run(
            self.model,
            images,
            values,
            lambda name, value: self._taps[name](self._maps[name](value)),
        )
        maps = {name: raw for name, (raw, _) in record.items()}
        return Output(self.head(logits), maps, maps)

    def continue_from(self, tap: str, activation: Tensor) -> Tensor:
        """Raises ValueError: a network that is read through hooks cannot be run on from a layer."""
        raise ValueError(f"the network cannot be run on from '{tap}': it {self.reason}")


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returns: a tensor, or the first tensor of a tuple or dictionary.

    Raises ValueError if there is none of shape (images, outputs).
    """
    values = [*output.values()] if isinstance(output, Mapping) else [output]
    values = [*output] if isinstance(output, tuple | list) else values
    tensors = [value for value in values if isinstance(value, Tensor)]
    tensors = [output.logits] if isinstance(getattr(output, "logits", None), Tensor) else tensors
    if not tensors or tensors[0].ndim != 2:
        what = f"a tensor of shape {tuple(tensors[0].shape)}" if tensors else type(output).__name__
        raise ValueError(f"returns {what}: it must return logits of shape (images, outputs)")
    return tensors[0]


def _run(model: nn.Module, images: Tensor, modules: Mapping[str, nn.Module], see: Any) -> Tensor:
    """The model's logits; ``see(name, value)`` is called with the first tensor of each output."""

    def hook(name: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor):
            see(name, first)

    handles = [
        module.register_forward_hook(lambda _, x, y, name=name: hook(name, y))
        for name, module in modules.items()
    ]
    try:
        return logits_of(model(images))
    finally:
        for handle in handles:
            handle.remove()


def _shapes(model: nn.Module, image: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """The shape of each module's output for one image, in the order in which they run first."""
    shapes: dict[str, tuple[int, ...]] = {}

    def see(name: str, value: Tensor) -> None:
        if value.ndim > 1 and len(value) == 2:
            shapes.setdefault(name, tuple(value.shape[1:]))

    parameter = next(model.parameters())
    zeros = torch.zeros(2, *image, dtype=parameter.dtype, device=parameter.device)
    modules = {name: module for name, module in model.named_modules() if name}
    try:
        with torch.no_grad():
            _run(model, zeros, modules, see)
    except Exception as error:
        size = "x".join(map(str, image))
        raise ValueError(f"does not take images of shape {size}: {one_line(error)}") from error
    return shapes


def _defaults(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """For the two smallest map sizes the last rectified module, or else the last one."""
    last: dict[tuple[int, ...], str] = {}
    for name, shape in shapes.items():
        size = map_size(shape)
        is_rectifier = isinstance(model.get_submodule(name), RECTIFIERS)
        before = last.get(size)
        if size and (is_rectifier or before is None or not isinstance(
            model.get_submodule(before), RECTIFIERS
        )):  # fmt: skip
            last[size] = name
    names = [name for _, name in sorted(last.items(), reverse=True)][-DEFAULT_LAYERS:]
    if not names:
        raise ValueError("has no module with a map: name layers")
    return names


def _tap(name: str, shape: tuple[int, ...]) -> Tap:
    """A Tap for a module's output; its ``shape`` is that of the map that it hands out."""
    tap = Tap(name)
    to_map = ToMap(require_layout(name, shape))
    tap.shape = tuple(to_map(torch.zeros(1, *shape)).shape[1:])
    return tap
