"""The state of a run between two epochs: all tensors by name, and the history so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class State:
    """Where training stands after ``epoch`` epochs: all that resume needs."""

    epoch: int
    tensors: dict[str, Tensor]
    history: list[dict[str, float | int]]
    seconds: list[float] = field(default_factory=list)


def snapshot(
    network: nn.Module, method: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Tensor]:
    """All tensors of network, method and optimiser, as contiguous clones by name."""
    named = {f"network.{k}": v for k, v in network.state_dict().items()}
    named |= {f"method.{k}": v for k, v in method.state_dict().items()}
    if optimizer is not None:
        for index, values in optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{k}": v for k, v in values.items() if torch.is_tensor(v)}
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in named.items()}


@torch.no_grad()
def restore(
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    method: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Puts a snapshot back. Raises RuntimeError where names or shapes do not fit."""
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "method": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    network.load_state_dict(parts["network"])
    method.load_state_dict(parts["method"])
    if optimizer is not None:
        states: dict[int, dict[str, Tensor]] = {}
        owners = [p for group in optimizer.param_groups for p in group["params"]]
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            owner = owners[int(index)]
            if tensor.shape == owner.shape:  # fused kernels need the parameter's memory layout
                tensor = torch.empty_like(owner).copy_(tensor)
            states.setdefault(int(index), {})[key] = tensor.clone()
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})
