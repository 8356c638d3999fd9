import sys

import pytest
import torch

from legible.bench.data import checks
from legible.bench.data.cache import cached, restore
from legible.metrics.network import Concepts

HERE = [sys.modules[__name__]]


class Maker:
    """Counts how often it was asked."""

    def __init__(self):
        self.calls = 0
        generator = torch.Generator().manual_seed(0)
        self.tensors = {
            "bytes": torch.randint(256, (7, 3, 5), dtype=torch.uint8, generator=generator),
            "floats": torch.randn(4, generator=generator),
            "turned": torch.arange(6).reshape(2, 3).T,  # not contiguous
            "empty": torch.zeros(0, 3),
        }

    def __call__(self):
        self.calls += 1
        return self.tensors, {"names": ["a", "木"], "once": [True, False]}


@pytest.fixture
def make():
    return Maker()


def ask(root, make, sources=HERE, **key):
    return cached(root, "test", key or {"size": 3}, sources, make)


def files(root):
    return sorted((root / "cache").glob("*.safetensors"))


def test_a_round_trip_is_bit_equal(tmp_path, make):
    first = ask(tmp_path, make)
    again = ask(tmp_path, make)
    assert make.calls == 1 and len(files(tmp_path)) == 1
    for tensors, notes in (first, again):
        assert notes == {"names": ["a", "木"], "once": [True, False]}
        assert tensors.keys() == make.tensors.keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == make.tensors[name].dtype
            assert torch.equal(tensor, make.tensors[name])


def test_nothing_is_left_beside_the_file(tmp_path, make):
    ask(tmp_path, make)
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_other_parameters_or_sources_are_made_anew(tmp_path, make):
    ask(tmp_path, make, size=3)
    ask(tmp_path, make, size=4)
    ask(tmp_path, make, sources=[checks], size=3)
    assert make.calls == 3 and len(files(tmp_path)) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),  # one bit of a tensor
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\xff" * 200,
    ],
    ids=["bit", "half", "empty", "garbage"],
)
def test_a_damaged_file_is_made_anew(tmp_path, make, damage):
    ask(tmp_path, make)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    tensors, _ = ask(tmp_path, make)
    assert make.calls == 2
    assert torch.equal(tensors["bytes"], make.tensors["bytes"])
    ask(tmp_path, make)
    assert make.calls == 2  # and what was made is sound


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path, make):
    (tmp_path / "cache").write_text("a file where the folder should be")
    for calls in (1, 2):
        tensors, _ = ask(tmp_path, make)
        assert make.calls == calls
        assert torch.equal(tensors["floats"], make.tensors["floats"])


def test_a_failing_maker_leaves_nothing(tmp_path):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached(tmp_path, "test", {}, HERE, fail)
    assert not files(tmp_path)


def test_splits_are_restored():
    masks = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = Concepts.pack(masks, ["a", "b"], ["part", "part"], [True, False]).packed
    tensors = {}
    for value, split in enumerate(("train", "validation", "test")):
        tensors[f"{split}.images"] = torch.full((4, 1, 8, 8), value, dtype=torch.uint8)
        tensors[f"{split}.labels"] = torch.tensor([0, 1, 0, 1])
        tensors[f"{split}.packed"] = packed
    notes = {
        "names": ["a", "b"],
        "categories": ["part", "part"],
        "landmark": [True, False],
        "of_class": [1, 0],
    }
    splits = restore((tensors, notes), 8, 2)
    assert [split.images.unique().item() for split in splits] == [0, 1, 2]
    concepts = splits[2].concepts
    assert torch.equal(concepts.masks(), masks)
    assert (concepts.names, concepts.landmark, concepts.of_class) == (
        ("a", "b"), (True, False), (1, 0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("check", "arguments", "message"),
    [
        (checks.between, ("size", 5, 28, 512), "size must be between 28 and 512, not 5"),
        (checks.between, ("warp", float("nan"), 0, 2), "warp must be between 0 and 2, not nan"),
        (checks.at_least, ("train", -1, 0), "train must be at least 0, not -1"),
        (checks.one_of, ("how", "x", ("b", "a")), "how must be one of a, b, not 'x'"),
    ],
)
def test_out_of_range_is_said_in_one_line(check, arguments, message):
    with pytest.raises(ValueError) as error:
        check(*arguments)
    assert str(error.value) == message


def test_limits_themselves_are_in_range():
    checks.between("size", 28, 28, 512)
    checks.between("size", 512, 28, 512)
    checks.at_least("train", 0, 0)
    checks.one_of("how", "a", ("a", "b"))
