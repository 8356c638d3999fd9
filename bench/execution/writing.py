"""Writing several files so that all of them appear, or none."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ABANDONED = 600  # seconds after which a temporary file of a process that is gone is removed
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)")


def write_together(files: Mapping[Path, bytes], remove: Iterable[Path] = ()) -> None:
    """Writes all files beside their places, then renames them; then removes files.

    Until everything is written nothing changes, and what is written is removed again after an error
    or an interruption. Temporary files of the same names that processes left behind which are gone
    are removed too. Raises OSError with the path that cannot be written, also where a folder is in
    a file's place.
    """
    beside: dict[Path, Path] = {}
    folders: list[Path] = []
    try:
        for path, data in files.items():
            folders += _make_folders(path.parent)
            if path.is_dir():
                raise IsADirectoryError(21, "there is a folder in the file's place", str(path))
            beside[path] = path.with_name(f".{path.name}.{os.getpid()}")
            with _named(path):
                beside[path].write_bytes(data)
        for path in [*beside]:
            with _named(path):
                beside[path].replace(path)
            del beside[path]
    except BaseException:
        for temporary in beside.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        for folder in reversed(folders):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where it is empty
        raise
    for path in remove:
        if path.is_file() or path.is_symlink():
            path.unlink()
    _remove_abandoned(files)


def _make_folders(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns the new ones, the outermost first."""
    new = []
    while not folder.exists():
        new.append(folder)
        folder = folder.parent
    for path in reversed(new):
        path.mkdir(exist_ok=True)
    return new[::-1]


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raises an OSError of the inside again with the path of the file itself."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _remove_abandoned(files: Iterable[Path]) -> None:
    names: dict[Path, set[str]] = {}
    for path in files:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, written in names.items():
        for path in folder.iterdir():
            match = _TEMPORARY.fullmatch(path.name)
            if match and match["name"] in written and _gone(int(match["process"])):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > ABANDONED:
                        path.unlink()


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
