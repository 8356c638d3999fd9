"""PASCAL-Part in miniature."""

import pytest
import torch
from photograph_files import square, write_voc_parts

from legible.bench.data.base import DataMissing
from legible.bench.data.voc_parts import read_objects, voc_parts


@pytest.fixture
def folder(tmp_path):
    write_voc_parts(tmp_path / "VOCdevkit/VOC2010")
    return tmp_path


def load(root, **params):
    return voc_parts(root, size=30, verify=False, validation=1, **params)


def test_objects_and_parts_are_masks(folder):
    data = load(folder)
    assert data.class_names == ("cat", "dog")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 1, 8]
    assert torch.equal(data.test.images[:, 0, 15, 15] > 200, data.test.labels == 0)
    concepts = data.test.concepts
    assert concepts.names == ("cat", "dog", "head") and concepts.of_class == (0, 1)
    assert concepts.categories == ("object", "object", "part") and set(data.extents) == {"mask"}
    masks = concepts.masks()
    whole, head = square(30, 30, (5, 5, 25, 25)), square(30, 30, (5, 5, 15, 15))
    for label, mask in zip(data.test.labels.tolist(), masks, strict=True):
        assert torch.equal(mask[label], torch.tensor(whole).bool()) and not mask[1 - label].any()
    with_head = masks[:, 2].flatten(1).any(1)
    assert with_head.sum() == 6
    assert torch.equal(masks[with_head][0, 2], torch.tensor(head).bool())


def test_parts_by_class_and_chosen_classes(folder):
    assert load(folder, per_class=True).test.concepts.names == (
        "cat", "dog", "cat head", "dog head",
    )  # fmt: skip
    with pytest.raises(ValueError, match="must be two"):
        load(folder, classes=["cat"])
    with pytest.raises(ValueError, match="no object 'catt'; did you mean 'cat'"):
        load(folder, classes=["catt", "dog"])


def test_annotations_beside_the_devkit(folder):
    (folder / "VOCdevkit/VOC2010/Annotations_Part").rename(folder / "Annotations_Part")
    assert len(load(folder).test) == 8
    with pytest.raises(DataMissing, match="elsewhere is missing; it comes from http://roozbehm"):
        load(folder, annotations="elsewhere")


def test_counts_and_missing_files(folder, tmp_path):
    with pytest.raises(DataMissing, match="16 annotations instead of 10103"):
        voc_parts(folder)
    with pytest.raises(DataMissing, match="nowhere is missing"):
        voc_parts(folder, path="nowhere")


def test_a_damaged_annotation(folder):
    file = next((folder / "VOCdevkit/VOC2010/Annotations_Part").glob("*train*.mat"))
    file.write_bytes(b"not a mat file")
    with pytest.raises(ValueError, match=r"cannot read .*\.mat .*is not PASCAL-Part's") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_one_object_without_parts(folder):
    file = folder / "VOCdevkit/VOC2010/Annotations_Part/2008_train_000007.mat"
    ((name, mask, parts),) = read_objects(file)
    assert (name, int(mask.sum()), parts) == ("dog", 400, [])
