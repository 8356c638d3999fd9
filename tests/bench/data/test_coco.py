"""Photographs with COCO annotations."""

import json

import numpy as np
import pytest
import torch
from photograph_files import (
    BLUE,
    RED,
    annotation,
    square,
    write_coco,
    write_image,
    write_json,
)
from PIL import Image
from pycocotools import mask as coco_mask

from legible.bench.data.base import DataMissing
from legible.bench.data.coco import coco
from legible.bench.data.photographs import extent_notes


@pytest.fixture
def folder(tmp_path):
    write_coco(tmp_path / "photos")
    return tmp_path


def load(root, **params):
    return coco(root, path="photos", **{"size": 24, "validation": 2, **params})


def masks(data, name, split="test"):
    concepts = getattr(data, split).concepts
    return concepts.masks()[:, concepts.names.index(name)]


def edit(root, change):
    """Changes the annotations in place."""
    file = root / "photos/annotations.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def refused(root, message, **params):
    with pytest.raises(ValueError, match=message) as error:
        load(root, **params)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


def test_folders_give_classes_and_the_json_gives_concepts(folder):
    data = load(folder)
    assert data.class_names == ("cat", "dog") and not data.drawn
    assert [len(s) for s in (data.train, data.validation, data.test)] == [10, 2, 12]
    red = data.test.images[:, 0, 12, 12] > 200
    assert torch.equal(red, data.test.labels == 0)
    concepts = data.test.concepts
    assert concepts.names == ("cat", "dog", "ear", "nose")
    assert concepts.categories == ("animal", "animal", "part", "keypoints")
    assert concepts.of_class == (0, 1) and concepts.landmark == (True,) * 4
    assert data.extents == ("mask", "mask", "box", "point")


def test_masks_follow_the_centre_crop(folder):
    """The square (5, 0) to (35, 30) is shrunk by 30 / 24: the polygon up to (20, 15) fills 12 x 12
    pixels, the box from (10, 5) to (15, 15) those from 4 to 8 and from 4 to 12."""
    data = load(folder)
    cats = masks(data, "cat")
    assert torch.equal(cats.flatten(1).any(1), data.test.labels == 0)
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[:12, :12] = True
    assert all(torch.equal(mask, expected) for mask in cats[data.test.labels == 0])
    box = torch.zeros(24, 24, dtype=torch.bool)
    box[4:12, 4:8] = True
    assert all(torch.equal(mask, box) for mask in masks(data, "ear"))


def test_a_keypoint_is_a_small_disc_and_an_unlabelled_one_is_nothing(folder):
    data = load(folder)
    disc = masks(data, "nose")[0]  # at (20, 15) of the image, (12, 12) of the square
    assert disc[11:13, 11:13].all() and disc.sum() == 4
    assert "concepts without pixels, left out: pose, left eye" in data.notes


def test_extents_are_said(folder):
    notes = extent_notes(load(folder))
    assert notes == [
        "1 concept is only a box, in some images or in all; metrics take the filled box as the "
        "mask: ear",
        "1 concept is a point; metrics take a small disc around it as the mask: nose",
    ]


def test_without_boxes_only_masks_and_points_remain(folder):
    assert load(folder, boxes=False).test.concepts.names == ("cat", "dog", "nose")


def test_run_lengths_of_both_kinds_are_the_polygon(folder):
    shape = square(40, 30, (0, 0, 20, 15))
    packed = coco_mask.encode(np.asfortranarray(shape))
    counts = [15] * 39 + [15 + 30 * 20]
    plain = {"size": [30, 40], "counts": [0, *counts]}
    coded = {"size": [30, 40], "counts": packed["counts"].decode()}

    def change(content):
        masked = [a for a in content["annotations"] if "segmentation" in a]
        for a, segmentation in zip(masked, [plain, coded] * 100, strict=False):
            a["segmentation"] = segmentation

    before = load(folder).fingerprint()
    edit(folder, change)
    assert load(folder).fingerprint() == before


def test_a_crowd_is_a_mask_of_its_category(folder):
    edit(folder, lambda c: [a.update(iscrowd=1) for a in c["annotations"][:3:3]])
    data = load(folder)
    assert data.extents[0] == "mask" and "1 crowds count as masks of their category" in data.notes


