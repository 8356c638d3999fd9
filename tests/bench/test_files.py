"""Files appear whole or not at all, alone and together, and nothing temporary stays."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from legible.bench import files as module
from legible.bench.files import (
    JOURNAL,
    LOCK,
    checksum,
    delete_abandoned,
    settle,
    write_bytes,
    write_together,
)
from legible.bench.locks import hold

OLD = {"a": "old a", "b": "old b", "figures/old.svg": "old figure", "mine/notes": "mine"}
NEW = {"a": b"new a", "c": b"new c", "figures/new.svg": b"new figure", "figures/old.svg": None}
AFTER = {"a": "new a", "b": "old b", "c": "new c", "figures/new.svg": "new figure",
         "mine/notes": "mine"}  # fmt: skip


def content(folder: Path) -> dict[str, str]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds OLD."""
    for name, text in OLD.items():
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text(text)
    return tmp_path / "x"


class Stop(BaseException):
    """Stands for kill -9: nothing behind it runs."""


def killed_at(step: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Writes NEW in a process that is killed before its n-th rename; whether it got that far."""
    child = os.fork()
    if child == 0:
        replace, steps = Path.replace, iter(range(step))

        def counting(path: Path, target: Path) -> Path:
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", counting)
        write_together(folder, lambda: NEW)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_files_are_written_and_removed_together(folder: Path) -> None:
    write_together(folder, lambda: NEW)
    assert content(folder) == AFTER


def test_new_folders_are_made_and_folders_stay(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    write_together(tmp_path / "ä [1]", lambda: {"b/c": b"1", "never": None})
    write_together(tmp_path, lambda: {"figures": None})
    assert content(tmp_path) == {"ä [1]/b/c": "1"} and (tmp_path / "figures").is_dir()


@pytest.mark.parametrize("step", range(6))
def test_killed_before_any_rename_it_is_undone_or_completed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    killed = killed_at(step, folder, monkeypatch)
    assert killed == (step < 4)  # the journal, then three files
    settle(folder)
    assert content(folder) == (OLD if step == 0 else AFTER)
    settle(folder)  # nothing to do


def test_the_next_that_writes_completes_it_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert killed_at(2, folder, monkeypatch)
    write_together(folder, lambda: {"d": (folder / "c").read_bytes()})
    assert content(folder) == {**AFTER, "d": "new c"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Stop()])
def test_after_an_error_everything_is_as_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if data == b"new figure":
            write(path, data[:1])
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(type(error)) as caught:
        write_together(folder, lambda: NEW)
    if isinstance(error, OSError):
        assert caught.value.filename == str(folder / "figures" / "new.svg")
    assert content(folder) == OLD
    with pytest.raises(type(error)):
        write_together(folder / "not" / "there", lambda: NEW)
    assert not (folder / "not").exists()


def test_an_interruption_of_the_renames_completes_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = Path.replace, iter([False, False, True])

    def interrupted(path: Path, target: Path) -> Path:
        if next(calls, False):
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_together(folder, lambda: NEW)
    assert content(folder) == AFTER


def test_a_folder_in_a_file_s_place_is_named(folder: Path) -> None:
    with pytest.raises(IsADirectoryError, match="there is a folder in the file's place") as caught:
        write_together(folder, lambda: {"a": b"1", "mine": b"2"})
    assert caught.value.filename == str(folder / "mine") and content(folder) == OLD


def hold_folder(folder: Path, text: bytes) -> None:
    for _ in range(20):
        write_together(folder, lambda: {"a": text, "b": text, "count": add(folder)})


def add(folder: Path) -> bytes:
    """One more than what the file ``count`` holds."""
    path = folder / "count"
    return str(1 + (int(path.read_text()) if path.exists() else 0)).encode()


def test_two_writers_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=hold_folder, args=(tmp_path, t)) for t in (b"x", b"y")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert content(tmp_path) in ({"a": t, "b": t, "count": "40"} for t in "xy")


@pytest.mark.parametrize(
    "names",
    [
        {"renames": {".0123456789abcdef.new": "../out"}, "removals": []},
        {"renames": {}, "removals": ["../b"]},
        {"renames": {"b": "a"}, "removals": []},
        {"renames": {}, "removals": ["/tmp/never"]},
        {"renames": []},
        [],
    ],
)
def test_a_journal_that_reaches_outside_is_not_carried_out(folder: Path, names: object) -> None:
    (folder.parent / "b").write_text("outside")
    (folder / ".0123456789abcdef.new").write_text("new")
    (folder / JOURNAL).write_text(json.dumps(names))
    settle(folder)
    assert content(folder) == OLD and content(folder.parent)["b"] == "outside"
    assert not (folder.parent / "out").exists()


def test_settling_waits_for_a_living_writer(folder: Path) -> None:
    child = os.fork()
    if child == 0:
        with hold(folder / LOCK, remove=True):
            time.sleep(0.5)
        os._exit(0)
    while not (folder / LOCK).exists():
        time.sleep(0.01)
    start = time.monotonic()
    settle(folder)
    os.waitpid(child, 0)
    assert time.monotonic() - start > 0.2 and content(folder) == OLD


class TestTemporaryFiles:
    def test_those_of_dead_processes_are_deleted_and_those_of_living_ones_stay(
        self, tmp_path: Path
    ) -> None:
        dead, other = tmp_path / ".0123456789abcdef.part", tmp_path / ".part"
        dead.write_text("half")
        other.write_text("a user's")
        with module._temporary(tmp_path) as alive:
            write_bytes(tmp_path / "a", b"1")
            assert set(tmp_path.iterdir()) == {other, alive, tmp_path / "a"}
            alive.unlink()

    def test_a_killed_writer_leaves_one_that_the_next_deletes(self, tmp_path: Path) -> None:
        child = os.fork()
        if child == 0:
            with module._temporary(tmp_path):
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert len([*tmp_path.iterdir()]) == 1
        delete_abandoned(tmp_path)
        assert not [*tmp_path.iterdir()]

    def test_an_interruption_leaves_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(self: Path, data: bytes) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(tmp_path / "a", b"1")
        assert not [*tmp_path.iterdir()]

    def test_one_that_was_deleted_before_its_lock_is_made_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock, calls = module.try_lock, iter([True])

        def late(descriptor: int) -> bool:
            if next(calls, False):
                next(tmp_path.iterdir()).unlink()
            return lock(descriptor)

        monkeypatch.setattr(module, "try_lock", late)
        write_bytes(tmp_path / "a", b"1")
        assert content(tmp_path) == {"a": "1"}


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
        write_together(tmp_path, lambda: {"b": b""})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize(
    ("parent", "mask", "file", "folder"),
    [
        (0o2775, 0o022, 0o664, 0o2775), (0o2775, 0o077, 0o660, 0o2770),
        (0o775, 0o077, 0o660, 0o770), (0o755, 0o077, 0o600, 0o700),
        (0o755, 0o022, 0o644, 0o755), (0o1777, 0o077, 0o600, 0o700),
    ],
)  # fmt: skip
def test_in_a_folder_that_its_group_may_write_new_files_are_the_group_s(
    tmp_path: Path, parent: int, mask: int, file: int, folder: int
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(parent)
    before = os.umask(mask)
    try:
        write_bytes(shared / "runs" / "a", b"")
        write_together(shared / "runs", lambda: {"figures/b": b""})
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in shared.rglob("*")}
    assert modes == {"runs": folder, "figures": folder, "a": file, "b": file}


def test_a_checksum_tells_where_one_part_ends() -> None:
    sums = {checksum("ab", "c"), checksum("a", "bc"), checksum("abc"), checksum(b"abc", b"")}
    assert len(sums) == 4 and checksum("a", b"b") == checksum(memoryview(b"a"), "b")
