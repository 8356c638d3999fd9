"""ImageNet's layout of 2012 in miniature."""

import pytest
import torch
from photograph_files import write_imagenet

from legible.bench.data.base import DataMissing
from legible.bench.data.imagenet import imagenet, names_of


def load(root, **params):
    return imagenet(root, **{"size": 16, "shift": 2, "verify": False, "validation": 1, **params})


@pytest.mark.parametrize("folders", [False, True])
def test_the_devkit_gives_names_and_labels(tmp_path, folders):
    """Classes are sorted by WNID; the devkit numbers them otherwise."""
    write_imagenet(tmp_path / "imagenet", folders=folders)
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog") and data.test.concepts is None
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 1, 8]
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.images[:, 0, 8, 8] > 200, split.labels == 1)
    assert not data.publishable


def test_fewer_classes_and_images(tmp_path):
    write_imagenet(tmp_path / "imagenet")
    data = load(tmp_path, classes=["hound", "n01"], per_class=2, per_class_test=3)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [3, 1, 6]
    with pytest.raises(ValueError, match="no class 'hund'; did you mean 'hound'"):
        load(tmp_path, classes=["hund", "cat"])
    with pytest.raises(ValueError, match="at least two"):
        load(tmp_path, classes=["cat"])


def test_counts_and_missing_files(tmp_path):
    with pytest.raises(DataMissing, match=r"imagenet is missing; it comes from https://image-net"):
        imagenet(tmp_path)
    write_imagenet(tmp_path / "imagenet")
    with pytest.raises(DataMissing, match="2 classes instead of 1000"):
        imagenet(tmp_path)
    next((tmp_path / "imagenet/val").glob("*.JPEG")).unlink()
    with pytest.raises(DataMissing, match="val has 7 images, but the devkit lists 8"):
        load(tmp_path)
    (tmp_path / "imagenet/ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"")
    with pytest.raises(ValueError, match="is not the devkit's"):
        load(tmp_path)


def test_two_classes_of_one_name():
    synsets = {"n1": ["crane", "bird"], "n2": ["crane"], "n3": ["cat"]}
    assert names_of(synsets, ["n1", "n2", "n3"]) == ["crane (n1)", "crane (n2)", "cat"]
