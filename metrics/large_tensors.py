"""Tensors that may be too large for the memory: they lie in temporary files that are mapped."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

#: Size in bytes above which a selection of rows on a CPU lies in a file.
LARGE = 2**29


def empty_tensor(
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    in_file: bool = False,
) -> Tensor:
    """An uninitialised tensor; on a CPU, in a temporary file where that is asked for."""
    if not in_file or torch.device(device).type != "cpu":
        return torch.empty(*shape, dtype=dtype, device=device)
    with tempfile.TemporaryDirectory() as folder:  # the mapping outlives the file's name
        file = str(Path(folder) / "values")
        size = math.prod(shape)
        return torch.from_file(file, shared=True, size=size, dtype=dtype).view(*shape)


def some_rows(values: Tensor, rows: Tensor | slice) -> Tensor:
    """``values[rows]``. A slice is a view; a large copy on a CPU lies in a file."""
    if isinstance(rows, slice) or values.device.type != "cpu":
        return values[rows]
    index = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
    shape = (len(index), *values.shape[1:])
    if math.prod(shape) * values.element_size() <= LARGE:
        return values[rows]
    result = empty_tensor(shape, values.dtype, in_file=True)
    return torch.index_select(values, 0, index, out=result)
