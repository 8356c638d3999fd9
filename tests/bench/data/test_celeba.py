"""CelebA and CelebAMask-HQ in miniature."""

import pytest
import torch
from photograph_files import square, write_celeba, write_celeba_masks

from legible.bench.data.base import DataMissing
from legible.bench.data.celeba import celeba


@pytest.fixture
def folder(tmp_path):
    write_celeba(tmp_path / "celeba")
    return tmp_path


def load(root, **params):
    return celeba(root, **{"size": 30, "verify": False, **params})


def test_landmarks_are_points_and_an_attribute_is_the_class(folder):
    data = load(folder, attributes=["Wearing_Hat"])
    assert data.class_names == ("not Smiling", "Smiling")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [4, 4, 4]
    assert torch.equal(data.test.images[:, 0, 15, 15] > 200, data.test.labels == 1)
    concepts = data.test.concepts
    assert concepts.names == (
        "left eye", "right eye", "nose", "left mouth corner", "right mouth corner", "Wearing Hat",
    )  # fmt: skip
    assert data.extents == (*["point"] * 5, "image")
    masks = concepts.masks()
    assert masks[0, 0, 11:13, 4:6].all() and masks[0, 0].sum() == 4  # (10, 12), less 5 at the left
    whole = masks[:, 5].flatten(1)
    assert torch.equal(whole.all(1), whole.any(1)) and whole.all(1).sum() == 2  # two of four hats
    assert not data.publishable


def test_the_lists_may_lie_in_one_folder(folder):
    before = load(folder).fingerprint()
    place = folder / "celeba"
    for file in [*place.rglob("*.txt"), place / "Img/img_align_celeba"]:
        file.rename(place / file.name)
    assert load(folder).fingerprint() == before


def test_masks_of_half_the_size(folder):
    write_celeba_masks(folder / "CelebAMask-HQ")
    data = load(folder, size=16)
    assert data.test.concepts.names == ("left eye",) and data.extents == ("mask",)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [4, 4, 4]
    assert torch.equal(data.test.images[:, 0, 8, 8] > 200, data.test.labels == 1)
    eye = torch.tensor(square(16, 16, (4, 4, 8, 8))).bool()
    assert all(torch.equal(mask, eye) for mask in data.test.concepts.masks()[:, 0])
    assert len(load(folder, masks="").test.concepts.names) == 5  # landmarks again


def test_fewer_images(folder):
    data = load(folder, limit=3, limit_test=2)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [3, 2, 2]


def test_counts_checksums_and_missing_files(folder, monkeypatch):
    with pytest.raises(DataMissing, match="12 images instead of 202599"):
        celeba(folder)
    monkeypatch.setattr("legible.bench.data.celeba.check_number", lambda *_: None)
    with pytest.raises(DataMissing, match=r"list_\w+.txt is damaged or another version \(MD5"):
        celeba(folder)
    with pytest.raises(ValueError, match="no attribute 'Smilling'; did you mean 'Smiling'"):
        load(folder, target="Smilling")
    (folder / "celeba/Anno/list_attr_celeba.txt").unlink()
    with pytest.raises(DataMissing, match=r"list_attr_celeba.txt is missing; it comes from https"):
        load(folder)


def test_an_image_that_is_in_no_list(folder):
    place = folder / "celeba/Img/img_align_celeba"
    (place / "000001.jpg").rename(place / "999999.jpg")
    with pytest.raises(ValueError, match=r"1 images are not in the lists, the first: .*999999.jpg"):
        load(folder)
