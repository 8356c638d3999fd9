"""The device of a process: which one it uses, and arithmetic on it that repeats."""

from __future__ import annotations

import os
import warnings

import torch

from legible.bench.errors import UserError


def resolve_device(device: str) -> str:
    """The device to use: "auto" is cuda if this machine has a GPU, else cpu. Raises UserError for
    an unknown device, and for cuda without a GPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"no device '{device}': use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable GPU; use --device cpu")
    return device


def settle_device(device: str) -> None:
    """Makes this process's arithmetic on a GPU full float32, and the same at each repetition.

    Convolutions are not rounded to TensorFloat-32, and torch takes its repeatable algorithm of each
    operation that has one. A metric whose value still differs between repetitions declares it. Must
    be called before the process first uses the GPU. On a CPU this changes nothing.
    """
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling new tensors would cost a kernel for each
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    warnings.filterwarnings("ignore", ".*does not have a deterministic implementation.*")
