"""The schedule: which runs are done, and doing the others here or in worker processes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import joblib
from rich.console import Console
from rich.table import Table

from legible.bench.errors import UserError
from legible.bench.execution import pool, stop
from legible.bench.execution.marks import (
    FAILED,
    Marks,
    Turn,
    read_marks,
    remove_marks,
    scored_mark,
    set_mark,
    trusted_marks,
    turn_of,
    turns_of,
)
from legible.bench.execution.pairs import between_seeds, partner_of, scorable, unscored
from legible.bench.execution.presence import Presence, present
from legible.bench.execution.progress import CONSOLE, Event, Monitor, Report
from legible.bench.execution.reuse import (
    OTHER_SCORING,
    PublishedRun,
    current_scores,
    is_complete,
    published_run,
)
from legible.bench.execution.store import Corrupt
from legible.bench.execution.time_spent import Clock
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


def plan_runs(
    workspace: Workspace, specs: Sequence[RunSpec], marks: Marks | None = None
) -> list[PlannedRun]:
    """Each run spec with its status. A published run is to be run again where its weights are
    needed (see `weights_needed`). What ``marks`` tell of a run is not verified."""
    planned = [_marked_run(workspace, spec, marks) or _plan_run(workspace, spec) for spec in specs]
    again = weights_needed(workspace, planned)
    return [
        replace(item, status="to run", reason=WITHOUT_WEIGHTS)
        if item.status in ("published", "stale") and item.spec.name in again
        else item
        for item in planned
    ]


def _marked_run(workspace: Workspace, spec: RunSpec, marks: Marks | None) -> PlannedRun | None:
    """The status of a run that marks tell has ended; None if they do not."""
    if not marks or workspace.obstacle(spec):
        return None
    turn = turn_of(workspace, spec)
    if not turn.ended(marks) or turn.left(marks):
        return None
    if not turn.failed(marks):
        return PlannedRun(spec, "done")
    manifest = workspace.run_of(spec).readable_manifest()
    return PlannedRun(spec, "failed", manifest.reason if manifest else "")


def correct_marks(workspace: Workspace, planned: Sequence[PlannedRun]) -> None:
    """Makes the marks of runs agree with what a look into their files has told."""
    marks = read_marks(workspace.store)
    for item in planned:
        if item.status not in ("done", "failed", "to run", "to score"):
            continue
        if workspace.obstacle(item.spec):
            continue
        run = workspace.run_of(item.spec)
        if item.waiting:
            remove_marks(workspace.store, run, marks)
            continue
        metrics = scorable(workspace, item.spec).metrics
        mark = FAILED if item.status == "failed" else scored_mark(workspace, item.spec, metrics)
        if mark not in marks.get(run.name, frozenset()):
            set_mark(workspace.store, run, mark, marks)


def _plan_run(workspace: Workspace, spec: RunSpec) -> PlannedRun:
    published = published_run(workspace, spec)
    obstacle = workspace.obstacle(spec)
    if obstacle is None and (damaged := _damaged(workspace, spec)):
        return damaged
    manifest = None if obstacle else workspace.run_of(spec).manifest()
    failed = manifest is not None and manifest.status == "failed" and manifest.final
    if published is not None and published.complete and not (failed and published.failure):
        reason = f"{FAILED_BEFORE}{published.failure}" if published.failure else ""
        return PlannedRun(spec, "done" if is_complete(workspace, spec) else "published", reason)
    if obstacle:
        return PlannedRun(spec, obstacle.status, obstacle.reason)
    run = workspace.run_of(spec)
    if manifest is not None and failed:
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


#: The beginning of the reason of a published run that failed.
FAILED_BEFORE = "failed: "
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
            _again(item) if item.status == "failed" or _failed_as_published(item) else item
            for item in planned
        ]
    for item in planned:
        table.add_row(item.spec.name, item.status, one_line(item.reason))
    # in a file or a pipe long names are not cut
    wide = Console(highlight=False, markup=False, emoji=False, width=10_000)
    (CONSOLE if CONSOLE.is_terminal else wide).print(table)
    counts = Counter(item.status for item in planned)
    CONSOLE.print("  ".join(f"{counts[status]} {status}" for status in sorted(counts)))
    if counts["published"] and set(counts) <= {"done", "published"}:
        CONSOLE.print("nothing to run; --only-local makes the published runs here")
    for line in [*notes_on_reuse(workspace, planned), *_notes_on_images(workspace)]:
        CONSOLE.print(line)


def run_all(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    retry: bool = False,
    worker: bool = False,
) -> None:
    """Does all runs that are not done, with progress; with ``retry`` also those that failed. With
    ``worker`` it does not wait for runs that other workers do. Raises UserError if any failed."""
    if failures := attempt(workspace, specs, jobs, plugins, retry, worker):
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
    worker: bool = False,
) -> list[str]:
    """Does all runs that are not done, with progress; returns the names of those that failed.

    SIGTERM ends it at a checkpoint and raises SystemExit with the code 143; SIGUSR1 does with
    `stop.REQUEUE`, or 2 if the job started three times in vain.
    """
    if jobs < 0:
        raise UserError("--jobs must be 0 (one a core) or more")
    jobs = jobs or (_jobs_of_worker(workspace.device) if worker else _jobs(workspace.device))
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(present(workspace.store, workspace.device))
        try:
            with stop.stop_on_sigterm():
                if retry:
                    forget_failures(workspace, specs)
                do = _share if worker else _attempt
                return do(workspace, specs, jobs, plugins, here)
        except stop.Stopped as stopped:
            raise SystemExit(_say_stopped(stopped.code, here.achieved)) from None


def _jobs(device: str) -> int:
    return 1 if device == "cuda" else joblib.cpu_count()


def _jobs_of_worker(device: str) -> int:
    """The processes of a worker: one on a GPU, else one for each core that Slurm gave it."""
    cores = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(cores) if cores.isdigit() and int(cores) and device != "cuda" else 1


#: So often a job may start without reaching a checkpoint.
STARTS_IN_VAIN = 3


def _say_stopped(code: int, achieved: bool) -> int:
    """Says why this command stopped, and returns its exit code."""
    text = "stopped by SIGTERM; the same command continues from the last checkpoints"
    if code == stop.REQUEUE:
        text = (
            "stopped near the job's time limit; its next start continues from the last checkpoints"
        )
        starts = os.environ.get("SLURM_RESTART_COUNT", "")
        if not achieved and starts.isdigit() and int(starts) + 1 >= STARTS_IN_VAIN:
            text = (f"stopped near the job's time limit; it started {STARTS_IN_VAIN} times without "
                    "reaching a checkpoint: give it more time (--slurm time=...)")  # fmt: skip
            code = 2
    print(f"legible: {text}", file=sys.stderr)
    return code


def _attempt(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    here: Presence,
) -> list[str]:
    """Does all runs, waits for those that others do, and compares seeds."""
    planned = plan_runs(workspace, specs)
    correct_marks(workspace, planned)
    todo = _edits_last([item.spec for item in planned if item.waiting])
    names = _announce(workspace, planned)
    clock = Clock(workspace, todo, min(jobs, len(todo)), here)
    names += work_off(workspace, todo, jobs, plugins, clock)
    after = plan_runs(workspace, specs)
    pairs = [item.spec for item in after
             if item.status == "to score" and lacks_pair(workspace, item.spec)]  # fmt: skip
    if pairs:
        CONSOLE.print(f"comparing {len(pairs)} runs with the run of the next seed")
        names += work_off(workspace, pairs, jobs, plugins, clock)
    for item in after:
        if item.status == "to run" and item.spec.name not in names:
            reason = f" ({item.reason})" if item.reason else ""
            CONSOLE.print(f"failed: {item.spec.name}: did not finish{reason}")
            names.append(item.spec.name)
    _note_changed_files()
    if line := clock.line():
        CONSOLE.print(line)
    return list(dict.fromkeys(names))


def _share(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    here: Presence,
) -> list[str]:
    """Does runs until none is left that no other worker holds; returns those that failed meanwhile.

    Whoever ends a run looks at all runs once more, and so the last of all workers does what only
    the last can do: comparisons with the run of the next seed.
    """
    planned = plan_runs(workspace, specs, trusted_marks(workspace.store))
    _announce(workspace, planned)
    names: list[str] = []
    able = _edits_last([i.spec for i in planned if i.status in ("to run", "to score", "done")])
    turns = turns_of(workspace, able)
    tried: set[tuple[str, str]] = set()  # runs that this worker did, and what was to do
    while todo := _left(turns, tried, workspace):
        todo_specs = [turn.spec for turn in todo]
        monitor = Monitor(todo_specs)
        names += work_off(workspace, todo_specs, jobs, plugins, here, monitor)
        tried |= {(turn.name, due) for turn, due in todo.items() if turn.spec.name in monitor.own}
        if not monitor.own:
            break  # others hold all that is left
    left = len(_left(turns, set(), workspace))
    CONSOLE.print(f"this worker leaves: others do the last {left}" if left else "nothing is left")
    _note_changed_files()
    return list(dict.fromkeys(names))


def _left(
    turns: Sequence[Turn], tried: Set[tuple[str, str]], workspace: Workspace
) -> dict[Turn, str]:
    """The turns of runs that something is left to do on, each with the mark that will tell that it
    is done."""
    marks = read_marks(workspace.store)
    left = {turn: turn.due(marks) for turn in turns if turn.left(marks)}
    return {turn: due for turn, due in left.items() if (turn.name, due) not in tried}


def _edits_last(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Runs that edit another run's network come last, because that run is probably done by then."""
    return sorted(specs, key=lambda spec: bool(registry.get("methods", spec.method).parent))


