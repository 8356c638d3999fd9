"""Locks between processes: a file that one process holds at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

#: What the system answers where the file system cannot lock.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[bool]:
    """Holds a lock file; yields False if another process holds it and ``wait`` is False.

    The system releases the lock of a process that dies. Raises OSError if the file cannot be opened
    or the file system has no locks.
    """
    descriptor = _open(path)
    try:
        while not (mine := _try_lock(descriptor)) and wait:
            time.sleep(0.1)
        yield mine
        if mine:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for processes that were forked meanwhile
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file: it can be locked if it can be read
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            text = "this file system has no locks; put the runs elsewhere with --runs"
            raise OSError(error.errno, text) from error
        raise
    return True
