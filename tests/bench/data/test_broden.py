"""Broden in miniature."""

import pytest
import torch
from photograph_files import square, write_broden

from legible.bench.data.base import DataMissing
from legible.bench.data.broden import broden


@pytest.fixture
def folder(tmp_path):
    write_broden(tmp_path / "broden1_224")
    return tmp_path


def load(root, **params):
    return broden(root, **{"size": 16, "verify": False, "validation": 1, **params})


def test_pixels_parts_and_whole_images(folder):
    data = load(folder)
    assert data.class_names == ("street", "room")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 1, 8]
    assert torch.equal(data.test.images[:, 0, 8, 8] > 200, data.test.labels == 0)
    concepts = data.test.concepts
    assert concepts.names == ("woven", "sky", "wing")
    assert concepts.categories == ("texture", "object", "part")  # a wing is a part 14 times of 16
    assert data.extents == ("image", "mask", "mask")
    woven, sky, wing = concepts.masks()[0]
    assert woven.all()
    assert torch.equal(sky, torch.tensor(square(16, 16, (0, 0, 8, 16))).bool())
    assert torch.equal(wing, torch.tensor(square(16, 16, (0, 0, 8, 4))).bool())
    assert not data.publishable


def test_chosen_concepts(folder):
    assert load(folder, concepts=2).test.concepts.names == ("woven", "sky")
    assert load(folder, categories=["part"]).test.concepts.names == ("wing",)
    with pytest.raises(ValueError, match="categories must be one of"):
        load(folder, categories=["parts"])
    with pytest.raises(ValueError, match="1 labels of 'texture'; there must be two"):
        load(folder, target="texture")


def test_counts_and_missing_files(folder):
    with pytest.raises(DataMissing, match="16 images instead of 63305"):
        broden(folder)
    (folder / "broden1_224/label.csv").unlink()
    with pytest.raises(DataMissing, match=r"label.csv is missing; it comes from http://netdissect"):
        load(folder)


def test_a_map_that_is_not_there_or_has_no_colours(folder):
    file = next((folder / "broden1_224/images").rglob("train*_object.png"))
    file.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*_object.png"):
        load(folder)


def test_an_index_that_is_not_brodens(folder):
    (folder / "broden1_224/index.csv").write_text("image,split\na.jpg,train\n")
    with pytest.raises(ValueError, match="is not Broden's index") as error:
        load(folder)
    assert "\n" not in str(error.value)
