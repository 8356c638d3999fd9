"""Files that are written together: all of them or none, and nothing temporary is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from legible.bench.execution.writing import ABANDONED, write_together


def test_all_files_are_written_and_others_removed(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "folder").mkdir()
    files = {tmp_path / "a [1]" / "ä.txt": b"1", tmp_path / "b": b"2"}
    write_together(files, [tmp_path / "old", tmp_path / "folder", tmp_path / "never"])
    assert {path: path.read_bytes() for path in files} == files
    assert {path.name for path in tmp_path.iterdir()} == {"a [1]", "b", "folder"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_after_an_error_everything_is_as_before(tmp_path, monkeypatch, error):
    (tmp_path / "a").write_text("old")
    write = Path.write_bytes

    def full(path, data):
        if path.parent.name == "new":
            write(path, data[:1])
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(type(error)) as caught:
        write_together({tmp_path / "a": b"new", tmp_path / "new" / "b": b"new"}, [tmp_path / "a"])
    if isinstance(error, OSError):
        assert caught.value.filename == str(tmp_path / "new" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_what_a_killed_process_left_is_removed(tmp_path):
    names = (".a.99999999", f".a.{os.getppid()}", ".b.99999999")
    gone, alive, other = (tmp_path / name for name in names)
    for path in (gone, alive, other):
        path.write_text("half")
        os.utime(path, (0, path.stat().st_mtime - 2 * ABANDONED))
    write_together({tmp_path / "a": b"1"})
    assert not gone.exists() and alive.exists() and other.exists()
