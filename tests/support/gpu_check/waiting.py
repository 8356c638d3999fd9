"""Refusing whatever makes the host wait for the device."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Refusal(TorchFunctionMode):
    """Raises RuntimeError on a CPU for what would make the host wait for a GPU: a number is read
    from a tensor, or a tensor is made in the host's memory."""

    functions = (
        Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__float__,
        Tensor.__int__, Tensor.__index__, Tensor.nonzero, torch.nonzero, torch.tensor,
        torch.as_tensor, torch.from_numpy,
    )  # fmt: skip
    #: They make a tensor on the CPU, which must then be copied, unless they are told a device.
    factories = (
        torch.arange, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.rand,
        torch.randint, torch.randn, torch.randperm, torch.zeros,
    )  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.functions or (func in self.factories and kwargs.get("device") is None):
            raise RuntimeError(f"'{func.__name__}' makes the host wait")
        return func(*args, **kwargs)


@contextlib.contextmanager
def refuse_waiting(device: str) -> Iterator[None]:
    """A context in which it is a RuntimeError to make the host wait for the device."""
    if not device.startswith("cuda"):
        with _Refusal():
            yield
        return
    with warnings.catch_warnings():  # that the mode does not yet find all
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
