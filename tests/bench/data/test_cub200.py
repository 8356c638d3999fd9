"""CUB-200-2011 in miniature."""

import numpy as np
import pytest
import torch
from photograph_files import square, write_cub
from PIL import Image

from legible.bench.data.base import DataMissing
from legible.bench.data.cub200 import cub200


def load(root, **params):
    return cub200(root, size=30, verify=False, validation=1, **params)


def test_parts_are_points_and_the_bird_is_a_mask(tmp_path):
    write_cub(tmp_path / "CUB_200_2011")
    data = load(tmp_path)
    assert data.class_names == ("Laysan Albatross", "Crow")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 1, 8]
    assert torch.equal(data.test.images[:, 0, 15, 15] > 200, data.test.labels == 0)
    concepts = data.test.concepts
    assert concepts.names == ("bird", "beak") and data.extents == ("mask", "point")
    assert concepts.of_class == (0, 0) and concepts.landmark == (True, True)
    bird, beak = concepts.masks()[0]
    assert torch.equal(bird, torch.tensor(square(30, 30, (5, 5, 25, 25))).bool())
    assert beak[14:16, 14:16].all() and beak.sum() == 4
    assert "concepts without pixels, left out: back" in data.notes
    assert not data.publishable and "non-commercial" in data.licence


def test_without_segmentations_the_bird_is_a_box(tmp_path):
    write_cub(tmp_path / "CUB_200_2011", masks=False)
    data = load(tmp_path)
    assert data.extents == ("box", "point")
    assert torch.equal(
        data.test.concepts.masks()[0, 0], torch.tensor(square(30, 30, (5, 5, 25, 25))).bool()
    )


def test_a_segmentation_with_an_alpha_channel(tmp_path):
    write_cub(tmp_path / "CUB_200_2011")
    before = load(tmp_path).fingerprint()
    for file in (tmp_path / "segmentations").rglob("*_0001.png"):
        grey = np.asarray(Image.open(file))
        Image.fromarray(np.stack([grey, 0 * grey + 255], -1)).save(file)
    assert load(tmp_path).fingerprint() == before


def test_counts_and_missing_files(tmp_path):
    with pytest.raises(DataMissing, match=r"CUB_200_2011 is missing; it comes from https://www"):
        cub200(tmp_path)
    write_cub(tmp_path / "CUB_200_2011")
    with pytest.raises(DataMissing, match=r"16 images instead of 11788.*verify = false"):
        cub200(tmp_path)
    (tmp_path / "CUB_200_2011/parts/part_locs.txt").unlink()
    with pytest.raises(DataMissing, match=r"parts/part_locs.txt is missing"):
        load(tmp_path)


def test_an_image_that_is_listed_but_not_there(tmp_path):
    write_cub(tmp_path / "CUB_200_2011")
    next((tmp_path / "CUB_200_2011/images").rglob("*.jpg")).unlink()
    with pytest.raises(ValueError, match=r"cannot read .*\.jpg"):
        load(tmp_path)
