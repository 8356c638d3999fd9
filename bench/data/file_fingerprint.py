"""The fingerprint of many files: of their names and sizes, and of the contents of some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from legible.bench.data.image_files import shown_path

#: The number of files of which the content counts.
SAMPLE = 1000


class FileFingerprint:
    """A hash of files that does not read all of a large dataset.

    ``content`` covers the paths below ``place`` and the sizes of ``files``, the content of 1,000 of
    them at even steps of their sorted paths (all, if there are no more), and the content of all
    ``annotations``. It is the same on every machine. A file outside the sample that changes without
    changing its size does not change it. ``here`` covers the times of the last changes as well: it
    guards a cache on this machine.
    """

    def __init__(self, place: Path, files: Iterable[Path], annotations: Sequence[Path]) -> None:
        content, times = hashlib.sha256(), hashlib.sha256()
        ordered = sorted(files)
        sample = set(ordered[:: max(1, -(-len(ordered) // SAMPLE))])
        for file in [*ordered, *annotations]:
            status = _status(file)
            content.update(repr((_relative(file, place), status.st_size)).encode())
            times.update(repr(status.st_mtime_ns).encode())
            if file in sample or file in annotations:
                content.update(_hash(file))
        self.content = content.hexdigest()
        times.update(self.content.encode())
        self.here = times.hexdigest()


def _relative(file: Path, place: Path) -> str:
    return file.relative_to(place).as_posix() if file.is_relative_to(place) else file.name


def _status(file: Path):  # type: ignore[no-untyped-def]
    try:
        return file.stat()
    except OSError as error:
        raise ValueError(f"cannot read {shown_path(file)}: {error.strerror}") from error


def _hash(file: Path) -> bytes:
    if not file.is_file():
        raise ValueError(f"cannot read {shown_path(file)} (it is not a regular file)")
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        raise ValueError(f"cannot read {shown_path(file)}: {error.strerror}") from error
