"""A cache on disk of tensors that are expensive to compute, as safetensors files."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from legible.bench.data.base import Split, make_splits
from legible.bench.files import checksum, make_folder, take_group, write_bytes
from legible.bench.locks import hold
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
    process computes an entry at a time. If the folder cannot be written to, because of permissions
    or a full disk, nothing is stored.
    """
    file = root / "cache" / f"{name}-{digest_of(key, source)}.safetensors"
    if entry := _read(file):
        return entry
    with alone_with(file):
        if entry := _read(file):  # another process was faster
            return entry
        entry = compute()
        with contextlib.suppress(OSError):
            write_bytes(file, _to_bytes(entry))
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


def digest_of(key: Mapping[str, Any], source: str) -> str:
    """A hash of a key and of the code of a file with all code that it imports."""
    text = json.dumps(key, sort_keys=True) + content_key(source)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checksum(entry: CacheEntry) -> str:
    parts: list[bytes | memoryview | str] = [json.dumps(entry.notes, sort_keys=True)]
    for name in sorted(entry.tensors):
        tensor = entry.tensors[name].contiguous()
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}")
        parts.append(tensor.numpy().reshape(-1).view("uint8").data)
    return checksum(*parts)


def _to_bytes(entry: CacheEntry) -> bytes:
    """The content of a file of the cache."""
    metadata = {"notes": json.dumps(entry.notes), "checksum": _checksum(entry)}
    return save({name: tensor.contiguous() for name, tensor in entry.tensors.items()}, metadata)


def _read(file: Path) -> CacheEntry | None:
    """The file's content; None if it does not exist or is damaged."""
    try:
        data = file.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header["__metadata__"]
        entry = CacheEntry(load(data), json.loads(metadata["notes"]))
        return entry if metadata["checksum"] == _checksum(entry) else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


@contextlib.contextmanager
def alone_with(file: Path) -> Iterator[None]:
    """Holds the lock of an entry of the cache, as far as the folder can be written to."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock = file.with_suffix(".lock")
            make_folder(file.parent)
            stack.enter_context(hold(lock, wait=True))
            take_group(lock)
        yield
