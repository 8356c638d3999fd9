"""Labelled images in every form: names, datasets of Legible, torch datasets, tensors."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from photograph_files import write_coco
from PIL import Image
from torch.utils.data import TensorDataset

from legible.bench.errors import UserError
from legible.bench.one_network.image_data import (
    Normalisation,
    load_images,
    normalised,
    parse_name,
)
from legible.bench.plugins import registry
from legible.metrics.network import Concepts


def test_a_name_may_hold_a_path_and_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert parse_name("kanji") == ("kanji", {})
    assert parse_name("kanji(train=800, size=28)") == ("kanji", {"train": "800", "size": "28"})
    path = str(tmp_path / "photos")
    assert parse_name("imagefolder:photos") == ("imagefolder", {"path": path})
    expected = ("imagefolder", {"path": path, "size": "64", "limit": None})
    assert parse_name("imagefolder:photos(size=64,limit=None)") == expected
    assert parse_name("imagefolder(path=photos)") == ("imagefolder", {"path": path})
    assert parse_name("imagefolder:elsewhere (1)")[1] == {"path": "elsewhere (1)"}
    listed = parse_name("coco(annotated=[animal, 'part'],size=8)")
    assert listed == ("coco", {"annotated": ["animal", "part"], "size": "8"})
    with pytest.raises(UserError, match="write NAME, NAME:PATH"):
        parse_name("two words")


def test_a_registered_dataset_is_read_by_name(toy_plugin):
    data = load_images("toy(size=18)", most=20)
    assert data.label == "toy(size=18)" and data.image == (1, 18, 18) and len(data) == 20
    assert data.class_names == ("a", "b", "c") and len(data.concepts) == 3
    with pytest.raises(UserError, match="no dataset 'tou'; did you mean 'toy'"):
        load_images("tou")
    with pytest.raises(UserError, match="no parameter 'sise'; did you mean 'size'"):
        load_images("toy(sise=3)")


def test_a_dataset_of_legible_gives_what_its_split_gives(toy):
    data = load_images(toy, split="validation", most=7)
    assert torch.equal(data.images, toy.validation.images[:7])
    assert torch.equal(data.concepts.packed, toy.validation.concepts.packed[:7])
    expected = toy.validation.normalise(data.images)
    torch.testing.assert_close(data.batch(slice(None)), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="no split 'valid'; did you mean 'validation'"):
        load_images(toy, split="valid")


def test_a_torch_dataset_gives_a_fixed_random_part():
    images = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 1, 2, 2)
    dataset = TensorDataset(images, torch.arange(40) % 4)
    data, again = (load_images(dataset, most=10) for _ in range(2))
    assert torch.equal(data.images, again.images) and len(data) == 10
    rows = data.images[:, 0, 0, 0].long()
    assert torch.equal(data.labels, rows % 4) and rows.tolist() != list(range(10))
    assert data.class_names == ("0", "1", "2", "3")


class Pictures:
    """A torch dataset of pictures of Pillow."""

    classes = ("dark", "light")

    def __init__(self, sizes=((4, 6), (4, 6))):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, k):
        height, width = self.sizes[k]
        return Image.fromarray(np.full((height, width, 3), 200 * k, np.uint8)), k


def test_pictures_become_uint8_images():
    data = load_images(Pictures())
    assert data.images.dtype == torch.uint8 and data.image == (3, 4, 6)
    assert data.images[1].unique().tolist() == [200] and data.class_names == ("dark", "light")
    with pytest.raises(UserError, match="image 1 is 3 x 5 x 5, image 0 3 x 4 x 6: resize them"):
        load_images(Pictures(((4, 6), (5, 5))))


def test_masks_stay_with_the_images_that_are_taken():
    images = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 1, 2, 2)
    masks = torch.zeros(40, 2, 2, 2, dtype=torch.bool)
    masks[::2, 0], masks[1::2, 1] = True, True  # the first concept in even images
    concepts = Concepts.pack(masks, ["even", "odd"], ["parity"] * 2, [False] * 2)
    data = load_images(TensorDataset(images, torch.arange(40) % 2), concepts=concepts, most=10)
    assert data.concepts is not None
    is_even = data.concepts.masks()[:, 0].flatten(1).all(1)
    assert torch.equal(is_even, data.images[:, 0, 0, 0] % 2 == 0) and len(is_even) == 10
    few = concepts.images(slice(39))
    for given in (TensorDataset(images, torch.arange(40) % 2), (images, torch.arange(40) % 2)):
        with pytest.raises(UserError, match="the masks of 39 images, and there are 40 images"):
            load_images(given, concepts=few, most=10)


class Broken(Pictures):
    """A torch dataset one of whose items is given by the test."""

    def __init__(self, item):
        super().__init__()
        self.item = item

    def __getitem__(self, k):
        if k == 0:
            return super().__getitem__(k)
        return self.item() if callable(self.item) else self.item


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (lambda: Image.open(io.BytesIO(b"no picture")), "item 1 .* cannot be read: Unidentified"),
        ((np.zeros((4, 6, 3), np.uint8), None), "label of item 1 is None: give a class number"),
        ((np.zeros((4, 6, 3), np.uint8), torch.zeros(3)), "label of item 1 is tensor"),
        ((np.array(["text"]), 0), "the image of item 1 cannot be read"),
        (7, "must give pairs"),
    ],
)  # fmt: skip
def test_a_broken_item_of_a_torch_dataset_is_named(item, message):
    with pytest.raises(UserError, match=message) as error:
        load_images(Broken(item))
    assert "\n" not in str(error.value)


def test_pixels_are_normalised_and_floats_are_taken_as_they_are():
    pixels = torch.full((2, 1, 2, 2), 51, dtype=torch.uint8)
    with pytest.raises(UserError, match="images of uint8 need mean and std"):
        normalised(load_images((pixels, [0, 1])), None)
    data = normalised(load_images((pixels, [0, 1])), Normalisation((0.1,), (0.5,)))
    assert data.batch(slice(None)).unique().tolist() == pytest.approx([0.2])
    floats = load_images((np.full((2, 1, 2, 2), 3.0), [0, 1]))
    assert normalised(floats, None).batch(slice(1)).unique().tolist() == [3]
    assert normalised(floats, Normalisation((1,), (2,))).batch(slice(1)).unique().tolist() == [1]
    with pytest.raises(UserError, match="mean has 3 values, but images have 1 channels"):
        normalised(floats, Normalisation((0, 0, 0), (1, 1, 1)))
    with pytest.raises(UserError, match="std must be above 0"):
        normalised(floats, Normalisation((0,), (0,)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "data is a int: give the name"),
        ((torch.zeros(2, 4, 4), [0, 1]), r"of shape \(2, 4, 4\): give uint8 or floats"),
        ((torch.zeros(2, 1, 4, 4), [0]), "labels must be 2 whole numbers"),
        ((torch.zeros(2, 1, 4, 4), [0, -1]), "class numbers from 0"),
        ((torch.zeros(0, 1, 4, 4), torch.zeros(0).long()), "class numbers from 0"),
        ([torch.zeros(1), torch.zeros(2), 3], "must give pairs"),
        ((object(), [0]), "images and labels must be tensors"),
    ],
)
def test_other_data_is_refused_in_one_line(data, message):
    with pytest.raises(UserError, match=message):
        load_images(data)


def test_labels_need_names():
    with pytest.raises(UserError, match="label 2 has no class name: there are 2"):
        load_images((torch.zeros(3, 1, 4, 4), [0, 1, 2]), class_names=["a", "b"])
    with pytest.raises(UserError, match="at least 2, not 1"):
        load_images((torch.zeros(3, 1, 4, 4), [0, 1, 2]), most=1)


def test_photographs_say_what_their_concepts_are(tmp_path, monkeypatch):
    write_coco(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    registry.load(["datasets"])
    data = load_images("coco:photos(size=8,validation=1,licence=CC0)", root=tmp_path)
    assert data.notes[0].startswith("1 concept is only a box") and data.notes[-1] == "licence: CC0"


def test_what_is_no_name_of_data_is_told_how_to_name_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"write 'imagefolder:\./photos'"):
        parse_name("./photos")
    with pytest.raises(UserError, match=r"it needs a '\)' for each '\('"):
        parse_name("shapes(size=64")
    with pytest.raises(UserError, match="write NAME, NAME:PATH or"):
        parse_name("./nowhere")
