"""A pool of worker processes on this machine, which are handed one run after the other.

A run can end its process: the system kills it, or a plugin leaves. The pool then names the run,
starts another worker for the others, and tries the run once more at the end, with no other run
beside it. If its worker dies again, the run is recorded as failed.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from legible.bench.errors import UserError, one_line
from legible.bench.execution import stop
from legible.bench.execution.progress import Event, Report
from legible.bench.execution.store import Store
from legible.bench.execution.worker import fail_run, in_turn, take_run
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.source_keys import SNAPSHOTS
from legible.bench.suites.run_spec import RunSpec

#: Seconds after which a run that another command holds is looked at again.
PAUSE = 0.5
#: Seconds that workers have to end by themselves: after Ctrl-C or an error, and after SIGTERM.
LEAVE, LEAVE_ON_SIGTERM = 3.0, stop.GRACE + 5.0
#: The number of workers that may die while they start.
FALSE_STARTS = 2
#: Linux's prctl option: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1


class Start(NamedTuple):
    """What a new process needs to open the same workspace."""

    runs: Path
    device: str
    root: Path
    plugins: list[Path]
    sources: dict[Path, bytes]  # of the plugins, as they were loaded


class WorkerAnswer(NamedTuple):
    """What a worker says: that it is "ready"; that its run has "ended" or is "held" by another
    command; or, as "error", one line that ends the whole command."""

    kind: str
    text: str = ""


def run_parallel(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    report: Report,
) -> None:
    """Does runs in ``jobs`` processes. Ctrl-C ends them; the next call continues from their last
    checkpoints.

    Raises UserError if a process cannot start or cannot write, and Stopped on SIGTERM.
    """
    start = Start(
        workspace.store.root, workspace.device, workspace.root, list(plugins), dict(SNAPSHOTS)
    )
    Pool(workspace, lambda: _spawn(start), jobs, report).work(specs)


def run_aside(workspace: Workspace, specs: Sequence[RunSpec], report: Report) -> None:
    """Does runs one after the other in a process that is forked from this one, which survives what
    they do. Raises what `run_parallel` raises."""
    Pool(workspace, lambda: _fork(workspace), 1, report).work(specs)


def can_fork(workspace: Workspace) -> bool:
    """Whether a forked process can do the runs: not on a machine with a GPU, and not on macOS."""
    return (
        workspace.device == "cpu"
        and sys.platform.startswith("linux")
        and not torch.cuda.is_available()  # autograd's threads would not be copied
        and not multiprocessing.current_process().daemon
    )


# ----------------------------------------------------------------- the side that hands out runs


@dataclass(eq=False)
class Worker:
    """A worker process, the pipe to it, and the run that it is doing."""

    process: BaseProcess
    pipe: Connection
    spec: RunSpec | None = None
    ready: bool = False  # it has opened the workspace


class Pool:
    """Hands runs to workers until all are done or failed."""

    def __init__(
        self, workspace: Workspace, new_worker: Callable[[], Worker], jobs: int, report: Report
    ) -> None:
        self.workspace, self.new_worker = workspace, new_worker
        self.jobs, self.report = jobs, report
        self.workers: list[Worker] = []
        self.waiting: deque[RunSpec] = deque()
        self.turn: Iterator[RunSpec] = iter(())
        self.held: deque[tuple[float, RunSpec]] = deque()  # the time to look again, and the run
        self.again: deque[RunSpec] = deque()  # their worker died once
        self.died: set[str] = set()
        self.false_starts = 0

    def work(self, specs: Sequence[RunSpec]) -> None:
        """Does all runs. No worker is left when it returns or raises."""
        self.turn = in_turn(self.workspace, specs)
        patience = LEAVE
        try:
            while self._hand_out():
                self._listen()
        except stop.Stopped:
            patience = LEAVE_ON_SIGTERM
            raise
        finally:
            self._end(patience)

    def _next(self) -> RunSpec | None:
        """The next run to hand out now."""
        if self.held and self.held[0][0] <= time.monotonic():
            return self.held.popleft()[1]
        if self.waiting:
            return self.waiting.popleft()
        if (spec := next(self.turn, None)) is not None:
            return spec
        alone = not self.held and not any(worker.spec for worker in self.workers)
        return self.again.popleft() if self.again and alone else None

    def _hand_out(self) -> bool:
        """Gives runs to idle workers, starting them as needed; False if all runs are done."""
        while True:
            idle = next((worker for worker in self.workers if worker.spec is None), None)
            if idle is None and len(self.workers) >= self.jobs:
                return True
            spec = self._next()
            if spec is None:
                return bool(self.held or any(worker.spec for worker in self.workers))
            if idle is None:
                idle = self.new_worker()
                self.workers.append(idle)
            idle.spec = spec
            with suppress(OSError):  # it died; `_listen` sees to it
                idle.pipe.send(spec)

    def _listen(self) -> None:
        """Takes in what workers say, for a moment."""
        ready = connection.wait([worker.pipe for worker in self.workers], timeout=0.2)
        for worker in list(self.workers):
            dead = not worker.process.is_alive()
            try:
                while (worker.pipe in ready or dead) and worker.pipe.poll():
                    self._take_in(worker, worker.pipe.recv())
            except (EOFError, OSError):
                dead = True
            if dead:
                self._bury(worker)
        if not ready and self.held and not any(worker.spec for worker in self.workers):
            time.sleep(0.1)

    def _take_in(self, worker: Worker, message: Event | WorkerAnswer) -> None:
        if isinstance(message, Event):
            self.report(message)
        elif message.kind == "error":
            raise UserError(message.text)
        elif message.kind == "ready":
            worker.ready = True
        else:
            if message.kind == "held" and worker.spec is not None:
                self.held.append((time.monotonic() + PAUSE, worker.spec))
            worker.spec = None

    def _bury(self, worker: Worker) -> None:
        """Sees to the run of a worker that died."""
        if not ended(worker.process, LEAVE):  # it closed its pipe and goes on
            worker.process.kill()
            worker.process.join()
        self.workers.remove(worker)
        worker.pipe.close()
        death, spec = cause_of(worker.process.exitcode), worker.spec
        if not worker.ready:
            self.false_starts += 1
            if self.false_starts > FALSE_STARTS:
                raise UserError(f"a worker process {death} before its first run: try --jobs 1")
        if spec is None:
            return
        if not worker.ready:
            self.waiting.appendleft(spec)
            return
        if spec.name not in self.died:
            self.died.add(spec.name)
            self.again.append(spec)
            self.report(Event("note", spec.name, f"its worker {death}; tried once more at the end"))
            return
        reason = f"its worker {death}, twice; `legible run --retry` tries it again"
        fail_run(self.workspace, spec, reason)
        self.report(Event("failed", spec.name, reason))

    def _end(self, patience: float) -> None:
        """Ends all workers: at once if they are idle, and otherwise at a checkpoint."""
        try:
            for worker in self.workers:
                worker.process.terminate()
            deadline = time.monotonic() + patience
            for worker in self.workers:
                ended(worker.process, deadline - time.monotonic())
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()


def ended(process: BaseProcess, seconds: float) -> bool:
    """Waits until a process has ended, for some seconds. `join` would wait for ever for a process
    that closed its files."""
    deadline = time.monotonic() + seconds
    while process.is_alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def cause_of(exit_code: int | None) -> str:
    """How a process died, as the end of a sentence."""
    if exit_code is None or exit_code >= 0:
        return f"left with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "signal"
    memory = "; out of memory?" if -exit_code == signal.SIGKILL else ""
    return f"was killed by {name} (signal {-exit_code}{memory})"


# ----------------------------------------------------------------- starting a process


def _spawn(start: Start) -> Worker:
    """A worker in a fresh interpreter."""
    return _begin("spawn", _open_and_serve, start)


def _fork(workspace: Workspace) -> Worker:
    """A worker that is a copy of this process.

    The process is forked from a new thread, because OpenMP hangs in a copy of a thread that has
    used it.
    """
    workers: list[Worker] = []
    thread = threading.Thread(
        target=lambda: workers.append(_begin("fork", _serve_forked, workspace))
    )
    with _signals_blocked():
        thread.start()
        thread.join()
    return workers[0]


def _begin(method: str, target: Callable[..., None], what: Any) -> Worker:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(what, theirs), daemon=True)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    resource_tracker.ensure_running()  # it would unblock signals while the process starts
    with _signals_blocked():
        process.start()
    theirs.close()
    return Worker(process, ours)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Inside, a process starts that gets no signal before it is ready for it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ----------------------------------------------------------------- the side that does runs


def _open_and_serve(start: Start, pipe: Connection) -> None:
    if sys.platform.startswith("linux"):  # the parent's main thread lives as long as the parent
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _serve(lambda: open_in_process(start), pipe)


def _serve_forked(workspace: Workspace, pipe: Connection) -> None:
    # a live progress bar may hold the lock of the streams that it puts in their place
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    _serve(lambda: workspace, pipe)


def _serve(open_workspace: Callable[[], Workspace], pipe: Connection) -> None:
    """Does the runs that come through the pipe, until it is closed or the parent is gone."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent process
    own = os.getpid()

    def send(message: Event | WorkerAnswer) -> None:
        if os.getpid() != own:
            os._exit(1)  # a plugin forked this process, which is no worker
        try:
            pipe.send(message)
        except OSError:
            os._exit(1)  # the parent is gone

    with suppress(EOFError, OSError, stop.Stopped), stop.stop_on_sigterm():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        torch.set_num_threads(1)
        try:
            workspace = open_workspace()
            send(WorkerAnswer("ready"))
            while True:
                send(WorkerAnswer("ended" if take_run(workspace, pipe.recv(), send) else "held"))
        except (UserError, RuntimeError, ImportError) as error:
            text = str(error) if isinstance(error, UserError) else one_line(error)
            send(WorkerAnswer("error", text))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def open_in_process(start: Start) -> Workspace:
    """The same workspace in a new process, with all plugins registered."""
    registry.load(plugins=start.plugins, sources=start.sources)
    return Workspace(Store(start.runs), start.device, start.root)
