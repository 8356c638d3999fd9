"""A pool of worker processes on this machine, which are handed one run after the other.

A run can end its process: the system kills it, or a plugin leaves. The pool then names the run,
starts another worker for the others, and tries the run once more at the end, with no other run
beside it. If its worker dies again, the run is recorded as failed; so is, at once, a run that
exceeds its limits of time or memory.

A worker that did a run in which a plugin took part does no other run, because the plugin may have
changed settings, functions or data of its process.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, resource_tracker
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
from legible.bench.execution.workspace import Workspace, all_parts, uses_plugins
from legible.bench.plugins import registry
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.own_process import can_fork, mark_worker, signals_blocked
from legible.bench.plugins.process_tree import (
    become_root,
    cause_of,
    die_with_starter,
    end_own_tree,
    end_tree,
    memory,
    tree,
)
from legible.bench.source_keys import SNAPSHOTS
from legible.bench.suites.run_spec import RunSpec

#: Seconds after which a run that another command holds is looked at again.
PAUSE = 0.5
#: Seconds that workers have to end by themselves: after Ctrl-C or an error, and after SIGTERM.
LEAVE, LEAVE_ON_SIGTERM = 3.0, stop.GRACE + 5.0
#: The number of workers that may die while they start.
FALSE_STARTS = 2


class Start(NamedTuple):
    """What a new process needs to open the same workspace."""

    runs: Path
    device: str
    root: Path
    plugins: list[Path]
    sources: dict[Path, bytes]  # of the plugins, as they were loaded
    limits: RunLimits = RunLimits()  # of each run


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
    wait: bool = True,
) -> None:
    """Does runs in ``jobs`` processes, copies of this one where that is possible. Ctrl-C ends them;
    the next call continues from their last checkpoints. A run that another command holds is looked
    at again later; without ``wait`` it is left to that command.

    Raises UserError if a process cannot start or cannot write, and Stopped on SIGTERM.
    """
    start = Start(
        workspace.store.root, workspace.device, workspace.root, list(plugins), dict(SNAPSHOTS),
        workspace.limits,
    )  # fmt: skip
    forks = can_fork() and not multiprocessing.current_process().daemon
    new_worker = (lambda: _fork(workspace)) if forks else (lambda: _spawn(start))
    Pool(workspace, new_worker, jobs, report, wait).work(specs)


# ----------------------------------------------------------------- the side that hands out runs


@dataclass(eq=False)
class Worker:
    """A worker process, the pipe to it, and the run that it is doing."""

    process: BaseProcess
    pipe: Connection
    spec: RunSpec | None = None
    ready: bool = False  # it has opened the workspace
    since: float = 0.0  # when it took up the run
    members: dict[int, str] = field(default_factory=dict)  # processes that it started

    def end(self) -> None:
        """Kills the process and all that it started."""
        if self.process.pid is not None:
            end_tree(self.process.pid, self.members)
        self.process.join()
        self.pipe.close()


class Pool:
    """Hands runs to workers until all are done or failed."""

    def __init__(
        self,
        workspace: Workspace,
        new_worker: Callable[[], Worker],
        jobs: int,
        report: Report,
        wait: bool = True,
    ) -> None:
        self.workspace, self.new_worker = workspace, new_worker
        self.jobs, self.report, self.wait = jobs, report, wait
        self.workers: list[Worker] = []
        self.waiting: deque[RunSpec] = deque()
        self.turn: Iterator[RunSpec] = iter(())
        self.held: deque[tuple[float, RunSpec]] = deque()  # the time to look again, and the run
        self.again: deque[RunSpec] = deque()  # their worker died once
        self.died: set[str] = set()
        self.false_starts = 0

    def work(self, specs: Sequence[RunSpec]) -> None:
        """Does all runs. No worker is left when it returns or raises."""
        self.turn = in_turn(self.workspace, specs, self.report)
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
            idle.spec, idle.since = spec, time.monotonic()
            with suppress(OSError):  # it died; `_listen` sees to it
                idle.pipe.send(spec)

    def _listen(self) -> None:
        """Takes in what workers say, for a moment."""
        ready = connection.wait([worker.pipe for worker in self.workers], timeout=0.2)
        for worker in list(self.workers):
            dead = not worker.process.is_alive()
            try:
                while (worker.pipe in ready or dead) and worker in self.workers:
                    if not worker.pipe.poll():
                        break
                    self._take_in(worker, worker.pipe.recv())
            except (EOFError, OSError, pickle.UnpicklingError):
                dead = True
            if worker not in self.workers:
                continue
            if dead:
                self._bury(worker)
            elif worker.spec is not None and worker.ready:
                self._watch(worker, worker.spec)
        if not ready and self.held and not any(worker.spec for worker in self.workers):
            time.sleep(0.1)

    def _watch(self, worker: Worker, spec: RunSpec) -> None:
        """Ends a worker whose run exceeds its limits."""
        limits = self.workspace.limits
        worker.members |= tree(worker.process.pid or 0)
        seconds = time.monotonic() - worker.since
        if reason := limits.broken(seconds, memory(worker.members, limits.memory)):
            self.workers.remove(worker)
            worker.end()
            self._fail(spec, f"it {reason}; `legible run --retry` tries it again")

    def _fail(self, spec: RunSpec, reason: str, final: bool = True) -> None:
        fail_run(self.workspace, spec, reason, final)
        self.report(Event("failed", spec.name, reason))

    def _take_in(self, worker: Worker, message: Event | WorkerAnswer) -> None:
        if isinstance(message, Event):
            self.report(message)
        elif message.kind == "error":
            if worker.spec is None or not worker.ready or not uses_plugins(all_parts(worker.spec)):
                raise UserError(message.text)
            self.workers.remove(worker)  # it may be the plugin's doing: another umask, folder, ...
            worker.end()
            self._fail(worker.spec, message.text, final=False)
        elif message.kind == "ready":
            worker.ready, worker.since = True, time.monotonic()
        elif worker.spec is not None:
            spec, worker.spec = worker.spec, None
            if message.kind == "held" and self.wait:
                self.held.append((time.monotonic() + PAUSE, spec))
            elif message.kind != "held" and uses_plugins(all_parts(spec)):
                self.workers.remove(worker)
                worker.end()

    def _bury(self, worker: Worker) -> None:
        """Sees to the run of a worker that died."""
        ended(worker.process, LEAVE)  # it may have closed its pipe and go on
        self.workers.remove(worker)
        worker.end()
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
        self._fail(spec, reason)

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
                worker.end()


def ended(process: BaseProcess, seconds: float) -> bool:
    """Waits until a process has ended, for some seconds. `join` would wait for ever for a process
    that closed its files."""
    deadline = time.monotonic() + seconds
    while process.is_alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


# ----------------------------------------------------------------- starting a process


def _spawn(start: Start) -> Worker:
    """A worker in a fresh interpreter, in which the built-in modules are already imported where the
    system has fork servers: a process that does nothing but import them and fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return _begin("spawn", _open_and_serve, start)
    modules = [name for kind in registry.KINDS for name in registry.built_in_modules(kind)]
    multiprocessing.set_forkserver_preload([__name__, *modules])
    forkserver.ensure_running()
    return _begin("forkserver", _open_and_serve, start)


