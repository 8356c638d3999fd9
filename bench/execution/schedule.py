"""The schedule: which runs are done, and doing the others here or in worker processes."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import joblib
from rich.console import Console
from rich.table import Table

from legible.bench.errors import UserError
from legible.bench.execution import pool, stop
from legible.bench.execution.pairs import between_seeds, unscored
from legible.bench.execution.progress import CONSOLE, Monitor, Report
from legible.bench.execution.store import Corrupt
from legible.bench.execution.worker import forget_failure, work_through
from legible.bench.execution.workspace import Workspace, all_parts, uses_plugins
from legible.bench.plugins import registry
from legible.bench.plugins.apart import can_fork
from legible.bench.suites.run_spec import RunSpec
from legible.bench.text import one_line

Status = Literal["done", "failed", "skipped", "missing", "to score", "to run"]


@dataclass(frozen=True)
class PlannedRun:
    """A run spec with the status of its run, and the reason if that is a problem."""

    spec: RunSpec
    status: Status
    reason: str = ""

    @property
    def waiting(self) -> bool:
        """Whether there is work to do."""
        return self.status in ("to run", "to score")


def plan_runs(workspace: Workspace, specs: Sequence[RunSpec]) -> list[PlannedRun]:
    """Each run spec with its status."""
    obstacles = [(spec, workspace.obstacle(spec)) for spec in specs]
    return [
        PlannedRun(spec, obstacle.status, obstacle.reason)
        if obstacle
        else _plan_run(workspace, spec)
        for spec, obstacle in obstacles
    ]


def _plan_run(workspace: Workspace, spec: RunSpec) -> PlannedRun:
    run = workspace.run_of(spec)
    try:
        manifest = run.manifest()
        if manifest is not None and manifest.status == "failed" and manifest.final:
            return PlannedRun(spec, "failed", manifest.reason)
        if not run.done():
            return PlannedRun(spec, "to run")
    except Corrupt as error:
        return PlannedRun(spec, "to run", f"unreadable: {error}")
    try:
        run.verify_copies()
        if not unscored(workspace, spec, run):
            return PlannedRun(spec, "done")
    except Corrupt as error:
        return PlannedRun(spec, "to score", f"unreadable: {error}")
    if manifest is not None and manifest.reason and manifest.final:
        return PlannedRun(spec, "failed", manifest.reason)
    return PlannedRun(spec, "to score")


def show_plan(workspace: Workspace, specs: Sequence[RunSpec], retry: bool = False) -> None:
    """Prints what `legible run` would do: each run with its status, and a count of each status.

    With ``retry`` runs that failed count as runs to do.
    """
    table = Table("run", "status", "reason", box=None)
    planned = plan_runs(workspace, specs)
    if retry:
        planned = [
            replace(item, status="to run", reason=f"failed before: {item.reason}")
            if item.status == "failed" else item
            for item in planned
        ]  # fmt: skip
    for item in planned:
        table.add_row(item.spec.name, item.status, one_line(item.reason))
    # in a file or a pipe long names are not cut
    wide = Console(highlight=False, markup=False, emoji=False, width=10_000)
    (CONSOLE if CONSOLE.is_terminal else wide).print(table)
    counts = Counter(item.status for item in planned)
    CONSOLE.print("  ".join(f"{counts[status]} {status}" for status in sorted(counts)))


def run_all(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    retry: bool = False,
) -> None:
    """Does all runs that are not done, with progress; with ``retry`` also those that failed. Raises
    UserError if any failed."""
    if failures := attempt(workspace, specs, jobs, plugins, retry):
        raise UserError(
            f"{len(failures)} runs failed, the first: {sorted(failures)[0]}; `legible run --retry` "
            "tries them again"
        )


def attempt(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    retry: bool = False,
) -> list[str]:
    """Does all runs that are not done, with progress; returns the names of those that failed.

    SIGTERM ends it at a checkpoint and raises SystemExit with the code 143.
    """
    if jobs < 0:
        raise UserError("--jobs must be 0 (one a core) or more")
    jobs = jobs or (1 if workspace.device == "cuda" else joblib.cpu_count())
    try:
        with stop.stop_on_sigterm():
            return _attempt(workspace, specs, jobs, plugins, retry)
    except stop.Stopped:
        print("legible: stopped by SIGTERM; the same command continues from the last checkpoints",
              file=sys.stderr)  # fmt: skip
        raise SystemExit(128 + signal.SIGTERM) from None


def _attempt(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    retry: bool,
) -> list[str]:
    if retry:
        forget_failures(workspace, specs)
    planned = plan_runs(workspace, specs)
    todo = [item.spec for item in planned if item.waiting]
    # runs that edit another run's network come last, because that run is probably done by then
    todo.sort(key=lambda spec: bool(registry.get("methods", spec.method).parent))
    problems = {(p.status, p.reason) for p in planned if p.status in ("skipped", "missing")}
    for status, reason in sorted(problems):
        CONSOLE.print(f"{status}: {reason}")
    done = sum(item.status == "done" for item in planned)
    CONSOLE.print(f"{len(todo)} of {len(specs)} runs to do ({done} done) on {workspace.device}")
    failures = {item.spec.name: item.reason for item in planned if item.status == "failed"}
    for name, reason in failures.items():
        CONSOLE.print(f"failed: {name}: {reason}")
    names = [*failures, *work_off(workspace, todo, jobs, plugins)]
    after = plan_runs(workspace, specs)
    pairs = [item.spec for item in after
             if item.status == "to score" and lacks_pair(workspace, item.spec)]  # fmt: skip
    if pairs:
        CONSOLE.print(f"comparing {len(pairs)} runs with the run of the next seed")
        names += work_off(workspace, pairs, jobs, plugins)
    for item in after:
        if item.status == "to run" and item.spec.name not in names:
            reason = f" ({item.reason})" if item.reason else ""
            CONSOLE.print(f"failed: {item.spec.name}: did not finish{reason}")
            names.append(item.spec.name)
    for file in registry.changed_files():
        CONSOLE.print(
            f"note: {file} has changed since it was loaded; these runs belong to the loaded code"
        )
    return list(dict.fromkeys(names))


def forget_failures(workspace: Workspace, specs: Sequence[RunSpec]) -> None:
    """Forgets that runs failed, so that they are tried again."""
    for item in plan_runs(workspace, specs):
        if item.status == "failed" and workspace.obstacle(item.spec) is None:
            forget_failure(workspace, item.spec)


def work_off(
    workspace: Workspace, specs: Sequence[RunSpec], jobs: int, plugins: Sequence[Path]
) -> list[str]:
    """Like `do_runs`, with progress; returns the names of the runs that failed."""
    monitor = Monitor(specs)
    with monitor.bar:
        do_runs(workspace, specs, jobs, plugins, monitor)
    return monitor.failures


def do_runs(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    report: Report,
) -> None:
    """Does runs in worker processes.

    A run in which a plugin takes part has a process of its own. Where forks are not possible, one
    job without plugins is done in this process.
    """
    several = len(specs) > 1 and jobs > 1
    if several or can_fork() or any(uses_plugins(all_parts(spec)) for spec in specs):
        pool.run_parallel(workspace, specs, min(jobs, max(len(specs), 1)), plugins, report)
    else:
        work_through(workspace, specs, report)


def lacks_pair(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a comparison with the next seed can be scored now and is not."""
    return any(map(between_seeds, unscored(workspace, spec)))
