"""Tensors in files, and selections of rows."""

from __future__ import annotations

import pytest
import torch

from legible.metrics import large_tensors
from legible.metrics.large_tensors import empty_tensor, some_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_a_tensor_in_a_file_is_a_tensor(dtype):
    values = empty_tensor((3, 4, 5), dtype, in_file=True)
    assert values.shape == (3, 4, 5) and values.dtype == dtype
    values[1] = 1
    assert values.sum() == 20 and values.clone().equal(values)


@pytest.mark.parametrize("most", [0, 2**29])
def test_rows_are_those_of_an_index(most, monkeypatch):
    monkeypatch.setattr(large_tensors, "LARGE", most)
    values = torch.arange(60).view(6, 2, 5)
    for rows in (torch.tensor([4, 0, 4]), values[:, 0, 0] > 20, slice(1, 5, 2)):
        assert torch.equal(some_rows(values, rows), values[rows])


def test_a_slice_is_a_view():
    values = torch.zeros(4, 2)
    some_rows(values, slice(2)).fill_(1)
    assert values.sum() == 4
