"""Refusing whatever makes the host wait for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Refusal(TorchFunctionMode):
    """Raises RuntimeError where a number is read from a tensor: on a CPU, what would wait on a
    GPU."""

    functions = (
        Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__float__,
        Tensor.__int__, Tensor.__index__, Tensor.nonzero, torch.nonzero,
    )  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.functions:
            raise RuntimeError(f"'{func.__name__}' makes the host wait")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def refuse_waiting(device: str) -> Iterator[None]:
    """A context in which it is a RuntimeError to make the host wait for the device."""
    if not device.startswith("cuda"):
        with _Refusal():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