def test_a_polygon_that_leaves_the_image_is_cut_off(folder):
    polygon = [-40, -30, 20, -30, 20, 15, -40, 15]
    before = load(folder).fingerprint()
    edit(folder, lambda c: [a.update(segmentation=[polygon]) for a in c["annotations"][::3]])
    assert load(folder).fingerprint() == before


def test_a_polygon_outside_the_image_is_left_out_and_said(folder):
    polygon = [100, 100, 120, 100, 120, 120]
    edit(folder, lambda c: c["annotations"][0].update(segmentation=[polygon]))
    data = load(folder)
    assert "1 regions lie outside their image or its crop and are left out" in data.notes
    count = sum(
        masks(data, "cat", s).flatten(1).any(1).sum() for s in ("train", "validation", "test")
    )
    assert count == 11


def test_a_polygon_too_thin_for_a_pixel_is_one_pixel(folder):
    polygon = [20.2, 15.2, 20.3, 15.2, 20.3, 15.3]
    edit(folder, lambda c: [a.update(segmentation=[polygon]) for a in c["annotations"][::3]])
    assert masks(load(folder), "cat")[load(folder).test.labels == 0].flatten(1).sum(1).eq(1).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "a polygon has 2 corners"),
        ([[0, 0, 9e9, 0, 9e9, 9]], "reaches 9000000000 pixels"),
        ([[0, 0, float("inf"), 0, 9, 9]], "."),
        ({"size": [9, 9], "counts": [81]}, "its mask is 9 x 9 pixels, but its image is 40 x 30"),
        ({"size": [30, 40], "counts": [1, 2]}, "run lengths are of 3 pixels"),
        ({"size": [30, 40], "counts": "zz"}, "run lengths are of -1 pixels"),
        ({"size": [30, 40], "counts": "0"}, "run lengths are of 0 pixels"),
        ({"size": [30, 40]}, "not in COCO's format"),
        ("text", "."),
    ],
)  # fmt: skip
def test_a_segmentation_that_makes_no_sense_is_refused(folder, segmentation, message):
    edit(folder, lambda c: c["annotations"][0].update(segmentation=segmentation))
    refused(folder, message)


def test_annotated_images_that_do_not_exist(folder):
    (folder / "photos/test/cat/13.png").rename(folder / "photos/test/cat/renamed.png")
    edit(folder, lambda c: c["annotations"].append(annotation(999, 999, 7, bbox=[1, 1, 9, 9])))
    refused(folder, r"1 annotated images are not in the folder, the first: test/\w+/\d+.png; 1 "
                    "annotations are of images that the file does not list: add them, or set "
                    "skip_missing")  # fmt: skip
    data = load(folder, skip_missing=True)
    assert len(data.test) == 12 and sum("left out" in note for note in data.notes) == 3
    assert any(note.startswith("1 of 24 images have no annotation") for note in data.notes)


def test_an_annotation_of_another_size_than_its_image(folder):
    edit(folder, lambda c: c["images"][0].update(width=80, height=60))
    refused(folder, "1.png .*the image is 40 x 30 pixels, but its annotation is for 80 x 60")


def test_annotations_of_the_stored_pixels_are_turned_with_the_image(folder):
    """The camera was held upright: the stored left edge is the upper edge of the image."""
    file = folder / "photos/test/cat/13.png"
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:15, :20] = 255  # the polygon's place
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, exif=exif)
    data = load(folder, resize="whole", background="black")
    row = int((data.test.images.flatten(2).amin(1).amax(1) > 250).nonzero()[0])  # the white one
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[:12, 12:21] = True  # the upper right quarter of 18 x 24 pixels
    assert torch.equal(masks(data, "cat")[row], expected)
    assert torch.equal(data.test.images[row].amin(0) > 127, expected)


def test_only_annotated_images_judge(folder):
    edit(folder, lambda c: c["annotations"].__delitem__(slice(36, 42)))  # two test images
    data = load(folder, annotated=["animal", "part"])
    assert len(data.test) == 10 and len(data.train) == 10
    assert "2 test images have no annotation of 'animal'; left out" in data.notes
    refused(folder, "no concept 'animl'; did you mean 'animal'", annotated=["animl"])


