"""Folders of images."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from legible.bench.data import imagefolder as module
from legible.bench.data.base import DataMissing
from legible.bench.data.imagefolder import imagefolder

COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


def write(folder, counts, shape=(40, 30), suffix="png"):
    """Plain images in the colour of their class, brighter by one from each to the next."""
    for split, count in counts.items():
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.zeros((*shape, 3), np.uint8) + np.uint8(colour)
                pixels[..., 0] += np.uint8(number)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.{suffix}")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "photos", {"train": 10, "test": 4})
    return tmp_path


def test_train_and_test_folders(folder):
    data = imagefolder(folder, path="photos", size=8)
    assert data.class_names == ("blue", "green", "red") and not data.drawn
    assert [len(s) for s in (data.train, data.validation, data.test)] == [27, 3, 12]
    assert data.image == (3, 8, 8) and data.train.images.dtype == torch.uint8
    for split in (data.train, data.validation, data.test):
        brightest = split.images[:, :, 4, 4].argmax(1)  # red, green, blue
        assert torch.equal(2 - brightest, split.labels)


def test_an_absolute_path_and_one_from_the_root_are_the_same(folder):
    first = imagefolder(folder, path="photos", size=8)
    assert imagefolder(folder, path=str(folder / "photos"), size=8).fingerprint() == (
        first.fingerprint()
    )


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_three_folders(folder, name):
    write(folder / "photos", {name: 2})
    data = imagefolder(folder, path="photos", size=8, limit=9)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [9, 6, 12]


def test_a_validation_folder_alone_is_the_test_set(folder):
    (folder / "photos/test").rename(folder / "photos/val")
    data = imagefolder(folder, path="photos", size=8)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [27, 3, 12]


def test_images_fill_the_square_and_are_cropped_at_the_centre(tmp_path):
    """Of a wide image whose outer quarters are white, only the black middle is left."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            pixels = np.full((20, 40, 3), 255, np.uint8)
            pixels[:, 10:30] = 0
            for number in range(10):
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    data = imagefolder(tmp_path, path=str(tmp_path), size=20)
    assert data.test.images.max() == 0
    assert imagefolder(tmp_path, path=str(tmp_path), size=10).test.images[..., 2:-2].max() == 0


def test_grey_and_transparent_images_become_three_channels(folder):
    place = folder / "photos/train/red"
    Image.fromarray(np.full((9, 9), 200, np.uint8)).save(place / "grey.png")
    Image.fromarray(np.full((9, 9, 4), 200, np.uint8)).save(place / "clear.PNG")
    data = imagefolder(folder, path="photos", size=8)
    assert len(data.train) + len(data.validation) == 32


def test_images_are_decoded_once(folder, monkeypatch):
    first = imagefolder(folder, path="photos", size=8)
    monkeypatch.setattr(module, "_square", lambda *_: 1 / 0)
    assert imagefolder(folder, path="photos", size=8).fingerprint() == first.fingerprint()
    assert len(list((folder / "cache").glob("*.safetensors"))) == 1


def test_a_changed_file_is_decoded_anew(folder):
    first = imagefolder(folder, path="photos", size=8)
    file = folder / "photos/test/red/0.png"
    before = file.stat()
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert imagefolder(folder, path="photos", size=8).fingerprint() != first.fingerprint()


@pytest.mark.parametrize("path", ["", "nowhere", "/nowhere/at/all"])
def test_no_folder_is_missing_data(tmp_path, path):
    with pytest.raises(DataMissing) as error:
        imagefolder(tmp_path, path=path)
    assert "\n" not in str(error.value) and path in str(error.value)


def refused(folder, message, **params):
    with pytest.raises(ValueError, match=message) as error:
        imagefolder(folder, path="photos", size=8, **params)
    assert "\n" not in str(error.value)


def test_a_folder_without_splits(tmp_path):
    (tmp_path / "photos/cats").mkdir(parents=True)
    refused(tmp_path, r"must hold train/ and test/ or val/; it holds \['cats'\]")


def test_a_folder_without_images(folder):
    for file in (folder / "photos/test").rglob("*.png"):
        file.rename(file.with_suffix(".txt"))
    refused(folder, r"photos/test holds no images")


def test_a_class_that_one_split_lacks(folder):
    (folder / "photos/train/yellow").mkdir()
    refused(folder, r"class 'yellow' is not in both")


def test_one_class_is_no_task(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "photos" / split / "only").mkdir(parents=True)
    refused(tmp_path, "at least two class folders")


def test_unreadable_files_are_named(folder):
    broken = sorted((folder / "photos/train/red").glob("*.png"))[:5]
    broken[0].write_bytes(b"no image")
    for file in broken[1:]:
        file.write_bytes(file.read_bytes()[:60])
    refused(folder, r"cannot read .*red/0\.png, .*, .* and 2 more")
    assert not list((folder / "cache").glob("*.safetensors"))


def test_images_that_do_not_fit_in_memory(folder, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 64)
    refused(folder, r"42 images of 8 x 8 pixels need .* choose a smaller size")


@pytest.mark.parametrize(
    ("name", "value"), [("size", 5), ("validation", -1), ("limit", 0), ("seed", -1)]
)
def test_parameters_out_of_range(folder, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .* not {value}$"):
        imagefolder(folder, path="photos", **{name: value})


def test_held_out_images_are_mixed(tmp_path):
    """A probe takes the first images of a split, so they must not all be of one class."""
    write(tmp_path / "photos", {"train": 10, "test": 30, "val": 30})
    data = imagefolder(tmp_path, path="photos", size=8)
    for split in (data.validation, data.test):
        assert len(set(split.labels[:15].tolist())) == 3
