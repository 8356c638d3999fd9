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
from legible.bench.execution.pairs import between_seeds, partner_of, unscored
from legible.bench.execution.progress import CONSOLE, Monitor, Report
from legible.bench.execution.reuse import (
    OTHER_SCORING,
    PublishedRun,
    current_scores,
    is_complete,
    published_run,
)
from legible.bench.execution.store import Corrupt
from legible.bench.execution.worker import forget_failure, work_through
from legible.bench.execution.workspace import (
    Workspace,
    all_parts,
    parent_of,
    probe_key,
    uses_plugins,
)
from legible.bench.plugins import registry
from legible.bench.plugins.own_process import can_fork
from legible.bench.suites.run_spec import RunSpec
from legible.bench.text import one_line

Status = Literal["done", "published", "stale", "failed", "skipped", "missing", "to score", "to run"]


@dataclass(frozen=True)
class PlannedRun:
    """A run spec with the status of its run, and the reason if that is a problem.

    "published": a published table holds its scores. "stale": it holds them, but other code of the
    metrics made them, or they were made on other images.
    """

    spec: RunSpec
    status: Status
    reason: str = ""

    @property
    def waiting(self) -> bool:
        """Whether there is work to do."""
        return self.status in ("to run", "to score")


def plan_runs(workspace: Workspace, specs: Sequence[RunSpec]) -> list[PlannedRun]:
    """Each run spec with its status. A published run is to be run again where its weights are
    needed (see `weights_needed`)."""
    planned = [_plan_run(workspace, spec) for spec in specs]
    again = weights_needed(workspace, planned)
    return [
        replace(item, status="to run", reason=WITHOUT_WEIGHTS)
        if item.status in ("published", "stale") and item.spec.name in again
        else item
        for item in planned
    ]


def _plan_run(workspace: Workspace, spec: RunSpec) -> PlannedRun:
    published = published_run(workspace, spec)
    obstacle = workspace.obstacle(spec)
    if obstacle is None and (damaged := _damaged(workspace, spec)):
        return damaged
    if published is not None and published.complete:
        reason = f"failed: {published.failure}" if published.failure else ""
        return PlannedRun(spec, "done" if is_complete(workspace, spec) else "published", reason)
    if obstacle:
        return PlannedRun(spec, obstacle.status, obstacle.reason)
    run = workspace.run_of(spec)
    manifest = run.manifest()
    if manifest is not None and manifest.status == "failed" and manifest.final:
        return PlannedRun(spec, "failed", manifest.reason)
    if not run.done() or manifest is None:
        return _plan_missing(spec, published)
    if not unscored(workspace, spec, run):
        return PlannedRun(spec, "done")
    if manifest.reason and manifest.final:
        return PlannedRun(spec, "failed", manifest.reason)
    return PlannedRun(spec, "to score")


def _damaged(workspace: Workspace, spec: RunSpec) -> PlannedRun | None:
    """What has to be done again because a file of a run is damaged, also if published values could
    stand for it; None if no file is."""
    run = workspace.run_of(spec)
    try:
        if not run.done():
            return None
    except Corrupt as error:
        return PlannedRun(spec, "to run", f"unreadable: {error}")
    try:
        run.verify_copies()
        run.verified_scores(probe_key(workspace, spec))
    except Corrupt as error:
        return PlannedRun(spec, "to score", f"unreadable: {error}")
    return None


def _plan_missing(spec: RunSpec, published: PublishedRun | None) -> PlannedRun:
    """The status of a run that is not here."""
    if published is None:
        return PlannedRun(spec, "to run")
    if published.absent:
        return PlannedRun(spec, "to run", f"no published values of {_some(published.absent)}, and "
                                          f"{WITHOUT_WEIGHTS}")  # fmt: skip
    return PlannedRun(spec, "stale", f"{_some(published.stale)}: {OTHER_SCORING}; `legible adopt` "
                                     "compares one seed of each row")  # fmt: skip


#: Why a published run is trained again.
WITHOUT_WEIGHTS = "a published row holds values, not weights"


def _some(names: Sequence[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def weights_needed(workspace: Workspace, planned: Sequence[PlannedRun]) -> set[str]:
    """Names of the run specs that have published values and are not here, but whose networks are
    needed by a run that is to be done: to be edited, or to be compared with."""
    if workspace.published is None or not workspace.published.runs:
        return set()
    return {
        spec.name
        for item in planned
        for spec in _networks_for(workspace, item)
        if published_run(workspace, spec) is not None and not _is_trained(workspace, spec)
    }


def _networks_for(workspace: Workspace, item: PlannedRun) -> list[RunSpec]:
    """The other runs whose networks are needed for the scores of a planned run."""
    if item.status not in ("to run", "to score", "done"):
        return []
    out = []
    if item.status == "to run" and registry.get("methods", item.spec.method).parent:
        out.append(parent_of(item.spec))
    partner = partner_of(item.spec)
    if partner and not _is_trained(workspace, partner) and _lacks_pairs(workspace, item.spec):
        out.append(partner)
    return out


def _lacks_pairs(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a comparison with the next seed has a value neither here nor published."""
    pairs = {name for name in spec.metrics if between_seeds(name)}
    if not pairs or pairs <= set(current_scores(workspace, spec)):
        return False
    published = published_run(workspace, spec)
    return published is None or not published.complete


def _is_trained(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a run's network is here."""
    try:
        return workspace.run_of(spec).done()
    except Corrupt:
        return False


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
    for line in notes_on_reuse(workspace, planned):
        CONSOLE.print(line)


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
    published = sum(item.status == "published" for item in planned)
    already = f"{done} done, {published} published" if published else f"{done} done"
    CONSOLE.print(f"{len(todo)} of {len(specs)} runs to do ({already}) on {workspace.device}")
    for line in notes_on_reuse(workspace, planned):
        CONSOLE.print(line)
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


def notes_on_reuse(workspace: Workspace, planned: Sequence[PlannedRun]) -> list[str]:
    """What has to be said about published runs before anything starts: those that are trained again
    and those that are stale."""
    notes = []
    lacking = {item.spec.name for item in planned if item.reason.endswith(WITHOUT_WEIGHTS)}
    again = lacking | weights_needed(workspace, planned)
    if again:
        notes.append(f"{len(again)} published {_runs(len(again))} trained again, because "
                     f"{WITHOUT_WEIGHTS}: {_some(sorted(again), 10)}")  # fmt: skip
    stale = [item for item in planned if item.status == "stale"]
    if stale:
        first = f"{stale[0].spec.name}: {stale[0].reason}"
        notes.append(f"stale: {len(stale)} published {_runs(len(stale))} not done again, the "
                     f"first: {first}; --only-local trains them here")  # fmt: skip
    return notes


def _runs(count: int) -> str:
    return "run is" if count == 1 else "runs are"


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
