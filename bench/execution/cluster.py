"""A suite on a cluster: submitting its workers, and cancelling them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from legible.bench.execution import slurm
from legible.bench.execution.device import resolve_device
from legible.bench.execution.presence import living_workers
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.schedule import (
    correct_marks,
    forget_failures,
    notes_on_reuse,
    plan_runs,
)
from legible.bench.execution.slurm import SlurmOptions
from legible.bench.execution.workspace import Workspace
from legible.bench.suites.run_spec import RunSpec


def seen_from(workspace: Workspace, specs: Sequence[RunSpec], device: str) -> Workspace:
    """The workspace as a machine with another kind of device ("cpu" or "cuda") sees its runs; it
    can look at runs and do none."""
    for spec in specs:
        workspace.obstacle(spec)  # loads the data, which both share
    return replace(workspace, device=device, identities={}, runs={})


def device_of_jobs(device: str, wish: SlurmOptions) -> str:
    """The kind of device that jobs will have, as far as their options tell: "cuda" if they ask for
    a GPU, "auto" if each worker is to see what there is."""
    return "cuda" if device == "auto" and wish.wants_gpu else device


def submit(
    workspace: Workspace,
    name: str,
    specs: Sequence[RunSpec],
    wish: SlurmOptions,
    device: str,
    command: Callable[[str], list[str]],
    retry: bool = False,
) -> None:
    """Submits the workers of a suite, with ``retry`` also for runs that failed, and prints the
    numbers of the jobs.

    ``command`` makes the command of a worker for a device; ``workspace`` needs no GPU. Raises
    UserError.
    """
    slurm.refuse_missing()
    target = device_of_jobs(device, wish)
    kind = resolve_device("auto") if target == "auto" else target
    there = seen_from(workspace, specs, kind)
    if retry:
        forget_failures(there, specs)
    planned = plan_runs(there, specs)
    correct_marks(there, planned)
    for line in notes_on_reuse(there, planned):
        CONSOLE.print(line)
    todo = sum(item.waiting for item in planned)
    if not todo:
        hint = "" if target != "auto" else " (for GPUs add gpus=1 to --slurm)"
        CONSOLE.print(f"nothing to run on {kind}{hint}")
        return
    workers = min(wish.workers, todo)
    path, jobs = slurm.submit_workers(workspace.store, name, command(target), wish, workers)
    CONSOLE.print(f"submitted {workers} worker{'s'[: workers > 1]} for {todo} runs: Slurm job"
                  f"{'s'[: len(jobs) > 1]} {', '.join(jobs)}, script {path}")  # fmt: skip
    CONSOLE.print("`legible status SUITE` shows how far they are; `legible cancel SUITE` ends them")


def cancel(workspace: Workspace, name: str, specs: Sequence[RunSpec]) -> None:
    """Ends all workers of a suite, at a checkpoint: jobs of Slurm, and processes of this machine
    that work on its runs now. Prints what was ended, and what has to be ended elsewhere."""
    jobs = slurm.cancel_jobs(workspace.store, name)
    if jobs:
        CONSOLE.print(f"cancelled: Slurm job{'s'[: len(jobs) > 1]} {', '.join(jobs)}")
    able = [spec for spec in specs if workspace.obstacle(spec) is None]
    places = [seen_from(workspace, able, kind) for kind in ("cpu", "cuda")]
    own = {place.run_of(spec).name for place in places for spec in able}
    others = [note for note in living_workers(workspace.store) if own & note.runs.keys()]
    others = [note for note in others if note.job.partition("_")[0] not in jobs]
    for note in others:
        if note.job or note.host != socket.gethostname():
            CONSOLE.print(f"not cancelled: {note.user}'s worker on {note.place}; end it there")
            continue
        with suppress(ProcessLookupError):
            try:
                os.kill(note.pid, signal.SIGTERM)
                CONSOLE.print(f"cancelled: {note.user}'s worker on {note.place}")
            except PermissionError:
                CONSOLE.print(f"not cancelled: {note.user}'s worker on {note.place}: not yours")
    if not jobs and not others:
        CONSOLE.print(f"no worker of {name} works or waits")
