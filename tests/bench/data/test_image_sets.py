"""Datasets read through torchvision, from small files: nothing is downloaded."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from image_files import assert_one_line, write_digits

from legible.bench.data import fashion_mnist as clothes
from legible.bench.data.base import DataMissing
from legible.bench.data.cifar10 import cifar10
from legible.bench.data.fashion_mnist import fashion_mnist
from legible.bench.data.image_sets import to_tensors
from legible.bench.data.mnist import mnist


def numbers(split):
    """The numbers of a split's images, from their first pixel."""
    return set(split.images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_images_become_uint8_with_channels_first(channels):
    images = np.arange(2 * 4 * 5 * max(channels, 1)).reshape(2, 4, 5, -1)
    tensor, labels = to_tensors(images if channels else images[..., 0], [3, 1])
    assert tensor.dtype == torch.uint8 and labels.tolist() == [3, 1]
    assert torch.equal(tensor.movedim(1, -1), torch.as_tensor(images))


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (2, 3)])
def test_no_images_or_another_number_of_labels_is_an_error(images, labels):
    with pytest.raises(ValueError, match=f"{images} images but {labels} labels"):
        to_tensors(np.zeros((images, 4, 4)), [0] * labels)


def test_pixels_are_standardised_by_default(digits):
    plain, usual = mnist(digits, standardise=False).test, mnist(digits).test
    torch.testing.assert_close(plain.normalise(plain.images), plain.images.float() / 255)
    assert usual.mean.item() > 0 and usual.std.item() != 1
    assert torch.equal(plain.images, usual.images)


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
    assert_one_line(error, load.__name__, "LEGIBLE_DOWNLOAD=1", str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("by", ["environment", "parameter"])
def test_a_download_that_is_allowed(tmp_path, offline, monkeypatch, by):
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
    assert_one_line(error, "cannot be downloaded", "no network")
