"""The cache of computed tensors."""

import errno
import os
from pathlib import Path

import pytest
import torch

from legible.bench.data import parameter_checks
from legible.bench.data.cache import CacheEntry, cached, restore_splits
from legible.metrics.network import Concepts


class Computation:
    """Computes an entry, and counts how often."""

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
        return CacheEntry(self.tensors, {"names": ["a", "木"], "once": [True, False]})


@pytest.fixture
def compute():
    return Computation()


def entry(root, compute, source=__file__, **key):
    return cached(root, "test", key or {"size": 3}, source, compute)


def files(root):
    return sorted((root / "cache").glob("*.safetensors"))


def test_a_round_trip_is_bit_equal(tmp_path, compute):
    first = entry(tmp_path, compute)
    again = entry(tmp_path, compute)
    assert compute.calls == 1 and len(files(tmp_path)) == 1
    for tensors, notes in (first, again):
        assert notes == {"names": ["a", "木"], "once": [True, False]}
        assert tensors.keys() == compute.tensors.keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == compute.tensors[name].dtype
            assert torch.equal(tensor, compute.tensors[name])


def test_nothing_is_left_beside_the_file(tmp_path, compute):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".{16 * 'a'}.part").write_bytes(b"half, by a process that was killed")
    entry(tmp_path, compute)
    (file,) = files(tmp_path)
    assert set((tmp_path / "cache").iterdir()) == {file, file.with_suffix(".lock")}


def test_a_full_disk_leaves_no_file_and_the_entry_is_used(tmp_path, compute, monkeypatch):
    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    tensors, _ = entry(tmp_path, compute)
    assert torch.equal(tensors["floats"], compute.tensors["floats"])
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_damaged_note_is_noticed(tmp_path, compute):
    entry(tmp_path, compute)
    (file,) = files(tmp_path)
    data = file.read_bytes()
    at = data.index(b"true")  # the note "once", in the header
    file.write_bytes(data[:at] + b"null" + data[at + 4 :])
    _, notes = entry(tmp_path, compute)
    assert notes["once"] == [True, False] and compute.calls == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user")
def test_another_user_reads_it_and_waits_for_its_lock(tmp_path, compute):
    entry(tmp_path, compute)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", tmp_path.name)):
            folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setuid(54321)
        entry(tmp_path, compute)  # reads
        entry(tmp_path, compute, size=9)  # cannot store
        os._exit(compute.calls)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2  # 1 of root's, 1 of the other user's


def test_other_parameters_or_code_have_an_entry_of_their_own(tmp_path, compute):
    entry(tmp_path, compute, size=3)
    entry(tmp_path, compute, size=4)
    entry(tmp_path, compute, source=parameter_checks.__file__, size=3)
    assert compute.calls == 3 and len(files(tmp_path)) == 3


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
def test_a_damaged_file_is_computed_again(tmp_path, compute, damage):
    entry(tmp_path, compute)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    tensors, _ = entry(tmp_path, compute)
    assert compute.calls == 2
    assert torch.equal(tensors["bytes"], compute.tensors["bytes"])
    entry(tmp_path, compute)
    assert compute.calls == 2  # the new file is sound


def test_nothing_is_stored_in_a_folder_that_cannot_be_written_to(tmp_path, compute):
    (tmp_path / "cache").write_text("a file where the folder should be")
    for calls in (1, 2):
        tensors, _ = entry(tmp_path, compute)
        assert compute.calls == calls
        assert torch.equal(tensors["floats"], compute.tensors["floats"])


def test_an_error_leaves_no_file(tmp_path):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached(tmp_path, "test", {}, __file__, fail)
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
    splits = restore_splits(CacheEntry(tensors, notes), 8, 2)
    assert [split.images.unique().item() for split in splits] == [0, 1, 2]
    concepts = splits[2].concepts
    assert torch.equal(concepts.masks(), masks)
    assert (concepts.names, concepts.landmark, concepts.of_class) == (
        ("a", "b"), (True, False), (1, 0),
    )  # fmt: skip
