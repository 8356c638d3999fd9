"""Presence: the notes by which workers know of one another."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time

import pytest

from legible.bench.errors import UserError
from legible.bench.execution import presence as presences
from legible.bench.execution.presence import (
    living_workers,
    notes_folder,
    present,
    read_note,
    slurm_job,
)
from legible.bench.execution.progress import Event
from legible.bench.execution.store import Store
from legible.bench.locks import hold


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(presences, "BEAT", 0.02)
    monkeypatch.setattr(presences, "SILENCE", 0.3)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def other_note(store, **changes):
    """The note of a worker on another machine, that this process does not hold."""
    with present(store, "cpu") as here:
        values = json.loads(here.note.model_dump_json()) | {"host": "far", "pid": 7} | changes
    path = notes_folder(store) / "far-7-0.json"
    path.write_text(json.dumps(values))
    return path


def test_a_worker_is_there_until_it_ends(store, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with present(store, "cpu") as here:
        (note,) = living_workers(store)
        assert (note.pid, note.device, note.job) == (os.getpid(), "cpu", "12_3")
        assert note.place == f"{note.host} (Slurm job 12_3)" and note.runs == {}
        here(Event("start", "a"))
        here(Event("start", "b"))
        assert not here.achieved
        here(Event("done", "a"))
        (note,) = living_workers(store)
        assert set(note.runs) == {"b"} and note.runs["b"].endswith("+00:00") and here.achieved
        here(Event("failed", "b"))  # a shorter text over a longer one
        assert read_note(here.path).runs == {}
    assert living_workers(store) == [] and not list(notes_folder(store).iterdir())


def test_the_note_is_written_again_and_again(store):
    with present(store, "cpu") as here:
        first = read_note(here.path).beat
        deadline = time.monotonic() + 20
        while read_note(here.path).beat < first + 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_killed_worker_is_gone_and_its_note_is_removed(store):
    pid = os.fork()
    if pid == 0:
        with present(store, "cpu"):
            time.sleep(60)
        os._exit(0)
    while not living_workers(store):
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert living_workers(store) == [] and len(list(notes_folder(store).iterdir())) == 1
    with present(store, "cpu"):
        assert len(list(notes_folder(store).iterdir())) == 1
    assert not list(notes_folder(store).iterdir())


def test_a_dead_worker_of_another_machine_is_gone_after_a_silence(store):
    other_note(store)
    start = time.monotonic()
    with present(store, "cpu"):
        assert time.monotonic() - start >= 0.3
        assert len(living_workers(store)) == 1
    assert not list(notes_folder(store).iterdir())


def test_another_torch_beside_a_living_worker_is_refused(store):
    path = other_note(store, torch="1.0")
    with hold(path), pytest.raises(UserError) as error, present(store, "cpu"):
        pass
    assert str(error.value).startswith("a worker on far (7) has torch 1.0, and this one ")
    assert not living_workers(store)
    with present(store, "cpu"):  # it is dead now
        pass


def test_locks_that_do_not_reach_another_machine_are_refused(store, monkeypatch):
    """The other worker counts, but its lock is free here."""
    path = other_note(store)
    values = json.loads(path.read_text())

    def counts(seconds):
        path.write_text(json.dumps(values | {"beat": values["beat"] + 1}))

    monkeypatch.setattr(presences.time, "sleep", counts)
    message = r"does not see the locks of far \(7\), .*--shard I/N"
    with pytest.raises(UserError, match=message), present(store, "cpu"):
        pass
    assert path.exists()


def test_slow_locks_are_said_in_one_line(store, monkeypatch, capsys):
    monkeypatch.setattr(presences, "SLOW_LOCK", -1.0)
    with present(store, "cpu"):
        pass
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"note: a lock in {store.root} takes 0.0 s")


def test_a_file_system_without_locks_has_no_notes(store, monkeypatch):
    def no_locks(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with present(store, "cpu") as here:
        here(Event("start", "a"))
    assert not list(notes_folder(store).iterdir())


def test_in_a_folder_that_cannot_be_written_there_is_no_note(store):
    notes_folder(store).write_text("in its place")
    with present(store, "cpu") as here:
        here(Event("start", "a"))
    assert here.note.runs.keys() == {"a"} and living_workers(store) == []


def test_a_job_outside_an_array(monkeypatch):
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert slurm_job() == ""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert slurm_job() == "5"
