"""The status of a suite: which runs are done, where others run, what failed, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from legible.bench.errors import UserError
from legible.bench.execution import slurm
from legible.bench.execution.cluster import seen_from
from legible.bench.execution.device import resolve_device
from legible.bench.execution.marks import trusted_marks
from legible.bench.execution.presence import WorkerNote, living_workers
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.schedule import PlannedRun, plan_runs
from legible.bench.execution.slurm import QueuedJob
from legible.bench.execution.workspace import Workspace
from legible.bench.suites.run_spec import RunSpec
from legible.bench.text import one_line

#: The number of runs of a row whose times are read for the estimate.
SAMPLE = 3
#: Seconds between two looks with ``--follow``.
PAUSE = 5.0


@dataclass(frozen=True)
class RunningRun:
    """A run that a worker does now."""

    name: str
    worker: WorkerNote
    since: str


@dataclass(frozen=True)
class SuiteStatus:
    """How far a suite is. ``work_left`` is the estimated time of all runs that are left, one after
    the other, in seconds; None if nothing is known."""

    device: str
    counts: Mapping[str, int]
    running: Sequence[RunningRun] = ()
    failed: Sequence[PlannedRun] = ()
    work_left: float | None = None
    workers: Sequence[WorkerNote] = ()
    jobs: Sequence[QueuedJob] = field(default=())

    @property
    def left(self) -> int:
        """The number of runs that nobody does yet."""
        return self.counts["left"]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen: no run is left, or no worker works or waits."""
        return not self.running and not (self.left and (self.workers or self.jobs))


def device_in_use(workspace: Workspace, specs: Sequence[RunSpec], device: str) -> str:
    """The kind of device whose runs are meant: the one asked for; for "auto" the one that more of
    the suite's runs lie here for, or else this machine's."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"no device '{device}': use auto, cpu or cuda")
    if device != "auto":
        return device
    try:
        folders = {path.name for path in workspace.store.root.iterdir()}
    except OSError:
        folders = set()
    able = [spec for spec in specs if workspace.obstacle(spec) is None]
    numbers = {}
    for kind in ("cpu", "cuda"):
        there = seen_from(workspace, able, kind)
        numbers[kind] = sum(there.run_of(spec).name in folders for spec in able)
    if numbers["cpu"] == numbers["cuda"]:
        return resolve_device("auto")
    return max(numbers, key=numbers.__getitem__)


def suite_status(
    workspace: Workspace, name: str, specs: Sequence[RunSpec], device: str = "auto"
) -> SuiteStatus:
    """How far a suite is, by the marks of runs and the notes of workers; ``workspace`` needs no
    GPU. Raises UserError."""
    kind = device_in_use(workspace, specs, device)
    there = seen_from(workspace, specs, kind)
    planned = plan_runs(there, specs, trusted_marks(there.store))
    notes = living_workers(there.store)
    places = {run: (note, since) for note in notes for run, since in note.runs.items()}
    waiting = {there.run_of(item.spec).name: item for item in planned if item.waiting}
    running = [RunningRun(item.spec.name, *places[run]) for run, item in waiting.items()
               if run in places]  # fmt: skip
    failed = [item for item in planned if item.status == "failed"]
    counts = {status: sum(item.status == status for item in planned)
              for status in ("done", "published", "stale", "missing", "skipped")}  # fmt: skip
    left = [item.spec for run, item in waiting.items() if run not in places]
    counts |= {"running": len(running), "failed": len(failed), "left": len(left)}
    seconds = _estimate(there, planned)
    halves = [item.spec for run, item in waiting.items() if run in places]
    work = [seconds.get(spec.key) for spec in left]
    work += [
        None if (duration := seconds.get(spec.key)) is None else duration / 2 for spec in halves
    ]
    known_work = [item for item in work if item is not None]
    total = sum(known_work, 0.0) if known_work or not work else None
    return SuiteStatus(kind, counts, running, failed, total, notes,
                       slurm.queued_jobs(there.store, name))  # fmt: skip


def _estimate(workspace: Workspace, planned: Sequence[PlannedRun]) -> dict[str, float]:
    """The estimated seconds of each waiting run, by its key: the mean of done runs of its row and
    block, or else of its block, or else of all."""
    groups: dict[tuple[object, ...], list[float]] = {}
    for item in planned:
        row = (item.spec.block, item.spec.row)
        if item.status == "done" and len(groups.get(row, ())) < SAMPLE:
            manifest = workspace.run_of(item.spec).readable_manifest()
            if manifest is not None:
                duration = sum(manifest.seconds) + manifest.score_seconds
                for group in (row, (item.spec.block,), ()):
                    groups.setdefault(group, []).append(duration)
    out = {}
    for item in planned:
        spec = item.spec
        options = [groups.get(group) for group in ((spec.block, spec.row), (spec.block,), ())]
        durations = next((option for option in options if option), None)
        if item.waiting and durations:
            out[spec.key] = sum(durations) / len(durations)
    return out


# ----------------------------------------------------------------- as text


def lines_of(name: str, status: SuiteStatus) -> Iterator[str]:
    """The status as lines to print."""
    counts = [f"{number} {kind}" for kind, number in status.counts.items()
              if number or kind in ("done", "running", "failed", "left")]  # fmt: skip
    yield f"{name} on {status.device}: {', '.join(counts)}{_time_left(status)}"
    for run in status.running:
        since = run.since[:16].replace("T", " ")
        yield f"running: {run.name} on {run.worker.place} since {since} UTC"
    for item in status.failed:
        yield f"failed: {item.spec.name}: {one_line(item.reason)}"
    waiting = [job for job in status.jobs if job.state == "PENDING"]
    reasons = sorted({job.reason for job in waiting})
    if waiting:
        yield f"waiting in Slurm: {len(waiting)} workers ({', '.join(reasons)})"
    if status.left and not status.workers and not status.jobs:
        yield f"no worker works or waits: `legible run {name}` does the rest"


def _time_left(status: SuiteStatus) -> str:
    """The estimate, with the number of runs that are done at once."""
    if status.work_left is None or not (status.left or status.running):
        return ""
    at_once = max(1, len(status.running))
    minutes = round(status.work_left / at_once / 60)
    return f"; about {minutes // 60}:{minutes % 60:02d} h left with {at_once} at once"


def print_status(
    workspace: Workspace,
    name: str,
    specs: Sequence[RunSpec],
    device: str = "auto",
    follow: bool = False,
    pause: float | int = PAUSE,
) -> None:
    """Prints the status of a suite; with ``follow`` again after each change, until nothing is left
    or nobody works or waits."""
    before: list[str] = []
    while True:
        status = suite_status(workspace, name, specs, device)
        lines = list(lines_of(name, status))
        if lines != before:
            CONSOLE.print("\n".join(lines))
        if not follow or status.is_over:
            return
        before = lines
        time.sleep(pause)
