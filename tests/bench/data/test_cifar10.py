"""CIFAR-10, without its files."""

import numpy as np
import pytest
import torchvision.datasets
from image_files import assert_one_line

from legible.bench.data.base import DataMissing
from legible.bench.data.cifar10 import cifar10


def test_cifar10_is_turned_to_channels_first(tmp_path, offline, monkeypatch):
    class Stored:
        classes = [*"abcdefghij"]

        def __init__(self, root, train, download):
            assert not download
            count = 50 if train else 10
            self.data = np.zeros((count, 32, 32, 3), np.uint8)
            self.data[..., 2] = 7
            self.targets = [i % 10 for i in range(count)]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Stored)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py/data_batch_1").touch()
    data = cifar10(tmp_path)
    assert data.image == (3, 32, 32) and data.flip and not data.drawn
    assert data.class_names == tuple("abcdefghij")
    assert (data.train.images[:, 2] == 7).all() and (data.train.images[:, :2] == 0).all()
    assert [len(s) for s in (data.train, data.validation, data.test)] == [45, 5, 10]


def test_files_that_are_not_cifar10s_are_not_opened(tmp_path, offline):
    """Its files are pickles: torchvision opens none whose checksum differs."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch broken'\ntR.")
    with pytest.raises(DataMissing) as error:
        cifar10(tmp_path)
    assert_one_line(error, "cifar10", "cannot be read")
