"""Tensors that are expensive to make, made once and kept as safetensors beside their JSON."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from legible.bench.content_key import content_key
from legible.bench.data.base import Split, make_splits
from legible.metrics.network import Concepts

Made = tuple[dict[str, Tensor], dict[str, Any]]


def cached(
    root: Path,
    name: str,
    key: Mapping[str, Any],
    sources: Sequence[ModuleType],
    make: Callable[[], Made],
) -> Made:
    """What ``make`` returns, tensors and JSON-able notes, from ``root/cache`` when it is there.

    The file is keyed by ``key`` and the code of ``sources``, and carries a checksum: one that is
    damaged is made anew. Only one process makes it at a time. Where the folder cannot be written
    to, nothing is kept.
    """
    file = root / "cache" / f"{name}-{_digest(key, sources)}.safetensors"
    if made := _read(file):
        return made
    with _lock(file):
        if made := _read(file):  # another process was faster
            return made
        tensors, notes = make()
        _write(file, tensors, notes)
    return tensors, notes


def restore(made: Made, size: int, classes: int) -> tuple[Split, Split, Split]:
    """Train, validation and test from tensors "SPLIT.images", "SPLIT.labels" and "SPLIT.packed"
    and the notes "names", "categories", "landmark" and "of_class" of their concepts."""
    tensors, notes = made
    names, categories = tuple(notes["names"]), tuple(notes["categories"])
    landmark, of_class = tuple(notes["landmark"]), tuple(notes["of_class"])
    parts: dict[str, tuple[Tensor, Tensor, Concepts | None]] = {}
    for split in ("train", "validation", "test"):
        packed = tensors[f"{split}.packed"]
        concepts = Concepts(names, categories, landmark, packed, size, of_class)
        parts[split] = (tensors[f"{split}.images"], tensors[f"{split}.labels"], concepts)
    splits = make_splits(parts, classes)
    return splits["train"], splits["validation"], splits["test"]


def _digest(key: Mapping[str, Any], sources: Sequence[ModuleType]) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
    for module in sources:
        assert module.__file__ is not None
        digest.update(content_key(module.__file__).encode())
    return digest.hexdigest()[:16]


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].contiguous().numpy().reshape(-1).view("uint8").data, total)
    return str(total)


def _read(file: Path) -> Made | None:
    """The file's tensors and notes; None when it is absent or damaged."""
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata() or {}
        if metadata.get("checksum") != _checksum(tensors):
            return None
        return tensors, json.loads(metadata["notes"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _lock(file: Path) -> FileLock | nullcontext[None]:
    if not _writable(file.parent):
        return nullcontext()
    return FileLock(file.with_suffix(".lock"))


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _write(file: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Writes beside and renames, so that a reader never sees half a file."""
    if not _writable(file.parent):
        return
    metadata = {"notes": json.dumps(notes), "checksum": _checksum(tensors)}
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, beside, metadata)
        beside.replace(file)
    except OSError:  # the disk is full: go on without a cache
        beside.unlink(missing_ok=True)
