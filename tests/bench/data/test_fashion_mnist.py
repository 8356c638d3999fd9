"""Fashion-MNIST, from small files in its format."""

import gzip

import pytest
from image_files import assert_one_line, write_digits

from legible.bench.data import fashion_mnist as module
from legible.bench.data.base import DataMissing
from legible.bench.data.fashion_mnist import fashion_mnist


def test_fashion_mnist_from_the_root(tmp_path, offline):
    write_digits(tmp_path / "FashionMNIST/raw")
    data = fashion_mnist(tmp_path)
    assert data.class_names[9] == "ankle boot" and not data.drawn
    assert len(data.train) == 180


def test_fashion_mnist_from_debians_package(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(module, "DEBIAN", tmp_path / "debian")
    write_digits(tmp_path / "debian", gzip.compress)
    data = fashion_mnist(tmp_path / "root")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [180, 20, 40]
    assert not (tmp_path / "root").exists()  # nothing is written to the data root


def test_a_damaged_package_of_debian(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(module, "DEBIAN", tmp_path / "debian")
    write_digits(tmp_path / "debian", lambda data: gzip.compress(data)[:-30])
    with pytest.raises(DataMissing) as error:
        fashion_mnist(tmp_path / "root")
    assert_one_line(error, "cannot be read", "debian")
