"""A cache on disk of tensors that are expensive to compute, as safetensors files."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from legible.bench.data.base import Split, make_splits
from legible.bench.source_keys import content_key
from legible.metrics.network import Concepts


class CacheEntry(NamedTuple):
    """What one file of the cache holds: tensors by name, and notes that JSON can hold."""

    tensors: dict[str, Tensor]
    notes: dict[str, Any]


def cached(
    root: Path,
    name: str,
    key: Mapping[str, Any],
    source: str,
    compute: Callable[[], CacheEntry],
) -> CacheEntry:
    """The result of ``compute``, read from a file in ``root/cache`` if there is one.

    The file's name holds a hash of ``key`` and of the code of the file ``source`` with all code
    that it imports. A checksum guards its content: a damaged file is computed again. Only one
    process computes an entry at a time. If the folder cannot be written to, nothing is stored.
    """
    file = root / "cache" / f"{name}-{_digest(key, source)}.safetensors"
    if entry := _read(file):
        return entry
    with _lock(file):
        if entry := _read(file):  # another process was faster
            return entry
        entry = compute()
        _write(file, entry)
    return entry


def restore_splits(entry: CacheEntry, size: int, classes: int) -> tuple[Split, Split, Split]:
    """Train, validation and test split of images with ``size`` pixels a side.

    Reads the tensors "SPLIT.images", "SPLIT.labels" and "SPLIT.packed" (concept masks), and the
    notes "names", "categories", "landmark" and "of_class" of the concepts.
    """
    tensors, notes = entry
    names, categories = tuple(notes["names"]), tuple(notes["categories"])
    landmark, of_class = tuple(notes["landmark"]), tuple(notes["of_class"])
    parts: dict[str, tuple[Tensor, Tensor, Concepts | None]] = {}
    for split in ("train", "validation", "test"):
        packed = tensors[f"{split}.packed"]
        concepts = Concepts(names, categories, landmark, packed, size, of_class)
        parts[split] = (tensors[f"{split}.images"], tensors[f"{split}.labels"], concepts)
    splits = make_splits(parts, classes)
    return splits["train"], splits["validation"], splits["test"]


def _digest(key: Mapping[str, Any], source: str) -> str:
    text = json.dumps(key, sort_keys=True) + content_key(source)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].contiguous().numpy().reshape(-1).view("uint8").data, total)
    return str(total)


def _read(file: Path) -> CacheEntry | None:
    """The file's content; None if it does not exist or is damaged."""
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata() or {}
        if metadata.get("checksum") != _checksum(tensors):
            return None
        return CacheEntry(tensors, json.loads(metadata["notes"]))
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


def _write(file: Path, entry: CacheEntry) -> None:
    """Writes a temporary file and renames it, so that a reader never sees half a file."""
    if not _writable(file.parent):
        return
    metadata = {"notes": json.dumps(entry.notes), "checksum": _checksum(entry.tensors)}
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file({k: v.contiguous() for k, v in entry.tensors.items()}, temporary, metadata)
        temporary.replace(file)
    except OSError:  # the disk is full: go on without a cache
        temporary.unlink(missing_ok=True)
