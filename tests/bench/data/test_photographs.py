"""Datasets of photographs: decoding, splits, and what is declared."""

import numpy as np
import pytest
import torch
from photograph_files import BLUE, RED, square, write_coco, write_image
from PIL import Image

from legible.bench.data import photographs as module
from legible.bench.data.base import DataMissing
from legible.bench.data.coco import coco
from legible.bench.data.framing import read_sizing
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    arrange,
    check_number,
    decode,
    extent_notes,
    find_place,
    pictures_allowed,
    random_parts,
    unique_names,
)
from legible.bench.data.planted import planted
from legible.bench.data.regions import NOTHING, Region

SIZING = read_sizing(20, "centre", "grey")


@pytest.fixture
def files(tmp_path):
    names = [tmp_path / f"{k}.png" for k in range(3)]
    for k, file in enumerate(names):
        write_image(file, (RED, BLUE)[k % 2], shade=k)
    return names


def plan(files, regions, concepts, **fields):
    splits = {
        split: [Photograph(file, k % 2, lambda: regions)]
        for k, (split, file) in enumerate(zip(module.SPLITS, files, strict=True))
    }
    return PhotographPlan(("a", "b"), splits, concepts, **fields)


def test_concepts_without_pixels_are_left_out_and_said(files):
    regions = [Region(1, "mask", square(40, 30, (10, 10, 20, 20)).astype(bool))]
    concepts = (("none", "x"), ("some", "y"))
    entry = decode(plan(files, regions, concepts, of_class=(0, 1)), SIZING)
    assert entry.notes["names"] == ["some"] and entry.notes["of_class"] == [-1, 0]
    assert entry.notes["notes"] == ["concepts without pixels, left out: none"]
    assert entry.tensors["train.packed"].shape == (1, 1, 20, 3)


@pytest.mark.parametrize(
    ("twice", "absent", "expected"), [(0, 0, True), (1, 0, True), (2, 0, False), (1, 1, False)]
)
def test_a_landmark_occurs_once_in_nearly_all_images_that_show_it(
    tmp_path, twice, absent, expected
):
    eye = Region(0, "point", np.array([20.0, 15]))
    regions = [[eye, eye]] * twice + [[]] * absent + [[eye]] * (20 - twice - absent)
    files = [tmp_path / f"{k}.png" for k in range(20)]
    for k, file in enumerate(files):
        write_image(file, (RED, BLUE)[k % 2], shade=k)
    photographs = [Photograph(file, k % 2, lambda k=k: regions[k]) for k, file in enumerate(files)]
    splits = {"train": photographs[:6], "validation": photographs[6:8], "test": photographs[8:]}
    several = PhotographPlan(("a", "b"), splits, (("eye", "x"),))
    assert decode(several, SIZING).notes["landmark"] == [expected]


def test_what_has_no_place_of_its_own_is_no_landmark(files):
    once = [Region(0, "point", np.array([20.0, 15]))]
    assert decode(plan(files, once, (("eye", "x"),)), SIZING).notes["landmark"] == [True]
    entry = decode(plan(files, once, (("eye", "x"),), instances=False), SIZING)
    assert entry.notes["landmark"] == [False]
    entry = decode(plan(files, [Region(0, "image", NOTHING)], (("smiling", "x"),)), SIZING)
    assert entry.notes["landmark"] == [False]


def test_a_concept_may_have_several_extents(files):
    regions = [Region(0, "box", np.array([10.0, 5, 20, 15])), Region(0, "image", NOTHING)]
    entry = decode(plan(files, regions, (("thing", "x"),)), SIZING)
    assert entry.notes["extents"] == ["box+image"]


def test_images_without_annotation_are_said(files):
    entry = decode(plan(files, [], (("thing", "x"),)), SIZING)
    assert entry.notes["notes"][1].startswith("3 of 3 images have no annotation")
    assert "train.packed" not in entry.tensors


def test_a_mask_of_another_size_names_its_image(files):
    regions = [Region(0, "mask", np.ones((10, 10), bool))]
    with pytest.raises(ValueError, match=r"cannot read .*0.png \(the image is 40 x 30 pixels, but"):
        decode(plan(files, regions, (("thing", "x"),)), SIZING)


