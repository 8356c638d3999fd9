"""Arrays that do not fit in memory: kept in files, and the same data as in memory."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from photograph_files import write_coco

from legible.bench.data import parameter_checks
from legible.bench.data.cache import CacheEntry
from legible.bench.data.coco import coco
from legible.bench.data.mapped_arrays import NOTES, cached_in_files


class Computation:
    """Writes two arrays, one of them in place of another, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, allocate):
        self.calls += 1
        images, first = allocate("images", (4, 3)), allocate("masks", (4, 5))
        images[:] = np.arange(12).reshape(4, 3)
        first[:] = 7
        masks = allocate("better", (4, 2))
        masks[:] = 9
        labels = torch.tensor([1, 2, 3, 4])
        tensors = {"images": torch.from_numpy(images), "masks": torch.from_numpy(masks)}
        return CacheEntry({**tensors, "labels": labels}, {"names": ["木"]})


def entry(root, compute):
    return cached_in_files(root, "test", {"size": 3}, __file__, compute)


def test_a_round_trip_is_equal_and_is_computed_once(tmp_path):
    compute = Computation()
    for tensors, notes in (entry(tmp_path, compute), entry(tmp_path, compute)):
        assert notes == {"names": ["木"]}
        assert torch.equal(tensors["images"], torch.arange(12, dtype=torch.uint8).view(4, 3))
        assert torch.equal(tensors["masks"], torch.full((4, 2), 9, dtype=torch.uint8))
        assert torch.equal(tensors["labels"], torch.tensor([1, 2, 3, 4]))
    assert compute.calls == 1
    (folder,) = (p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    names = {"images.npy", "labels.npy", "masks.npy", NOTES}
    assert {file.name for file in folder.iterdir()} == names


def test_what_is_written_into_the_data_does_not_reach_the_file(tmp_path):
    compute = Computation()
    entry(tmp_path, compute).tensors["images"][:] = 0
    assert entry(tmp_path, compute).tensors["images"].sum() == 66 and compute.calls == 1


@pytest.mark.parametrize("damage", ["shorter", "gone", "no notes"])
def test_an_entry_that_is_not_whole_is_computed_again(tmp_path, damage):
    compute = Computation()
    entry(tmp_path, compute)
    (folder,) = (p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    if damage == "shorter":
        os.truncate(folder / "images.npy", 130)
    else:
        (folder / ("masks.npy" if damage == "gone" else NOTES)).unlink()
    assert entry(tmp_path, compute).tensors["images"].sum() == 66
    assert compute.calls == 2


def test_what_a_killed_process_left_is_deleted(tmp_path):
    entry(tmp_path, Computation())
    (folder,) = (p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    left = folder.parent / f".{folder.name}.abc"
    left.mkdir()
    (folder / NOTES).unlink()
    entry(tmp_path, Computation())
    assert not left.exists()


def test_a_computation_that_fails_leaves_nothing(tmp_path):
    def fail(allocate):
        allocate("images", (4, 3))[:] = 1
        raise ValueError("b.png is broken")

    with pytest.raises(ValueError, match="broken"):
        entry(tmp_path, fail)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_a_disk_that_is_full_is_one_line(tmp_path):
    def full(allocate):
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match=r"cannot keep them: No space left on device$"):
        entry(tmp_path, full)


def test_photographs_in_files_are_those_in_memory(tmp_path, monkeypatch):
    """The same pixels, masks, labels and fingerprint, whichever way they are read."""
    write_coco(tmp_path / "set")
    datasets = []
    for choice in ("memory", "file", "file"):
        monkeypatch.setenv("LEGIBLE_IMAGES", choice)
        datasets.append(coco(tmp_path, path="set", size=16, validation=2))
    memory, first, second = datasets
    assert not memory.train.streamed and first.train.streamed and second.test.streamed
    for data in (first, second):
        assert data.fingerprint() == memory.fingerprint()
        assert torch.equal(data.train.mean, memory.train.mean)
        assert data.extents == memory.extents and data.notes == memory.notes
    monkeypatch.setenv("LEGIBLE_IMAGES", "disk")
    with pytest.raises(ValueError, match=r"\$LEGIBLE_IMAGES must be one of auto, file, memory"):
        coco(tmp_path, path="set", size=16, validation=2)


def test_photographs_fit_in_memory_only_with_their_masks(tmp_path, monkeypatch):
    images = len(write_coco(tmp_path / "set"))
    limit = images * 16**2 * 3.2  # images take 3 bytes a pixel, and masks of four concepts a half
    monkeypatch.setattr(parameter_checks, "memory_limit", lambda: limit)
    assert not parameter_checks.too_large(images, 16)
    assert coco(tmp_path, path="set", size=16, validation=2).train.streamed
    monkeypatch.setenv("LEGIBLE_IMAGES", "memory")
    with pytest.raises(ValueError, match="images of 16 x 16 pixels need about"):
        coco(tmp_path, path="set", size=16, validation=2)