def test_the_concept_of_every_class(folder):
    assert load(folder, class_concept="ear").test.concepts.of_class == (2, 2)
    refused(folder, "class_concept: there is no concept 'eer'", class_concept="eer")


def flat(place, count=12):
    """A flat folder: cats are larger in the first half of the images, dogs in the second."""
    images, annotations = [], []
    for k in range(count):
        is_cat = k < count // 2
        write_image(place / f"{k}.png", RED if is_cat else BLUE, shade=k)
        images.append((k, f"{k}.png", 40, 30))
        large, small = [0, 0, 30, 30], [30, 0, 10, 10]
        annotations.append(annotation(2 * k, k, 7, bbox=large if is_cat else small))
        annotations.append(annotation(2 * k + 1, k, 3, bbox=small if is_cat else large))
    return images, annotations


@pytest.mark.parametrize("below", ["", "images"])
def test_a_flat_folder_is_labelled_by_what_covers_most(tmp_path, below):
    images, annotations = flat(tmp_path / "photos" / below)
    write_image(tmp_path / "photos" / below / "empty.png", (9, 9, 9))
    write_json(tmp_path / "photos/labels.json", images, annotations)
    refused(tmp_path, r"annotations.json is missing: .*there are labels.json")
    data = load(tmp_path, annotations="labels.json", validation=1)
    assert data.class_names == ("cat", "dog")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [9, 1, 2]
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.images[:, 0, 12, 12] > 200, split.labels == 0)
    assert "1 images show no category of the training images; left out" in data.notes


def test_cocos_own_layout(tmp_path):
    place = tmp_path / "photos"
    for split in ("train2017", "val2017"):
        images, annotations = flat(place / split, 12 if split == "train2017" else 6)
        for number, *_ in images:  # no two images are equal
            shift = 0 if split == "train2017" else 20
            write_image(place / split / f"{number}.png", RED if number < len(images) / 2 else BLUE,
                        shade=number + shift)  # fmt: skip
        write_json(place / f"annotations/instances_{split}.json", images, annotations)
    data = load(tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [10, 2, 6]
    (place / "annotations/instances_val2017.json").unlink()
    with pytest.raises(DataMissing, match=r"instances_val2017.json is missing; it comes from"):
        load(tmp_path)


def test_files_that_are_not_coco(folder):
    file = folder / "photos/annotations.json"
    for text, message in (("", "incomplete|parse"), ("{", "."), ('{"images": [{}]}', "KeyError"),
                          ("[]", "lists no images")):  # fmt: skip
        file.write_text(text)
        refused(folder, message)


def test_missing_data_says_where_it_comes_from(tmp_path):
    with pytest.raises(DataMissing, match=r"coco/? ?is missing; it comes from https://coco"):
        coco(tmp_path)


def test_two_categories_of_one_name_are_told_apart(folder):
    edit(folder, lambda c: c["categories"][2].update(name="nose"))
    assert load(folder).test.concepts.names == (
        "cat", "dog", "nose (part)", "nose (keypoints)",
    )  # fmt: skip


def test_the_images_licence_is_declared(folder):
    data = load(folder, licence="CC BY 4.0", publish=True)
    assert data.licence == "CC BY 4.0" and data.publishable
    assert not load(folder).publishable


def test_every_recipe_keeps_the_masks_on_the_image(folder):
    """A white rectangle is the cat's mask, whatever the recipe."""
    edit(folder, lambda c: [a.update(segmentation=[[8, 9, 32, 9, 32, 24, 8, 24]])
                            for a in c["annotations"][::3]])  # fmt: skip
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[9:24, 8:32] = 255
    Image.fromarray(pixels).save(folder / "photos/test/cat/13.png")
    for resize in ("centre", "short", "whole"):
        data = load(folder, resize=resize, background="black", size=40)
        row = int((data.test.images[:, :, 20, 20].amin(1) == 255).nonzero()[0])
        bright = data.test.images[row, 1] > 127
        differ = (masks(data, "cat")[row] != bright).sum()
        assert differ <= 4, resize
