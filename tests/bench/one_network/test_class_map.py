"""Class maps: outputs of a head for each class of the data, from files and by name."""

from __future__ import annotations

import json

import pytest
import torch

from legible.bench.errors import UserError
from legible.bench.one_network.class_map import (
    JoinedOutputs,
    join_by_name,
    join_classes,
    read_class_map,
)

CLASSES = ("cat", "dog")
HEAD = ("tabby cat", "beagle", "Great_Dane", "crane", "crane")


def test_csv_and_json_say_the_same(tmp_path):
    (tmp_path / "map.csv").write_text("class,output\ncat,0\ndog,1-2\ndog,beagle\n")
    (tmp_path / "map.json").write_text(json.dumps({"cat": 0, "dog": ["1-2", "beagle"]}))
    expected = {"cat": [0], "dog": [1, 2, "beagle"]}
    assert read_class_map(tmp_path / "map.csv") == expected
    assert read_class_map(str(tmp_path / "map.json")) == expected
    assert read_class_map({"cat": 0, "dog": ["1-2", "beagle"]}) == expected


def test_outputs_are_numbers_or_names():
    groups = join_classes({"dog": ["beagle", "great dane"], "cat": [0]}, CLASSES, 5, HEAD)
    assert groups == ((0,), (1, 2))


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"cat": [0], "dgo": [1]}, "the data has no class 'dgo'; did you mean 'dog'"),
        ({"cat": [0]}, "class 'dog' of the data is missing"),
        ({"cat": ["taby cat"], "dog": [1]}, "no output 'taby cat'; did you mean 'tabby cat'"),
        ({"cat": [5], "dog": [1]}, "the head has no output 5: it has 5, from 0"),
        ({"cat": [1], "dog": ["beagle"]}, "output 1 stands for 'cat' and for 'dog'"),
        ({"cat": ["crane"], "dog": [1]}, r"outputs \[3, 4\] are all named 'crane'"),
    ],
)
def test_what_does_not_fit_is_named(class_map, message):
    with pytest.raises(UserError, match=message):
        join_classes(class_map, CLASSES, 5, HEAD)


def test_without_names_of_outputs_numbers_are_needed():
    with pytest.raises(UserError, match="give the number of 'beagle'"):
        join_classes({"cat": [0], "dog": ["beagle"]}, CLASSES, 5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", "[1", "is not JSON"),
        ("m.json", "[1]", "must be an object"),
        ("m.json", '{"cat": 1.5}', "'cat' must have numbers or names"),
        ("m.json", '{"cat": []}', "'cat' has no output"),
        ("m.csv", "cat,1,2\n", "line 1 must be class,output"),
    ],
)
def test_a_file_that_is_no_class_map_is_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_class_map(tmp_path / name)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="No such file"):
        read_class_map(tmp_path / "none.csv")


def test_classes_are_joined_by_name_only_if_all_have_one():
    assert join_by_name(("great dane", "Beagle"), HEAD) == ((2,), (1,))
    assert join_by_name(("beagle", "cow"), HEAD) is None
    assert join_by_name(CLASSES, ()) is None


def test_the_logit_of_a_class_is_the_largest_of_its_outputs():
    logits = torch.tensor([[1.0, 5, 2, 9], [4, 0, 3, -1]])
    assert JoinedOutputs(((0,), (1, 2)))(logits).tolist() == [[1, 5], [4, 3]]
    assert JoinedOutputs(((3,), (0,)))(logits).tolist() == [[9, 1], [-1, 4]]
