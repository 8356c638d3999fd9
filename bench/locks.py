"""Locks between processes: a file that one process holds at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds between attempts to open a lock file that another user made.
PAUSES = (0.02, 0.1)
#: What the system answers where the file system cannot lock.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class NoLocks(OSError):
    """The file system has no locks."""


@contextlib.contextmanager
def hold(path: Path, wait: bool = False, remove: bool = False) -> Iterator[bool]:
    """Holds a lock file; yields False if another process holds it and ``wait`` is False.

    The system releases the lock of a process that dies. With ``remove`` the file is deleted at the
    end; then all who hold it must say so. Raises OSError if the file cannot be opened, and NoLocks.
    """
    descriptor, mine = _locked(path, wait)
    try:
        yield mine
    finally:
        if mine and remove:
            with contextlib.suppress(OSError):
                path.unlink()
        if mine:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for processes that were forked meanwhile
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether another open file holds a lock file. Raises OSError if it cannot be opened, and
    NoLocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locked(path: Path, wait: bool) -> tuple[int, bool]:
    """An open lock file, and whether this process holds it."""
    while True:
        descriptor = _open(path)
        try:
            while not (mine := try_lock(descriptor)) and wait:
                time.sleep(0.1)
        except BaseException:
            os.close(descriptor)
            raise
        if not mine or _is_at(descriptor, path):
            return descriptor, mine
        os.close(descriptor)  # its holder deleted it meanwhile: it locks nothing any more


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _open(path: Path) -> int:
    """An open lock file. One that another user has made this moment may not have its group's rights
    yet."""
    for pause in PAUSES:
        try:
            return _open_now(path)
        except PermissionError:
            time.sleep(pause)
    return _open_now(path)


def _open_now(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:  # another user's file: it can be locked if it can be read
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Locks an open file, unless another process does. Raises NoLocks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocks(error.errno, "this file system has no locks") from error
        raise
    return True
