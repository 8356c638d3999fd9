"""The state of a training after an epoch: all tensors by name, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class State:
    """The state of a training after ``epoch`` epochs; enough to resume it.

    tensors: a `snapshot` of network, method and optimiser.
    history: for each epoch the mean loss terms, the accuracy, and validation results.
    seconds: the duration of each epoch.
    """

    epoch: int
    tensors: dict[str, Tensor]
    history: list[dict[str, float | int]]
    seconds: list[float] = field(default_factory=list)


def snapshot(
    network: nn.Module, method: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Tensor]:
    """Returns contiguous copies of all tensors of network, method and optimiser.

    Names start with ``network.``, ``method.`` or ``optimizer.<index>.``.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"method.{k}": v for k, v in method.state_dict().items()}
    if optimizer is not None:
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v
                        for k, v in values.items() if torch.is_tensor(v)}  # fmt: skip
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}


@torch.no_grad()
def restore(
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    method: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Loads a `snapshot` into network, method and optimiser.

    Raises RuntimeError if names or shapes do not match.
    """
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "method": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    network.load_state_dict(parts["network"])
    method.load_state_dict(parts["method"])
    if optimizer is not None:
        _restore_optimizer(optimizer, parts["optimizer"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    states: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:  # fused kernels need the parameter's memory layout
            tensor = torch.empty_like(parameter).copy_(tensor)
        states.setdefault(int(index), {})[key] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
