"""Several worker processes on this machine, or a job array on Slurm; the store is the queue."""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.execute import Bench, Event, Report, worker
from bench.registry import UserError
from bench.store import Store
from bench.suite import Cell


def run_parallel(
    bench: Bench, cells: Sequence[Cell], jobs: int, plugins: Sequence[Path], report: Report
) -> None:
    """Runs cells in ``jobs`` processes. On Ctrl-C the processes are ended; every finished epoch
    is on disk, so that the next call continues."""
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    task = (bench.store.root, bench.device, bench.root, list(plugins))
    # each worker starts elsewhere in the list, so that they do not queue for the same locks
    orders = [[*cells[i::jobs], *(c for j in range(jobs) if j != i for c in cells[j::jobs])]
              for i in range(jobs)]  # fmt: skip
    processes = [
        context.Process(target=_work, args=(task, order, events), daemon=True) for order in orders
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


def _work(task: tuple[Path, str, Path, list[Path]], cells: Sequence[Cell], events: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    bench = start(*task)
    parent = multiprocessing.parent_process()

    def say(event: Event) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit("the process that started this worker is gone")
        events.put(event)

    worker(bench, cells, say)


def start(runs: Path, device: str, root: Path, plugins: Sequence[Path]) -> Bench:
    """A Bench in a fresh process, everything registered."""
    registry.load(plugins=plugins)
    return Bench(Store(runs), device, root)


def submit(
    bench: Bench, cells: Sequence[Cell], plugins: Sequence[Path], options: Mapping[str, str]
) -> list[str]:
    """Submits the cells to Slurm as a job array, one task a cell, and returns the job names.

    ``options`` are submitit's (partition=gpu, timeout_min=60, ...); ``cluster=local`` starts a
    process a cell on this machine instead, all at once. Raises UserError where there is no Slurm,
    or submitit is missing or refuses the options.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("Slurm needs submitit: pip install 'legible-bench[slurm]'") from error
    settings = {k: int(v) if v.isdigit() else v for k, v in options.items() if k != "cluster"}
    cluster = options.get("cluster")
    if cluster is None and shutil.which("srun") is None:  # submitit would run all cells here
        raise UserError("--slurm: no Slurm on this machine (no srun); use --jobs N instead")
    executor = submitit.AutoExecutor(bench.store.root / "slurm", cluster=cluster)
    try:
        executor.update_parameters(**{"timeout_min": 240, "cpus_per_task": 2, **settings})
    except (NameError, TypeError, ValueError) as error:
        raise UserError(f"--slurm: {error}") from error
    task = (bench.store.root.resolve(), bench.device, bench.root, [p.resolve() for p in plugins])
    jobs = executor.map_array(_remote, [task] * len(cells), list(cells))
    return [job.job_id for job in jobs]


def _remote(task: tuple[Path, str, Path, list[Path]], cell: Cell) -> None:
    def say(event: Event) -> None:
        print(event.kind, event.cell, event.text, flush=True)

    worker(start(*task), [cell], say)
