"""Which runs of a suite are done, and doing the others, here or in worker processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from legible.bench.errors import UserError
from legible.bench.execution import pool
from legible.bench.execution.pairs import between_seeds, unscored
from legible.bench.execution.progress import CONSOLE, progress
from legible.bench.execution.store import Corrupt
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec


class Planned(NamedTuple):
    """A run spec with its status: done, failed, skipped, missing, to score or to run; and why."""

    spec: RunSpec
    status: str
    reason: str

    @property
    def waiting(self) -> bool:
        """Whether there is work to do."""
        return self.status in ("to run", "to score")


def plan(workspace: Workspace, specs: Sequence[RunSpec]) -> list[Planned]:
    """Each run spec with its status."""
    impossible: dict[tuple[object, ...], tuple[str, str]] = {}
    planned = []
    for spec in specs:
        key = (spec.block, spec.method, str(spec.given))
        if key not in impossible:
            impossible[key] = workspace.why_not(spec)
        status, reason = impossible[key]
        planned.append(Planned(spec, *((status, reason) if status else _status(workspace, spec))))
    return planned


def _status(workspace: Workspace, spec: RunSpec) -> tuple[str, str]:
    run = workspace.run_of(spec)
    try:
        manifest = run.manifest()
        if manifest is not None and manifest.status == "failed" and manifest.final:
            return "failed", manifest.reason
        if not run.done():
            return "to run", ""
        return ("to score" if unscored(workspace, spec, run) else "done"), ""
    except Corrupt as error:
        return "to run", f"unreadable: {error}"


def show_plan(workspace: Workspace, specs: Sequence[RunSpec]) -> None:
    """Prints what `legible run` would do."""
    table = Table("run", "status", "reason", box=None)
    planned = plan(workspace, specs)
    for spec, status, reason in planned:
        table.add_row(*map(escape, (spec.name, status, reason)))
    # in a file or a pipe a name is whole, however long
    (CONSOLE if CONSOLE.is_terminal else Console(highlight=False, width=10_000)).print(table)
    counts = Counter(item.status for item in planned)
    CONSOLE.print("  ".join(f"{counts[status]} {status}" for status in sorted(counts)))


def run_all(
    workspace: Workspace, specs: Sequence[RunSpec], jobs: int, plugins: Sequence[Path]
) -> None:
    """Does all runs that are not done, with progress. UserError where any failed."""
    if failures := attempt(workspace, specs, jobs, plugins):
        raise UserError(f"{len(failures)} runs failed, the first: {sorted(failures)[0]}")


def attempt(
    workspace: Workspace, specs: Sequence[RunSpec], jobs: int, plugins: Sequence[Path]
) -> list[str]:
    """Does all runs that are not done, with progress; returns the names of those that failed."""
    if jobs < 0:
        raise UserError("--jobs must be 0 (one a core) or more")
    jobs = jobs or (1 if workspace.device == "cuda" else os.cpu_count() or 1)
    planned = plan(workspace, specs)
    todo = [item.spec for item in planned if item.waiting]
    # runs that edit another's network come last, when that one is likely there
    todo.sort(key=lambda spec: bool(registry.get("methods", spec.method).parent))
    for _, status, reason in sorted({(0, p.status, p.reason) for p in planned
                                     if p.status in ("skipped", "missing")}):  # fmt: skip
        CONSOLE.print(f"{status}: {reason}", markup=False)
    done = sum(item.status == "done" for item in planned)
    CONSOLE.print(f"{len(todo)} of {len(specs)} runs to do ({done} done) on {workspace.device}")
    failures: list[str] = [item.spec.name for item in planned if item.status == "failed"]
    work_off(workspace, todo, jobs, plugins, failures)
    pairs = [item.spec for item in plan(workspace, specs)
             if item.status == "to score" and lacks_pair(workspace, item.spec)]  # fmt: skip
    if pairs:
        CONSOLE.print(f"{len(pairs)} runs to compare with their next seed")
        work_off(workspace, pairs, jobs, plugins, failures)
    return failures


def work_off(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    failures: list[str],
) -> None:
    """Does runs here or in worker processes, with progress; adds the names of failed ones."""
    with progress(specs, failures) as report:
        if len(specs) > 1 and jobs > 1:
            pool.run_parallel(workspace, specs, min(jobs, len(specs)), plugins, report)
        else:
            work_through(workspace, specs, report)


def lacks_pair(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a comparison between seeds is not scored yet and now can be."""
    return any(map(between_seeds, unscored(workspace, spec)))
