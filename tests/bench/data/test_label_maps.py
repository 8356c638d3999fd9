"""Photographs with label maps."""

import json

import numpy as np
import pytest
import torch
from photograph_files import BLUE, RED, square, write_image, write_mask, write_voc
from PIL import Image

from legible.bench.data.base import DataMissing
from legible.bench.data.label_maps import label_maps, read_names


def load(root, **params):
    return label_maps(root, path="maps", **{"size": 20, "validation": 2, **params})


def refused(root, message, **params):
    with pytest.raises(ValueError, match=message) as error:
        load(root, **params)
    assert "\n" not in str(error.value)


@pytest.fixture
def folder(tmp_path):
    """Red images with a wheel in the left half, blue ones with a door in the right half."""
    place = tmp_path / "maps"
    for k in range(12):
        colour, box, value = ((RED, (0, 0, 20, 30), 1), (BLUE, (20, 0, 40, 30), 300))[k % 2]
        write_image(place / f"images/{k}.png", colour, shade=k)
        values = square(40, 30, box).astype(np.int32) * value
        Image.fromarray(values.astype(np.uint16)).save(_made(place / f"labels/{k}.png"))
    (place / "names.txt").write_text("0 background\n1 front wheel\n300\tdoor\tpart\n")
    return tmp_path


def _made(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def test_pascal_vocs_layout(tmp_path):
    write_voc(tmp_path / "maps")
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog") and data.test.concepts.names == ("cat", "dog")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [6, 2, 8]
    assert torch.equal(data.test.images[:, 0, 10, 10] > 200, data.test.labels == 0)
    masks = data.test.concepts.masks()
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[:, :9] = True  # of 20 columns, the two in the middle are unlabelled
    assert data.test.concepts.of_class == (0, 1) and data.extents == ("mask", "mask")
    for label, mask in zip(data.test.labels.tolist(), masks, strict=True):
        assert torch.equal(mask[label], expected if label == 0 else expected.flip(1))
        assert not mask[1 - label].any()


def test_the_number_of_vocs_images_is_checked(tmp_path):
    write_voc(tmp_path / "VOC2012")
    with pytest.raises(DataMissing, match="8 train images instead of 1464"):
        label_maps(tmp_path, path="VOC2012")
    assert len(label_maps(tmp_path, path="VOC2012", verify=False, size=8, validation=1).test) == 8
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataMissing, match=r"val.txt is missing; it comes from"):
        label_maps(tmp_path, path="VOC2012", verify=False)


def test_a_flat_folder_with_16_bit_maps(folder):
    data = load(folder)
    assert data.class_names == ("front wheel", "door")
    assert data.train.concepts.categories == ("object", "part")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [8, 2, 2]
    masks = data.train.concepts.masks()
    for label, mask in zip(data.train.labels.tolist(), masks, strict=True):
        half = mask[label].float().mean(0)
        assert half.tolist() == [1.0 - label] * 10 + [float(label)] * 10


def test_folders_give_classes(folder):
    place = folder / "maps"
    for k in range(12):
        split, name = "train" if k < 8 else "test", "car" if k % 2 else "bike"
        for kind in ("images", "labels"):
            (place / kind / f"{k}.png").rename(_made(place / kind / split / name / f"{k}.png"))
    data = load(folder)
    assert data.class_names == ("bike", "car") and data.test.concepts.of_class == ()
    assert [len(s) for s in (data.train, data.validation, data.test)] == [6, 2, 4]


def test_an_image_without_a_map_has_no_concepts(folder):
    """Its class is unknown, so it is left out; with folders of classes it stays."""
    (folder / "maps/labels/3.png").unlink()
    assert any("1 images show no labelled thing" in note for note in load(folder).notes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (square(40, 30, (0, 0, 9, 9), 7), "3.png .*its value 7 has no name: add it to the list"),
        (np.zeros((30, 40, 3), np.uint8), "it has colours"),
    ],
)
def test_maps_that_make_no_sense(folder, values, message):
    Image.fromarray(values).save(folder / "maps/labels/3.png")
    refused(folder, message)


def test_a_map_of_another_size(folder):
    write_mask(folder / "maps/labels/3.png", square(20, 15, (0, 0, 9, 9)))
    refused(folder, "3.png .*the image is 40 x 30 pixels, but its annotation is for 20 x 15")


def test_a_damaged_map(folder):
    (folder / "maps/labels/3.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    refused(folder, "3.png .*(damaged|PNG)")


def test_maps_without_images_and_lists_without_names(folder):
    write_mask(folder / "maps/labels/99.png", square(40, 30, (0, 0, 9, 9)))
    refused(folder, "1 label maps have no image, the first: .*99.png")
    (folder / "maps/labels/99.png").unlink()
    refused(folder, "cannot read .*other.txt", names="other.txt")
    refused(folder, "has no folder 'pictures': set images and maps", images="pictures")


def test_lists_of_names(tmp_path):
    (tmp_path / "a.txt").write_text("background\nfront wheel\n")
    assert {k: v.name for k, v in read_names(tmp_path / "a.txt").items()} == {
        0: "background", 1: "front wheel",
    }  # fmt: skip
    (tmp_path / "b.json").write_text(json.dumps({"4": "wheel"}))
    assert read_names(tmp_path / "b.json")[4] == ("wheel", "object")
    (tmp_path / "c.txt").write_text("4 wheel\n4: door\n")
    with pytest.raises(ValueError, match="names the value 4 twice"):
        read_names(tmp_path / "c.txt")
    with pytest.raises(ValueError, match="is missing or not text"):
        read_names(tmp_path / "d.txt")
