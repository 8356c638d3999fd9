"""Checks of what the loader of a dataset returns: refused by name, in one line."""

import numpy as np
import pytest
import torch
from tiny_suites import toy_suite

from legible.bench.data.base import DATASETS, DataMissing, Dataset, Split, make_splits
from legible.bench.data.dataset_checks import LONGEST_MESSAGE, load_dataset, refuse_dataset
from legible.bench.errors import UserError
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import read_suite
from legible.metrics.network import Concepts


def part(count, seed, concepts=True):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 8, 10), dtype=torch.uint8, generator=generator)
    masks = torch.rand(count, 2, 8, 10, generator=generator) < 0.5
    packed = Concepts.pack(masks, ["head", "tail"], ["part"] * 2, [True, False], [0, 1, -1])
    return images, torch.arange(count) % 3, packed if concepts else None


@pytest.fixture(params=[True, False], ids=["concepts", "plain"])
def data(request):
    counts = {"train": 12, "validation": 5, "test": 7}
    parts = {name: part(n, n, request.param) for name, n in counts.items()}
    return Dataset("mine", ("a", "b", "ü [c]"), **make_splits(parts, 3))


def change(item, **fields):
    """Sets fields of a frozen dataclass, without the checks of its constructor."""
    for name, value in fields.items():
        object.__setattr__(item, name, value)


def refusal(data):
    with pytest.raises(ValueError) as error:
        refuse_dataset("mine", data)
    text = str(error.value)
    assert text.startswith("dataset 'mine': ") and "\n" not in text and len(text) < 500
    return text.removeprefix("dataset 'mine': ")


def test_a_sound_dataset_is_returned(data):
    assert load_dataset("mine", lambda: data) is data


@pytest.mark.parametrize("value", [None, [], {}, (1, 2), "mine"])
def test_what_is_no_dataset(value):
    assert refusal(value) == f"returns a {type(value).__name__}, not a Dataset"


SPLITS = ("train", "validation", "test")
IMAGES = [
    ("float", lambda x: x.float() / 255, "images must be uint8 of shape (images, channels, "),
    ("int64", lambda x: x.long(), "not int64 of shape"),
    ("no channels", lambda x: x[:, 0], "not uint8 of shape"),
    ("five axes", lambda x: x[None], "not uint8 of shape"),
    ("array", lambda x: x.numpy(), "images are a ndarray, not a tensor"),
    ("list", lambda x: list(x), "images are a list, not a tensor"),
    ("none", lambda x: None, "images are a NoneType, not a tensor"),
    ("fewer", lambda x: x[:-1], "images but"),
    ("more", lambda x: torch.cat([x, x]), "images but"),
    ("no pixels", lambda x: x[..., :0], "have no pixels"),
    ("meta", lambda x: x.to("meta"), "must be a dense tensor with data"),
]
LABELS = [
    ("negative", lambda y: y - 1, "labels are from -1 to 1, but must be from 0 to 2"),
    ("too high", lambda y: y + 1, "labels are from 1 to 3, but must be from 0 to 2"),
    ("huge", lambda y: y * 10**18, "must be from 0 to 2"),
    ("float", lambda y: y.float(), "labels must be int64 of shape (images), not float32"),
    ("bool", lambda y: y > 0, "not bool"),
    ("int32", lambda y: y.int(), "not int32"),
    ("one hot", lambda y: torch.eye(3).long()[y], "labels must be int64 of shape (images)"),
    ("column", lambda y: y[:, None], "labels must be int64 of shape (images)"),
    ("fewer", lambda y: y[:-1], "images but"),
    ("more", lambda y: torch.cat([y, y]), "images but"),
    ("list", lambda y: y.tolist(), "labels are a list, not a tensor"),
]


