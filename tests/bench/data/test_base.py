"""Splits and datasets: normalisation, few shots, fingerprints, registration."""

import dataclasses

import pytest
import torch

from legible.bench.data import base
from legible.bench.data import planted as modules
from legible.bench.data.base import Dataset, data_root, make_splits


def numbered_images(count):
    """Images of 2 x 2 pixels whose first pixel is their number; labels 0 to 3 in turn."""
    images = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return images, torch.arange(count) % 4, None


@pytest.fixture
def data():
    parts = {"train": numbered_images(80), "validation": numbered_images(8),
             "test": numbered_images(12)}  # fmt: skip
    return Dataset("numbered", (*"abcd",), **make_splits(parts, 4))


def numbers(split):
    return set(split.images[:, 0, 0, 0].tolist())


def test_training_images_have_mean_0_and_standard_deviation_1(data):
    (pixels,) = [images for _, images in data.train.batches(80)]
    assert pixels.mean().item() == pytest.approx(0, abs=1e-6)
    assert pixels.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert data.test.mean is data.train.mean and data.test.std is data.train.std


def test_batches_hold_each_image_once_and_in_order(data):
    rows = torch.cat([rows for rows, _ in data.train.batches(7)])
    assert torch.equal(rows, torch.arange(80))


def test_few_shots_of_one_seed_are_nested(data):
    few, more = data.few(2, seed=3), data.few(5, seed=3)
    assert torch.bincount(few.train.labels).tolist() == [2] * 4
    assert numbers(few.train) < numbers(more.train) < numbers(data.train)
    again, other = (data.few(2, seed=seed) for seed in (3, 4))
    assert numbers(few.train) == numbers(again.train) != numbers(other.train)
    assert few.validation is data.validation and few.test is data.test
    assert torch.equal(few.train.mean, data.train.mean)


def test_more_shots_than_images_of_a_class_are_an_error(data):
    with pytest.raises(ValueError, match=r"class 'a' has 20 training images, fewer than 21"):
        data.few(21, seed=0)


def test_the_fingerprint_changes_with_any_pixel_and_label(data):
    before = data.fingerprint()
    assert data.to("cpu").fingerprint() == before
    data.test.images[3, 0, 1, 1] = 1
    changed = data.fingerprint()
    data.train.labels[0] = 1
    assert len({before, changed, data.fingerprint()}) == 3


def test_the_data_root_is_the_argument_else_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LEGIBLE_DATA", str(tmp_path))
    assert data_root() == tmp_path and data_root(tmp_path / "x") == tmp_path / "x"
    monkeypatch.delenv("LEGIBLE_DATA")
    assert data_root().name == "legible"


def test_one_name_in_two_files_is_an_error(monkeypatch):
    monkeypatch.setattr(base, "DATASETS", {})

    def planted(root):
        raise NotImplementedError

    base.dataset(modules.planted)
    with pytest.raises(ValueError, match=r"dataset 'planted' is defined in .*planted\.py and in"):
        base.dataset(planted)
    assert {"planted": modules.planted} == base.DATASETS


def test_of_large_tensors_a_sample_of_rows_is_hashed(data, monkeypatch):
    whole = data.fingerprint()
    monkeypatch.setattr(base, "HASHED", 100)
    sampled = data.fingerprint()
    assert sampled == whole  # fewer than a thousand rows are all hashed
    changed = data.train.images.clone()
    changed[-1] = 255 - changed[-1]
    other = dataclasses.replace(data, train=dataclasses.replace(data.train, images=changed))
    assert other.fingerprint() != sampled


def test_moments_do_not_depend_on_how_many_images_are_read_at_a_time(monkeypatch):
    images = torch.randint(256, (50, 3, 4, 4), dtype=torch.uint8)
    first = base._moments(images)
    monkeypatch.setattr(base, "CHUNK", 7)
    assert all(torch.equal(one, two) for one, two in zip(first, base._moments(images), strict=True))