def test_images_that_do_not_fit_in_memory_are_refused_before_any_is_read(files, monkeypatch):
    monkeypatch.setattr(module, "_decode", lambda *_: 1 / 0)
    monkeypatch.setattr("legible.bench.data.parameter_checks.memory_limit", lambda: 5000.0)
    with pytest.raises(ValueError, match=r"3 images of 20 x 20 pixels need about .* GiB"):
        decode(plan(files, [], (("thing", "x"),) * 80), SIZING)


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "P", "RGBA"])
def test_images_of_every_kind(files, mode, tmp_path):
    file = tmp_path / ("0.tif" if mode == "CMYK" else "0.png")
    image = Image.new("RGB", (40, 30), RED)
    if mode == "I;16":
        Image.fromarray(np.full((30, 40), 65535, np.uint16)).save(file)
    else:
        image.convert(mode).save(file)
    entry = decode(plan([file, *files[1:]], [], ()), SIZING)
    pixel = entry.tensors["train.images"][0, :, 10, 10].tolist()
    expected = {"I;16": [255] * 3, "L": [75] * 3}.get(mode, [250, 0, 0])
    assert np.abs(np.subtract(pixel, expected)).max() <= 5


def test_broken_and_enormous_images_are_named(files, monkeypatch):
    files[0].write_bytes(files[0].read_bytes()[:60])
    files[1].write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot read .*0.png") as error:
        decode(plan(files, [], ()), SIZING)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    write_image(files[0])
    with pytest.raises(ValueError, match="too many pixels: make it smaller"):
        decode(plan(files, [], ()), SIZING)


def photographs(count):
    return [Photograph(f"{k}.png", k % 3) for k in range(count)]


def test_splits_are_shuffled_and_every_class_stays_in_training():
    parts = arrange(photographs(30), photographs(9), validation=12, limit=None, seed=0)
    assert [len(parts[s]) for s in module.SPLITS] == [18, 12, 9]
    assert {p.label for p in parts["train"]} == {0, 1, 2}
    assert parts["test"] != photographs(9) and sorted(parts["test"]) == sorted(photographs(9))
    again = arrange(photographs(30), photographs(9), validation=12, limit=5, seed=0)
    assert again["train"] == parts["train"][:5]
    with pytest.raises(ValueError, match="validation must be at most 27, not 28"):
        arrange(photographs(30), photographs(9), validation=28, limit=None, seed=0)


def test_a_fifth_is_for_the_test():
    train, test = random_parts(photographs(30), seed=1)
    assert len(test) == 6 and sorted(train + test) == sorted(photographs(30))


def test_names_are_unique():
    concepts = [("nose", "part"), ("nose", "keypoints"), ("ear", "part"), ("nose", "part")]
    assert unique_names(concepts) == ["nose (part)", "nose (keypoints)", "ear", "nose (part) 2"]
    assert unique_names([("a\nb", "c"), ("", "c")]) == ["a b", "unnamed"]


def test_what_is_decoded_is_cached_and_changes_are_seen(tmp_path, monkeypatch):
    write_coco(tmp_path / "photos")
    before = coco(tmp_path, path="photos", size=16, validation=1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "decode", lambda *_: 1 / 0)
        again = coco(tmp_path, path="photos", size=16, validation=1)
    assert again.fingerprint() == before.fingerprint() and again.notes == before.notes
    assert again.files == before.files
    write_image(tmp_path / "photos/train/cat/1.png", (0, 250, 0))
    after = coco(tmp_path, path="photos", size=16, validation=1)
    assert after.fingerprint() != before.fingerprint() and after.files != before.files


def test_only_photographs_that_say_so_may_be_shown(tmp_path):
    write_coco(tmp_path / "photos")
    data = coco(tmp_path, path="photos", size=16, validation=1)
    assert not pictures_allowed(data)
    assert pictures_allowed(coco(tmp_path, path="photos", size=16, validation=1, publish=True))
    drawn = planted(tmp_path, train=24, validation=12, test=12)
    assert pictures_allowed(drawn) and extent_notes(drawn) == []
    assert data.few(2, 0).extents == data.extents and torch.equal(
        data.to("cpu").test.images, data.test.images
    )


def test_what_is_missing_is_one_line(tmp_path):
    (tmp_path / "cub").mkdir()
    with pytest.raises(DataMissing, match=r"cub/parts is missing; it comes from https://x; set "):
        find_place("cub", tmp_path, "cub", ["parts"], "https://x")
    assert find_place("cub", tmp_path, str(tmp_path / "cub"), [], "") == tmp_path / "cub"
    check_number("cub", "images", 3, 4, verify=False)
    with pytest.raises(DataMissing, match="cub has 3 images instead of 4"):
        check_number("cub", "images", 3, 4, verify=True)
