"""A pool of worker processes on this machine; the store is their queue."""

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
from legible.bench.source_keys import SNAPSHOTS
from legible.bench.suites.run_spec import RunSpec


class Start(NamedTuple):
    """What a new process needs to open the same workspace."""

    runs: Path
    device: str
    root: Path
    plugins: list[Path]
    sources: dict[Path, bytes]  # of the plugins, as they were loaded


def run_parallel(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    report: Report,
) -> None:
    """Does runs in ``jobs`` processes. Ctrl-C ends them; the next call continues from their last
    checkpoints. Raises UserError if a process dies."""
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    start = Start(
        workspace.store.root, workspace.device, workspace.root, list(plugins), dict(SNAPSHOTS)
    )
    # each worker starts at another run, so that they rarely wait for the same lock
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
    exit_codes = [process.exitcode for process in processes if process.exitcode]
    if exit_codes:
        raise UserError(
            f"a worker process died with exit code {exit_codes[0]}; run again to continue"
        )


def _work(start: Start, specs: Sequence[RunSpec], events: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent process
    workspace = open_in_process(start)
    parent = multiprocessing.parent_process()

    def send(event: Event) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit("the process that started this worker is gone")
        events.put(event)

    work_through(workspace, specs, send)


def open_in_process(start: Start) -> Workspace:
    """The same workspace in a new process, with all plugins registered."""
    registry.load(plugins=start.plugins, sources=start.sources)
    return Workspace(Store(start.runs), start.device, start.root)