@pytest.mark.parametrize("split", SPLITS)
class TestSplits:
    @pytest.mark.parametrize(("edit", "message"), [case[1:] for case in IMAGES],
                             ids=[case[0] for case in IMAGES])  # fmt: skip
    def test_images(self, data, split, edit, message):
        item = getattr(data, split)
        change(item, images=edit(item.images))
        text = refusal(data)
        assert text.startswith(split) and message in text

    @pytest.mark.parametrize(("edit", "message"), [case[1:] for case in LABELS],
                             ids=[case[0] for case in LABELS])  # fmt: skip
    def test_labels(self, data, split, edit, message):
        item = getattr(data, split)
        change(item, labels=edit(item.labels))
        text = refusal(data)
        assert text.startswith(split) and message in text

    def test_an_empty_split(self, data, split):
        change(data, **{split: getattr(data, split).subset(torch.arange(0))})
        assert refusal(data) == f"{split} has no images"

    @pytest.mark.parametrize("value", [None, 3, (1, 2)])
    def test_no_split(self, data, split, value):
        change(data, **{split: value})
        assert refusal(data) == f"{split} is a {type(value).__name__}, not a Split"

    @pytest.mark.parametrize("classes", [2, 4, 3.0, None, True])
    def test_another_number_of_classes(self, data, split, classes):
        change(getattr(data, split), classes=classes)
        assert f"{split}: classes is {classes!r}, but there are 3 class names" in refusal(data)

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("mean", 0.5, "mean are a float, not a tensor"),
            (
                "mean",
                torch.zeros(3).double(),
                "mean must be float32 of shape (channels), not float64 of shape (3)",
            ),
            ("mean", torch.zeros(1), "mean has 1 values for 3 channels"),
            ("mean", torch.full((3,), torch.nan), "mean is not finite"),
            ("std", torch.full((3,), torch.inf), "std is not finite"),
            ("std", torch.zeros(3), "std must be above 0"),
            (
                "std",
                torch.zeros(3, 1, 1),
                "std must be float32 of shape (channels), not float32 of shape (3, 1, 1)",
            ),
        ],
    )
    def test_normalisation(self, data, split, field, value, message):
        change(getattr(data, split), **{field: value})
        assert refusal(data) == f"{split}: {message}"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_splits_that_differ(data, split):
    item = getattr(data, split)
    images = item.images
    change(item, images=images[..., :8, :8].clone(), concepts=None)
    assert refusal(data) == f"images of {split} are 3 x 8 x 8, those of train 3 x 8 x 10"
    change(item, images=images[:, :1].clone(), mean=item.mean[:1], std=item.std[:1])
    assert refusal(data) == f"images of {split} are 1 x 8 x 10, those of train 3 x 8 x 10"
    change(item, images=images, mean=data.train.mean + 1, std=data.train.std)
    assert refusal(data) == f"mean of {split} differs from that of train"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), "classes is 3, but there are 2 class names"),
        ((*"abcd",), "classes is 3, but there are 4 class names"),
        ((), "there must be at least two classes"),
        (("only",), "there must be at least two classes"),
        ("abc", "class names must be a tuple of text"),
        (None, "class names must be a tuple of text"),
        (("a", "b", 3), "class name 3 is not text"),
        (("a", "b", "a"), "class name 'a' occurs twice"),
        (("a", "b", ""), "class name '' must be one line of 1 to 100 characters"),
        (("a", "b", "c\nd"), r"class name 'c\nd' must be one line"),
        (("a", "b", "\ud800"), r"class name '\ud800' must be one line"),
        (("a", "b", "\x1b[31m"), "must be one line"),
        (("a", "b", "c" * 300), "must be one line of 1 to 100 characters"),
    ],
)
def test_class_names(data, names, message):
    change(data, class_names=names)
    assert message in refusal(data)


def test_a_class_without_training_images(data):
    change(data.train, labels=data.train.labels.clamp(max=1))
    assert refusal(data) == "train has no image of class 'ü [c]'"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shift": -1}, "shift must be a whole number from 0 to 7"),
        ({"shift": 8}, "shift must be a whole number from 0 to 7"),
        ({"shift": 1.5}, "shift must be a whole number from 0 to 7"),
        ({"flip": 1}, "flip must be True or False"),
        ({"drawn": None}, "drawn must be True or False"),
        ({"attribution": None}, "attribution must be a line of text"),
        ({"attribution": "a\nb"}, "attribution must be a line of text"),
        ({"name": 3}, "name must be a line of text"),
    ],
)
def test_other_fields(data, fields, message):
    change(data, **fields)
    assert refusal(data) == message


