"""Locks: one holder at a time, released by death, and a plain message where there are none."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from legible.bench import locks
from legible.bench.locks import hold, is_held


def hold_until_killed(path: Path, ready: Any) -> None:
    with hold(path):
        ready.send(True)
        ready.recv()


def test_one_process_holds_it_and_its_death_releases_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold_until_killed, args=(tmp_path / "a.lock", theirs))
    process.start()
    assert ours.recv()
    with hold(tmp_path / "a.lock") as mine:
        assert not mine
    process.kill()
    process.join()
    with hold(tmp_path / "a.lock", wait=True) as mine:
        assert mine


def test_it_is_released_at_the_end_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path / "a.lock"):
        raise ZeroDivisionError
    with hold(tmp_path / "a.lock") as mine:
        assert mine


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with hold(tmp_path / "a.lock"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.lock").stat().st_mode & 0o777 == 0o664


def test_whether_it_is_held_is_seen_without_holding_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with hold(path):
        assert is_held(path) and is_held(path)
    assert not is_held(path)
    with pytest.raises(FileNotFoundError):
        is_held(tmp_path / "none")


def test_a_file_that_its_maker_is_about_to_share_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def refused_once(path: Path) -> int:
        attempts.append(path)
        if len(attempts) == 1:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os.open(path, os.O_RDWR | os.O_CREAT)

    monkeypatch.setattr(locks, "_open_now", refused_once)
    with hold(tmp_path / "a.lock") as mine:
        assert mine and len(attempts) == 2


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="this file system has no locks"), hold(tmp_path / "a.lock"):
        pass
