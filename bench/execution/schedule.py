"""The schedule: which runs are done, and doing the others here or in worker processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from legible.bench.errors import UserError
from legible.bench.execution import pool
from legible.bench.execution.pairs import between_seeds, unscored
from legible.bench.execution.progress import CONSOLE, Monitor
from legible.bench.execution.store import Corrupt
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Obstacle, Workspace
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, canonical

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
    obstacles: dict[tuple[object, ...], Obstacle | None] = {}
    planned = []
    for spec in specs:
        key = (spec.block, spec.method, canonical(spec.given))
        if key not in obstacles:
            obstacles[key] = workspace.obstacle(spec)
        obstacle = obstacles[key]
        planned.append(
            PlannedRun(spec, obstacle.status, obstacle.reason)
            if obstacle
            else _plan_run(workspace, spec)
        )
    return planned


def _plan_run(workspace: Workspace, spec: RunSpec) -> PlannedRun:
    run = workspace.run_of(spec)
    try:
        manifest = run.manifest()
        if manifest is not None and manifest.status == "failed" and manifest.final:
            return PlannedRun(spec, "failed", manifest.reason)
        if not run.done():
            return PlannedRun(spec, "to run")
        return PlannedRun(spec, "to score" if unscored(workspace, spec, run) else "done")
    except Corrupt as error:
        return PlannedRun(spec, "to run", f"unreadable: {error}")


def show_plan(workspace: Workspace, specs: Sequence[RunSpec]) -> None:
    """Prints what `legible run` would do: each run with its status, and a count of each status."""
    table = Table("run", "status", "reason", box=None)
    planned = plan_runs(workspace, specs)
    for item in planned:
        table.add_row(item.spec.name, item.status, escape(item.reason))
    # in a file or a pipe long names are not cut
    (CONSOLE if CONSOLE.is_terminal else Console(highlight=False, width=10_000)).print(table)
    counts = Counter(item.status for item in planned)
    CONSOLE.print("  ".join(f"{counts[status]} {status}" for status in sorted(counts)))


def run_all(
    workspace: Workspace, specs: Sequence[RunSpec], jobs: int, plugins: Sequence[Path]
) -> None:
    """Does all runs that are not done, with progress. Raises UserError if any failed."""
    if failures := attempt(workspace, specs, jobs, plugins):
        raise UserError(f"{len(failures)} runs failed, the first: {sorted(failures)[0]}")


def attempt(
    workspace: Workspace, specs: Sequence[RunSpec], jobs: int, plugins: Sequence[Path]
) -> list[str]:
    """Does all runs that are not done, with progress; returns the names of those that failed."""
    if jobs < 0:
        raise UserError("--jobs must be 0 (one a core) or more")
    jobs = jobs or (1 if workspace.device == "cuda" else os.cpu_count() or 1)
    planned = plan_runs(workspace, specs)
    todo = [item.spec for item in planned if item.waiting]
    # runs that edit another run's network come last, because that run is probably done by then
    todo.sort(key=lambda spec: bool(registry.get("methods", spec.method).parent))
    obstacles = {(p.status, p.reason) for p in planned if p.status in ("skipped", "missing")}
    for status, reason in sorted(obstacles):
        CONSOLE.print(f"{status}: {reason}", markup=False)
    done = sum(item.status == "done" for item in planned)
    CONSOLE.print(f"{len(todo)} of {len(specs)} runs to do ({done} done) on {workspace.device}")
    failures = [item.spec.name for item in planned if item.status == "failed"]
    failures += work_off(workspace, todo, jobs, plugins)
    pairs = [item.spec for item in plan_runs(workspace, specs)
             if item.status == "to score" and lacks_pair(workspace, item.spec)]  # fmt: skip
    if pairs:
        CONSOLE.print(f"{len(pairs)} runs to compare with their next seed")
        failures += work_off(workspace, pairs, jobs, plugins)
    return failures


def work_off(
    workspace: Workspace, specs: Sequence[RunSpec], jobs: int, plugins: Sequence[Path]
) -> list[str]:
    """Does runs in this process or in ``jobs`` worker processes, with progress; returns the names
    of those that failed."""
    monitor = Monitor(specs)
    with monitor.bar:
        if len(specs) > 1 and jobs > 1:
            pool.run_parallel(workspace, specs, min(jobs, len(specs)), plugins, monitor)
        else:
            work_through(workspace, specs, monitor)
    return monitor.failures


def lacks_pair(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a comparison with the next seed can be scored now and is not."""
    return any(map(between_seeds, unscored(workspace, spec)))
