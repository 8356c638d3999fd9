"""A folder of runs that several people share, is full, or may only be read."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from records import manifest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution import store as stores
from legible.bench.execution.store import Run, Store, StoreError, write_bytes
from legible.bench.execution.worker import execute_run

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as other users")
GROUP, OTHER = 54321, 54322


@contextlib.contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def as_other_user(function):
    """What a function returns, or the text of its error, in a process of another user."""
    ours, theirs = multiprocessing.Pipe()
    number = os.fork()
    if number == 0:
        try:
            os.setgid(OTHER)
            os.setgroups([GROUP])
            os.setuid(OTHER)
            theirs.send(function())
        except UserError as error:
            theirs.send(f"UserError: {error}")
        except BaseException as error:
            theirs.send(repr(error))
        os._exit(0)
    os.waitpid(number, 0)
    return ours.recv()


def lock(store, run):
    with store.lock(run) as mine:
        return mine


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_all_files_have_the_permissions_of_the_umask(workspace, tmp_path, mask, mode):
    (spec,) = specs_of(tmp_path, toy_suite())
    with umask(mask):
        work(workspace, [spec])
    run = workspace.run_of(spec)
    files = [p for p in run.folder.iterdir() if p.is_file()]
    files += (workspace.store.root / ".locks").iterdir()
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {mode} and len(files) >= 4


@ROOT
def test_files_folders_and_locks_take_the_folder_s_group(tmp_path):
    os.chown(tmp_path, -1, GROUP)
    store = Store(tmp_path / "runs")
    run = store.run("x", {})
    assert lock(store, run)
    run.finish(manifest(weights=run.save_weights({})))
    assert {p.stat().st_gid for p in tmp_path.rglob("*")} == {GROUP}


@ROOT
def test_what_may_not_be_read_is_refused_in_one_line_and_stays(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", tmp_path.name)):
            folder.chmod(0o755)
    run = workspace.run_of(spec)
    stores._VERIFIED.clear()
    for file in sorted(run.folder.glob("*.*")):
        file.chmod(0o600)
        text = as_other_user(lambda: str(execute_run(workspace, spec, lambda event: None)))
        assert text == f"UserError: cannot read {file}: Permission denied"
        file.chmod(0o644)
    assert not list(workspace.store.root.glob("*corrupt*"))


@ROOT
def test_another_user_s_lock_is_held_or_refused_in_one_line(tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", tmp_path.name)):
            folder.chmod(0o755)
    store = Store(tmp_path / "runs")
    run = store.run("x", {})
    assert lock(store, run)
    file = store.root / ".locks" / f"{run.name}.lock"
    file.chmod(0o644)
    assert as_other_user(lambda: lock(store, run)) is True
    with store.lock(run):
        assert as_other_user(lambda: lock(store, run)) is False
    file.chmod(0o600)
    text = as_other_user(lambda: lock(store, run))
    assert text == f"UserError: cannot lock {file}: Permission denied"


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    store = Store(tmp_path)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match="this file system has no locks; put the runs elsewhere"):
        lock(store, store.run("x", {}))


def full_disk(self, data):
    with self.open("wb") as file:
        file.write(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "No space left on device", str(self))


@pytest.mark.parametrize("what", ["weights", "state", "manifest", "scores"])
def test_a_full_disk_is_one_line_and_the_old_state_stays(tmp_path, monkeypatch, what):
    run = Run(tmp_path / "run")
    writes = {
        "weights": lambda: run.save_weights({}), "manifest": lambda: run.finish(manifest()),
        "state": lambda: run.save_state(stores.State(1, {}, [])),
        "scores": lambda: run.save_scores("x", {}),
    }  # fmt: skip
    writes[what]()
    before = {p: p.read_bytes() for p in run.folder.iterdir()}
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(StoreError, match=r"cannot write .*run.*: No space left on device"):
        writes[what]()
    assert {p: p.read_bytes() for p in run.folder.iterdir()} == before and len(before) == 1


def test_an_interruption_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(self, data):
        self.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"1")
    assert not list(tmp_path.iterdir())


def test_temporary_files_of_a_killed_worker_are_removed(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite())
    run = workspace.run_of(spec)
    run.folder.mkdir(parents=True)
    (run.folder / f".{16 * 'a'}.part").write_bytes(b"half")
    work(workspace, [spec])
    assert run.done() and not list(run.folder.glob(".*"))
