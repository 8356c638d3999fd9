"""Presence of workers: each keeps a note beside the runs that says where it works and on which run.

A worker locks its note as long as it lives, and writes it again every few seconds. Whether a worker
lives is told by the lock, and where locks do not reach another machine by the note's counter;
clocks are never compared.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from legible.bench.errors import UserError
from legible.bench.execution.manifest import now
from legible.bench.execution.progress import CONSOLE, Event
from legible.bench.execution.store import Store
from legible.bench.files import make_folder, take_group
from legible.bench.locks import hold, is_held

#: Seconds between two writings of a note, and after which an unchanged note is a dead worker's.
BEAT, SILENCE = 2.0, 5.0
#: Seconds for a lock that are worth a remark.
SLOW_LOCK = 1.0


class WorkerNote(BaseModel):
    """What a worker says of itself. ``job`` is its Slurm job ("" if there is none), ``runs`` maps
    the names of the runs that it works on to the time since when, and ``beat`` counts."""

    model_config = ConfigDict(extra="forbid")

    host: str
    pid: int
    user: str
    job: str
    device: str
    torch: str
    since: str
    runs: dict[str, str] = {}
    beat: int = 0

    @property
    def place(self) -> str:
        """Where it works, for a message: ``node7 (Slurm job 12_3)``."""
        return f"{self.host} (Slurm job {self.job})" if self.job else f"{self.host} ({self.pid})"


def notes_folder(store: Store) -> Path:
    """Where the notes are."""
    return store.root / ".workers"


def read_note(path: Path) -> WorkerNote | None:
    """A worker's note; None if it is gone or half written."""
    try:
        return WorkerNote.model_validate_json(path.read_bytes().rstrip(b" "))
    except (OSError, ValidationError):
        return None


def living_workers(store: Store) -> list[WorkerNote]:
    """The notes of all workers that hold the lock of their note."""
    notes = []
    for path in sorted(notes_folder(store).glob("*.json")):
        with contextlib.suppress(OSError):
            note = read_note(path) if is_held(path) else None
            notes += [note] if note else []
    return notes


def slurm_job() -> str:
    """The Slurm job that this process belongs to: ``12``, or ``12_3`` in an array; else ""."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


class Presence:
    """The note of this worker; call it with each event of its runs."""

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.size = path, 0
        self.writing = threading.Lock()
        self.achieved = False  # it ended an epoch or a run
        self.note = WorkerNote(
            host=socket.gethostname(), pid=os.getpid(), user=_user(), job=slurm_job(),
            device=device, torch=str(torch.__version__), since=now(),
        )  # fmt: skip

    def __call__(self, event: Event) -> None:
        """Takes in what a run reports."""
        if event.kind == "start":
            self.note.runs.setdefault(event.run, now())
        elif event.kind in ("done", "failed"):
            self.note.runs.pop(event.run, None)
        self.achieved |= event.kind in ("epoch", "done", "failed")
        if event.kind in ("start", "done", "failed"):
            self.write()

    def write(self) -> None:
        """Writes the note in its place, over the former one: its file stays locked."""
        with self.writing:
            self.note.beat += 1
            data = self.note.model_dump_json().encode()
            self.size = max(self.size, len(data))
            with contextlib.suppress(OSError), self.path.open("r+b") as file:
                file.write(data.ljust(self.size))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(os.getuid())


@contextlib.contextmanager
def present(store: Store, device: str) -> Iterator[Presence]:
    """Inside, this process is known as a worker; not where it cannot write or lock its note.

    Raises UserError if a living worker has another version of torch, or if locks do not reach the
    machine of another worker, so that both would do the same runs.
    """
    folder = notes_folder(store)
    path = folder / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
    own = Presence(path, device)
    with contextlib.ExitStack() as stack:
        start = time.monotonic()
        try:
            make_folder(folder)
            stack.enter_context(hold(path, wait=True, remove=True))
            take_group(path)
        except OSError:  # no locks, or a folder that may only be read: runs say so
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            yield own
            return
        _remark_slow_locks(store, time.monotonic() - start)
        own.write()
        _refuse_strangers(folder, own)
        stop = threading.Event()
        thread = threading.Thread(target=_beat, args=(own, stop), daemon=True)
        thread.start()
        try:
            yield own
        finally:
            stop.set()
            thread.join()


def _beat(own: Presence, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        own.write()


def _remark_slow_locks(store: Store, seconds: float) -> None:
    if seconds > SLOW_LOCK:
        CONSOLE.print(f"note: a lock in {store.root} takes {seconds:.1f} s; many short runs are "
                      "quicker in a folder of another file system (--runs)")  # fmt: skip


def _refuse_strangers(folder: Path, own: Presence) -> None:
    """Raises UserError for living workers that this one cannot work with; removes the notes of dead
    ones."""
    silent: dict[Path, WorkerNote] = {}
    for path in sorted(folder.glob("*.json")):
        note = read_note(path) if path != own.path else None
        if note is None:
            continue
        with contextlib.suppress(OSError):
            if not is_held(path):
                silent[path] = note
            elif note.torch != own.note.torch:
                raise UserError(
                    f"a worker on {note.place} has torch {note.torch}, and this one "
                    f"{own.note.torch}: runs of one folder need one version; install it, or use "
                    "another --runs"
                )
    if any(note.host != own.note.host for note in silent.values()):
        time.sleep(SILENCE)
    for path, note in silent.items():
        later = read_note(path)
        if later and later.beat != note.beat:
            raise UserError(
                f"{folder.parent}: this machine does not see the locks of {note.place}, which "
                "works there: use a file system with locks (NFS 4), or --shard I/N with another "
                "--runs on each machine"
            )
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
