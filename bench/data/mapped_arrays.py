"""Arrays that are larger than memory: files that are written in parts and mapped into memory."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legible.bench.data.cache import CacheEntry, alone_with, digest_of
from legible.bench.files import make_folder

#: Makes an array of zero bytes by name and shape.
Allocate = Callable[[str, tuple[int, ...]], np.ndarray]
NOTES = "notes.json"


def in_memory(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An `Allocate` for arrays that fit in memory."""
    return np.zeros(shape, np.uint8)


def cached_in_files(
    root: Path,
    name: str,
    key: Mapping[str, Any],
    source: str,
    compute: Callable[[Allocate], CacheEntry],
) -> CacheEntry:
    """As `legible.bench.data.cache.cached`, for arrays that do not fit in memory.

    The entry is a folder with a file for each array. ``compute`` gets a function that makes the
    large arrays, in files from the start. The folder takes its name when all is written; files are
    checked by name, type and size, not by content. Raises ValueError if the folder cannot be
    written to: there is no other place for the arrays.
    """
    folder = root / "cache" / f"{name}-{digest_of(key, source)}"
    with alone_with(folder):
        if entry := _open(folder):
            return entry
        try:
            _compute(folder, compute)
        except OSError as error:
            raise ValueError(
                f"the decoded images do not fit in memory, and {folder.parent} cannot keep them: "
                f"{error.strerror or error}"
            ) from error
        entry = _open(folder)
    if entry is None:
        raise ValueError(f"{folder} cannot be read back: delete it")
    return entry


def _compute(folder: Path, compute: Callable[[Allocate], CacheEntry]) -> None:
    """Writes an entry beside its place, then moves it there."""
    make_folder(folder.parent)
    for abandoned in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        place.chmod(folder.parent.stat().st_mode)
        files: dict[tuple[int, tuple[int, ...]], tuple[Path, np.memmap]] = {}

        def allocate(name: str, shape: tuple[int, ...]) -> np.ndarray:
            file = place / f"{name}.npy"
            array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
            files[array.ctypes.data, shape] = file, array
            return array

        entry = compute(allocate)
        contents = {}
        for name, tensor in entry.tensors.items():
            file = place / f"{name}.npy"
            if own := files.get((tensor.data_ptr(), tuple(tensor.shape))):
                own[1].flush()
                own[0].rename(file)
            else:
                np.save(file, np.ascontiguousarray(tensor.numpy()))
            contents[name] = [str(tensor.numpy().dtype), list(tensor.shape)]
        text = json.dumps({"notes": entry.notes, "arrays": contents})
        for file in place.glob("*.npy"):
            if file.stem not in contents:
                file.unlink()
        (place / NOTES).write_text(text, encoding="utf-8")
        if folder.exists():  # damaged
            shutil.rmtree(folder)
        place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _open(folder: Path) -> CacheEntry | None:
    """The entry with its arrays mapped into memory; None if it is not there or not whole."""
    try:
        content = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        tensors: dict[str, Tensor] = {}
        for name, (dtype, shape) in content["arrays"].items():
            # copy on write: what a method writes into the data never reaches the file
            array = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            if str(array.dtype) != dtype or list(array.shape) != shape:
                return None
            tensors[name] = torch.from_numpy(array)
        return CacheEntry(tensors, content["notes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
