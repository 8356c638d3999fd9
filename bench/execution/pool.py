"""Several worker processes on this machine; the store is their queue."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from legible.bench.errors import UserError
from legible.bench.execution.progress import Event, Report
from legible.bench.execution.store import Store
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec


class Start(NamedTuple):
    """What a fresh process needs to open the same workspace."""

    runs: Path
    device: str
    root: Path
    plugins: list[Path]


def run_parallel(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    report: Report,
) -> None:
    """Does runs in ``jobs`` processes. On Ctrl-C the processes are ended; every finished epoch is
    on disk, so that the next call continues."""
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    start = Start(workspace.store.root, workspace.device, workspace.root, list(plugins))
    # each worker starts elsewhere in the list, so that they do not queue for the same locks
    orders = [[*specs[i::jobs], *(s for j in range(jobs) if j != i for s in specs[j::jobs])]
              for i in range(jobs)]  # fmt: skip
    processes = [
        context.Process(target=_work, args=(start, order, events), daemon=True) for order in orders
    ]
    for process in processes:
        process.start()
    try:
        while any(p.is_alive() for p in processes) or not events.empty():
            try:
                report(events.get(timeout=0.2))
            except queue.Empty:
                continue
    finally:
        for process in processes:
            process.terminate()
            process.join()
    crashed = [p.exitcode for p in processes if p.exitcode]
    if crashed:
        raise UserError(f"a worker process died with exit code {crashed[0]}; run again to continue")


def _work(start: Start, specs: Sequence[RunSpec], events: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    workspace = open_in_process(start)
    parent = multiprocessing.parent_process()

    def send(event: Event) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit("the process that started this worker is gone")
        events.put(event)

    work_through(workspace, specs, send)


def open_in_process(start: Start) -> Workspace:
    """The workspace in a fresh process, everything registered."""
    registry.load(plugins=start.plugins)
    return Workspace(Store(start.runs), start.device, start.root)
