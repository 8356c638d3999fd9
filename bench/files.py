"""Writing files: a file, or several files together, appear whole or not at all.

A file is written beside its place under a temporary name and then renamed. Whoever is killed leaves
the temporary file; the next that writes to the folder deletes it. A lock on the file tells whether
its writer is alive.

Several files are written together under the lock of their folder: first all of them beside their
places, then a journal that lists all renamings, then they are renamed. Without a journal nothing
has happened; with one, whoever comes next completes the renamings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from legible.bench.locks import NoLocks, hold, try_lock

PART = ".part"  # at the end of the name of a temporary file
NEW = ".new"  # at the end of the name of a file that waits for the others
JOURNAL = ".journal"
LOCK = ".lock"
#: Seconds after which a temporary file is nobody's, where the file system has no locks.
ABANDONED = 24 * 3600.0
_PART = re.compile(r"\.[0-9a-f]{16}\.part")
_NEW = re.compile(r"\.[0-9a-f]{16}\.new")


def checksum(*parts: bytes | memoryview | str) -> str:
    """32 hexadecimal digits: a hash of bytes and texts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        state.update(size.to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


# ----------------------------------------------------------------- one file


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing, so that no reader sees half a file.

    Folders are made where they are missing. The file has the permissions of the umask and, if the
    system allows it, the folder's group. Temporary files that killed processes left in the folder
    are deleted. Raises OSError; then the old file is as it was.
    """
    with _named(path):
        make_folder(path.parent)
        delete_abandoned(path.parent)
        with _temporary(path.parent) as beside:
            beside.write_bytes(data)
            take_group(beside)
            beside.replace(path)


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents where they are missing, each with the group of the folder that
    it is in. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        take_group(path)


def take_group(path: Path) -> None:
    """Gives a new file or folder the group of the folder that it is in, if the system allows it.

    In a folder that its group may write, as a shared folder of runs is, the group may also write
    what is new, whatever the umask. (A sticky folder, like /tmp, is not shared in this sense.)
    """
    parent, own = path.parent.stat(), path.stat()
    if own.st_gid != parent.st_gid:
        with contextlib.suppress(OSError):
            os.chown(path, -1, parent.st_gid)
    if parent.st_mode & stat.S_IWGRP and not parent.st_mode & stat.S_ISVTX:
        rights = stat.S_IRGRP | stat.S_IWGRP
        if stat.S_ISDIR(own.st_mode):
            rights = stat.S_IRWXG | (parent.st_mode & stat.S_ISGID)
        if own.st_mode & rights != rights:
            with contextlib.suppress(OSError):
                path.chmod(stat.S_IMODE(own.st_mode) | rights)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A new, empty file that this process has locked; it is deleted unless it was renamed."""
    while True:
        path = folder / f".{secrets.token_hex(8)}{PART}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with contextlib.suppress(NoLocks):
                try_lock(descriptor)
            if os.fstat(descriptor).st_nlink:  # else it was deleted before it was locked
                yield path
                return
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(descriptor)


def delete_abandoned(folder: Path) -> None:
    """Deletes the temporary files in a folder whose writers are dead, as far as allowed."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _PART.fullmatch(path.name):
                _delete_if_abandoned(path)


def _delete_if_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if try_lock(descriptor):
                path.unlink()
        except NoLocks:
            if time.time() - os.fstat(descriptor).st_mtime > ABANDONED:
                path.unlink()
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raises an OSError of the inside again with the path of the file itself."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


# ----------------------------------------------------------------- several files together


class Journal(NamedTuple):
    """What is still to be done in a folder: files to rename, old path -> new path, and files to
    remove. Paths are below the folder."""

    renames: dict[str, str]
    removals: list[str]


def write_together(folder: Path, changes: Callable[[], Mapping[str, bytes | None]]) -> None:
    """Writes and removes files below a folder; all of it happens, or nothing.

    Only one process at a time writes to a folder. ``changes`` is called when it is this one. It
    returns the new content of each file, by its path below the folder; None removes a file, and
    nothing else. After an error or an interruption everything is as before. What a killed process
    had begun is completed or undone first. Raises OSError with the path that cannot be written,
    also where a folder is in a file's place.
    """
    new_folders = _make_folders(folder)
    try:
        with _alone_in(folder):
            files = changes()
            contents = {name: data for name, data in files.items() if data is not None}
            removals = [name for name, data in files.items() if data is None]
            _commit(folder, Journal(_write_beside(folder, contents, new_folders), removals))
    except BaseException:
        for path in reversed(new_folders):
            with contextlib.suppress(OSError):
                path.rmdir()  # only where it is empty
        raise


def settle(folder: Path) -> None:
    """Completes or undoes what a killed process had begun with `write_together`; waits for a living
    one. Raises OSError if a half-written publication cannot be completed."""
    if not (folder / LOCK).exists() and not (folder / JOURNAL).exists():
        return
    try:
        with _alone_in(folder):
            pass
    except OSError:  # a folder that may only be read
        if (folder / JOURNAL).exists():
            raise


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds a folder's lock; no process that died has left anything when the inside begins."""
    with contextlib.ExitStack() as stack:
        try:
            with _named(folder):
                stack.enter_context(hold(folder / LOCK, wait=True, remove=True))
        except NoLocks:
            _delete([folder / LOCK])
        _recover(folder)
        yield


def _write_beside(
    folder: Path, files: Mapping[str, bytes], new_folders: list[Path]
) -> dict[str, str]:
    """Writes all files under temporary names; temporary name -> name. Adds to ``new_folders``."""
    renames: dict[str, str] = {}
    try:
        for name, data in files.items():
            path = folder / name
            new_folders += _make_folders(path.parent)
            if path.is_dir():
                raise IsADirectoryError(21, "there is a folder in the file's place", str(path))
            beside = path.with_name(f".{secrets.token_hex(8)}{NEW}")
            renames[str(beside.relative_to(folder))] = name
            with _named(path):
                beside.write_bytes(data)
                take_group(beside)
    except BaseException:
        _delete(folder / name for name in renames)
        raise
    return renames


def _commit(folder: Path, journal: Journal) -> None:
    """Writes the journal and does what it says. From the journal on there is no way back."""
    try:
        write_bytes(folder / JOURNAL, json.dumps(journal._asdict()).encode())
        _carry_out(folder, journal)
    except BaseException as error:
        if not (folder / JOURNAL).exists():
            _delete(folder / name for name in journal.renames)
        elif not isinstance(error, OSError):  # an interruption: the rest takes a moment
            _carry_out(folder, journal)
        raise


def _carry_out(folder: Path, journal: Journal) -> None:
    for beside, name in journal.renames.items():
        with _named(folder / name), contextlib.suppress(FileNotFoundError):  # renamed before
            (folder / beside).replace(folder / name)
    for name in journal.removals:
        path = folder / name
        if path.is_symlink() or path.is_file():
            with _named(path):
                path.unlink(missing_ok=True)
    with _named(folder / JOURNAL):
        (folder / JOURNAL).unlink(missing_ok=True)


def _recover(folder: Path) -> None:
    """Completes what a journal lists; without one, deletes files that wait for one."""
    delete_abandoned(folder)
    try:
        text = (folder / JOURNAL).read_text(encoding="utf-8")
    except FileNotFoundError:
        _delete_staged(folder)
        return
    if journal := _parse_journal(text):
        _carry_out(folder, journal)
    else:  # damaged, and so is the publication: its checksums tell
        _delete_staged(folder)
        (folder / JOURNAL).unlink()


def _parse_journal(text: str) -> Journal | None:
    """A journal, if all its paths are below the folder; else None."""
    try:
        journal = Journal(**json.loads(text))
        names = [*journal.renames.values(), *journal.removals]
        temporary = [Path(name).name for name in journal.renames]
        if not all(_is_below(name) for name in [*names, *journal.renames]):
            return None
        return journal if all(map(_NEW.fullmatch, temporary)) else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _is_below(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and "\x00" not in name


def _delete_staged(folder: Path) -> None:
    """Deletes the files that wait for a journal, and the folders below that are empty then."""
    with contextlib.suppress(OSError):
        staged = [*folder.glob(f".*{NEW}"), *folder.glob(f"*/.*{NEW}")]
        staged = [path for path in staged if _NEW.fullmatch(path.name)]
        _delete(staged)
        for below in {path.parent for path in staged} - {folder}:
            with contextlib.suppress(OSError):
                below.rmdir()


def _delete(paths: Iterable[Path]) -> None:
    """Deletes files, as far as that is possible."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _make_folders(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns the new ones, the outermost first."""
    new = []
    while not folder.exists():
        new.append(folder)
        folder = folder.parent
    for path in reversed(new):
        path.mkdir(exist_ok=True)
        take_group(path)
    return new[::-1]