@pytest.mark.parametrize("data", [True], indirect=True)
@pytest.mark.parametrize("split", SPLITS)
class TestConcepts:
    @pytest.mark.parametrize(
        ("field", "edit", "message"),
        [
            ("names", lambda v: v[:1], "2 concept masks but 1 names"),
            ("names", lambda v: (*v, "more"), "2 concept masks but 3 names"),
            ("names", lambda v: ("head", "head"), "name 'head' occurs twice"),
            ("names", lambda v: ("head", 3), "name 3 is not text"),
            ("categories", lambda v: v[:1], "2 concept masks but 1 categories"),
            ("categories", lambda v: (1, 2), "concepts.categories must be text"),
            ("landmark", lambda v: v[:1], "2 concept masks but 1 landmark"),
            ("landmark", lambda v: (1, 0), "must be True or False for each concept"),
            ("packed", lambda v: v[:-1], "has concept masks of"),
            ("packed", lambda v: torch.cat([v, v]), "has concept masks of"),
            ("packed", lambda v: v[:, :1], "1 concept masks but 2 names"),
            (
                "packed",
                lambda v: v[:, :, :4],
                "concept masks of 4 x 10 pixels for images of 8 x 10",
            ),
            ("packed", lambda v: v[..., :1], "have 1 bytes a line, not 2: use Concepts.pack"),
            ("packed", lambda v: v > 0, "concept masks must be uint8 of shape"),
            ("packed", lambda v: v.numpy(), "concept masks are a ndarray, not a tensor"),
            ("width", lambda v: 9, "concept masks of 8 x 9 pixels for images of 8 x 10"),
            ("width", lambda v: 10.0, "pixels for images of 8 x 10"),
            ("of_class", lambda v: v[:2], "of_class must be empty or have 3 entries"),
            ("of_class", lambda v: (0, 1, 2), "of_class must hold numbers from -1 to 1"),
            ("of_class", lambda v: (0, 1, -2), "of_class must hold numbers from -1 to 1"),
            ("of_class", lambda v: None, "of_class must be empty or have 3 entries"),
        ],
    )
    def test_each_field(self, data, split, field, edit, message):
        concepts = getattr(data, split).concepts
        change(concepts, **{field: edit(getattr(concepts, field))})
        text = refusal(data)
        assert text.startswith(split) and message in text

    def test_a_split_without_concepts(self, data, split):
        change(getattr(data, split), concepts=None)
        assert "concepts, unlike train" in refusal(data)

    @pytest.mark.parametrize("value", [torch.zeros(3), ["head"], np.zeros(3)])
    def test_no_concepts(self, data, split, value):
        change(getattr(data, split), concepts=value)
        assert f"{split}: concepts is a {type(value).__name__}, not a Concepts" in refusal(data)

    def test_no_concept_at_all(self, data, split):
        empty = {"names": (), "categories": (), "landmark": (), "of_class": ()}
        concepts = getattr(data, split).concepts
        change(concepts, packed=concepts.packed[:, :0], **empty)
        assert refusal(data) == f"{split}: `concepts` holds no masks: set it to None"

    @pytest.mark.parametrize(
        ("field", "value"),
        [("names", ("tail", "head")), ("landmark", (False, True)), ("of_class", (1, 0, -1))],
    )
    def test_concepts_that_differ(self, data, split, field, value):
        change(getattr(data, split).concepts, **{field: value})
        assert f"concepts.{field} of" in refusal(data)


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class TestErrorsOfLoaders:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (ValueError("size must be 3"), "dataset 'mine': size must be 3"),
            (UserError("no such file"), "dataset 'mine': no such file"),
            (TypeError("a\nb"), "dataset 'mine': TypeError: a b"),
            (KeyError("x"), "dataset 'mine': KeyError: 'x'"),
            (FileNotFoundError(2, "No such file", "a.npy"),
             "dataset 'mine': FileNotFoundError: [Errno 2] No such file: 'a.npy'"),
            (MemoryError(), "dataset 'mine': MemoryError"),
            (AssertionError(), "dataset 'mine': AssertionError"),
            (SystemExit(0), "dataset 'mine': SystemExit: 0"),
            (GeneratorExit(), "dataset 'mine': GeneratorExit"),
            (RecursionError("deep"), "dataset 'mine': RecursionError: deep"),
            (Unspeakable(), "dataset 'mine': Unspeakable: (the error could not describe itself)"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
    )  # fmt: skip
    def test_any_error_is_one_line(self, error, message):
        def load():
            raise error

        with pytest.raises(UserError) as caught:
            load_dataset("mine", load)
        assert str(caught.value) == message

    def test_a_long_text_is_cut(self):
        def load():
            raise RuntimeError("x" * 10**7 + "\ud800\x00")

        with pytest.raises(UserError) as caught:
            load_dataset("mine", load)
        text = str(caught.value)
        assert text.startswith("dataset 'mine': RuntimeError: xx")
        assert len(text) <= LONGEST_MESSAGE + 20 and text.isprintable()

    def test_missing_data_stay_missing_and_are_one_line(self):
        def load():
            raise DataMissing("put it\nthere")

        with pytest.raises(DataMissing, match=r"^put it there$"):
            load_dataset("mine", load)

    def test_an_interruption_passes(self):
        def load():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load_dataset("mine", load)

    def test_what_is_refused_is_said_once(self, data):
        change(data.test, labels=data.test.labels[:-1])
        with pytest.raises(UserError, match=r"^dataset 'mine': test has 7 images but 6 labels$"):
            load_dataset("mine", lambda: data)

    def test_objects_that_raise(self, data):
        class Hostile(Split):
            @property
            def images(self):
                raise ZeroDivisionError("ha")

        change(data, test=object.__new__(Hostile))
        assert refusal(data) == "ZeroDivisionError: ha"


@pytest.mark.parametrize("fault", ["labels", "error"])
def test_a_workspace_loads_no_unsound_dataset(workspace, tmp_path, monkeypatch, fault):
    sound = DATASETS["toy"]

    def load(root, **params):
        data = sound(root, **params)
        if fault == "error":
            raise IndexError("no such\nimage")
        change(data.validation, labels=data.validation.labels[:-1])
        return data

    file = tmp_path / "tiny.toml"
    file.write_text(toy_suite())
    (spec,) = expand(read_suite(file))
    monkeypatch.setitem(DATASETS, "toy", load)
    with pytest.raises(UserError) as caught:
        workspace.obstacle(spec)
    assert (
        str(caught.value)
        == {
            "labels": "dataset 'toy': validation has 48 images but 47 labels",
            "error": "dataset 'toy': IndexError: no such image",
        }[fault]
    )