def _announce(workspace: Workspace, planned: Sequence[PlannedRun]) -> list[str]:
    """Prints what is to be done and why other runs are not; returns the names of those that
    failed."""
    problems = {(p.status, p.reason) for p in planned if p.status in ("skipped", "missing")}
    for status, reason in sorted(problems):
        CONSOLE.print(f"{status}: {reason}")
    done = sum(item.status == "done" for item in planned)
    published = sum(item.status == "published" for item in planned)
    already = f"{done} done, {published} published" if published else f"{done} done"
    todo = sum(item.waiting for item in planned)
    CONSOLE.print(f"{todo} of {len(planned)} runs to do ({already}) on {workspace.device}")
    for line in [*notes_on_reuse(workspace, planned), *_notes_on_images(workspace)]:
        CONSOLE.print(line)
    failures = {item.spec.name: item.reason for item in planned if item.status == "failed"}
    for name, reason in failures.items():
        CONSOLE.print(f"failed: {name}: {reason}")
    return list(failures)


def _notes_on_images(workspace: Workspace) -> list[str]:
    """Which datasets are not in memory."""
    names = {loaded.data.name for loaded in workspace.datasets.values()
             if loaded.data.train.streamed}  # fmt: skip
    return [
        f"note: the images of {name} do not lie in memory; they are read in batches from "
        f"{workspace.root / 'cache'}" for name in sorted(names)
    ]  # fmt: skip