def _fork(workspace: Workspace) -> Worker:
    """A worker that is a copy of this process.

    The process is forked from a new thread, because OpenMP hangs in a copy of a thread that has
    used it.
    """
    with ThreadPoolExecutor(max_workers=1) as thread, signals_blocked():
        return thread.submit(_begin, "fork", _serve_forked, workspace).result()


def _begin(method: str, target: Callable[..., None], what: Any) -> Worker:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(what, theirs), daemon=True)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    resource_tracker.ensure_running()  # it would unblock signals while the process starts
    with signals_blocked():
        process.start()
    theirs.close()
    return Worker(process, ours)


# ----------------------------------------------------------------- the side that does runs


def _open_and_serve(start: Start, pipe: Connection) -> None:
    die_with_starter()  # the parent's main thread, which lives as long as the parent
    _serve(lambda: open_in_process(start), pipe)


def _serve_forked(workspace: Workspace, pipe: Connection) -> None:
    # a live progress bar may hold the lock of the streams that it puts in their place
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    _serve(lambda: workspace, pipe)


def _serve(open_workspace: Callable[[], Workspace], pipe: Connection) -> None:
    """Does the runs that come through the pipe, until it is closed or the parent is gone."""
    mark_worker()
    become_root()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGUSR1):  # Ctrl-C is handled by the parent process, and
        signal.signal(number, signal.SIG_IGN)  # so is Slurm's warning of the time limit
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
    parent, number = multiprocessing.parent_process(), os.getppid()
    # a process that a plugin left may keep the sentinel open, so the number counts as well
    if parent is not None:
        while os.getppid() == number and not connection.wait([parent.sentinel], timeout=1.0):
            pass
        end_own_tree()


def open_in_process(start: Start) -> Workspace:
    """The same workspace in a new process, with all plugins registered."""
    registry.load(plugins=start.plugins, sources=start.sources)
    return Workspace(Store(start.runs), start.device, start.root, start.limits)