def _note_changed_files() -> None:
    for file in registry.changed_files():
        CONSOLE.print(
            f"note: {file} has changed since it was loaded; these runs belong to the loaded code"
        )


def forget_failures(workspace: Workspace, specs: Sequence[RunSpec]) -> None:
    """Forgets that runs failed, here or as a published table says, so that they are tried again."""
    failed = [item.spec for item in plan_runs(workspace, specs)
              if item.status == "failed" or _failed_as_published(item)]  # fmt: skip
    for spec in failed:
        if workspace.obstacle(spec) is None:
            forget_failure(workspace, spec)
            _leave_out(workspace, workspace.run_of(spec).name)


def _leave_out(workspace: Workspace, run: str) -> None:
    """Makes a workspace treat a run as not published."""
    if workspace.published:
        runs = {name: record for name, record in workspace.published.runs.items() if name != run}
        workspace.published = replace(workspace.published, runs=runs)


def notes_on_reuse(workspace: Workspace, planned: Sequence[PlannedRun]) -> list[str]:
    """What has to be said about published runs before anything starts: those that are trained again
    and those that are stale."""
    notes = []
    lacking = {item.spec.name for item in planned if item.reason.endswith(WITHOUT_WEIGHTS)}
    again = lacking | weights_needed(workspace, planned)
    if again:
        notes.append(f"{len(again)} published {_runs(len(again))} trained again, because "
                     f"{WITHOUT_WEIGHTS}: {_some(sorted(again), 10)}")  # fmt: skip
    failed = [item for item in planned if _failed_as_published(item)]
    if failed:
        first = f"{failed[0].spec.name}: {failed[0].reason.removeprefix(FAILED_BEFORE)}"
        notes.append(f"failed: {len(failed)} published {_runs(len(failed))} not tried again, the "
                     f"first: {first}; --retry tries them here")  # fmt: skip
    stale = [item for item in planned if item.status == "stale"]
    if stale:
        first = f"{stale[0].spec.name}: {stale[0].reason}"
        notes.append(f"stale: {len(stale)} published {_runs(len(stale))} not done again, the "
                     f"first: {first}; --only-local trains them here")  # fmt: skip
    return notes


def _failed_as_published(item: PlannedRun) -> bool:
    """Whether a published table says that a run failed, and it is not here."""
    return item.status == "published" and item.reason.startswith(FAILED_BEFORE)


def _again(item: PlannedRun) -> PlannedRun:
    """A run that failed as one to run."""
    reason = f"failed before: {item.reason.removeprefix(FAILED_BEFORE)}"
    return replace(item, status="to run", reason=reason)


def _runs(count: int) -> str:
    return "run is" if count == 1 else "runs are"


def work_off(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    here: Report,
    monitor: Monitor | None = None,
) -> list[str]:
    """Like `do_runs`, with progress; returns the names of the runs that failed. ``here`` takes in
    all events as well, with the names of the runs' folders. Runs that others hold are waited for
    unless a monitor is given."""
    wait, monitor = monitor is None, monitor or Monitor(specs)

    folders = {spec.name: workspace.run_of(spec).name for spec in specs}

    def report(event: Event) -> None:
        here(replace(event, run=folders.get(event.run, event.run)))
        monitor(event)

    with monitor.bar:
        do_runs(workspace, specs, jobs, plugins, report, wait)
    return monitor.failures


def do_runs(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    jobs: int,
    plugins: Sequence[Path],
    report: Report,
    wait: bool = True,
) -> None:
    """Does runs in worker processes. Without ``wait``, runs that other commands hold are left to
    them.

    A run in which a plugin takes part has a process of its own. Where forks are not possible, one
    job without plugins is done in this process.
    """
    several = len(specs) > 1 and jobs > 1
    if several or can_fork() or any(uses_plugins(all_parts(spec)) for spec in specs):
        count = min(jobs, max(len(specs), 1))
        pool.run_parallel(workspace, specs, count, plugins, report, wait)
    else:
        work_through(workspace, specs, report, wait)


def lacks_pair(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a comparison with the next seed can be scored now and is not."""
    return any(map(between_seeds, unscored(workspace, spec)))
