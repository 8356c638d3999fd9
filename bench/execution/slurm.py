"""Runs on a Slurm cluster, as a job array with one task for each run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from legible.bench.errors import UserError
from legible.bench.execution.pool import Start, open_in_process
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.schedule import (
    attempt,
    forget_failures,
    notes_on_reuse,
    plan_runs,
)
from legible.bench.execution.workspace import Workspace
from legible.bench.source_keys import SNAPSHOTS
from legible.bench.suites.run_spec import RunSpec


def submit(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    plugins: Sequence[Path],
    options: str,
    retry: bool = False,
) -> None:
    """Submits the runs that are not done, with ``retry`` also those that failed, and prints the
    names of the jobs. Raises UserError."""
    pairs = [part.partition("=") for part in options.split(",") if part]
    if without_value := [key for key, equals, _ in pairs if not equals]:
        raise UserError(
            f"--slurm takes KEY=VALUE pairs, like partition=gpu, not '{without_value[0]}'"
        )
    if retry:
        forget_failures(workspace, specs)
    planned = plan_runs(workspace, specs)
    for line in notes_on_reuse(workspace, planned):
        CONSOLE.print(line)
    todo = [item.spec for item in planned if item.waiting]
    if not todo:
        CONSOLE.print("nothing to run")
        return
    jobs = submit_array(workspace, todo, plugins, {key: value for key, _, value in pairs})
    CONSOLE.print(f"submitted {len(jobs)} runs: {jobs[0]} ... {jobs[-1]}")


def submit_array(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    plugins: Sequence[Path],
    options: Mapping[str, str],
) -> list[str]:
    """Submits runs as a job array and returns the jobs' names.

    ``options`` are those of submitit (partition=gpu, timeout_min=60, ...); ``cluster=local`` starts
    one process for each run on this machine, all at once. Raises UserError if there is no Slurm,
    if submitit is missing, or if it refuses the options.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("Slurm needs submitit: pip install 'legible-bench[slurm]'") from error
    settings = {k: int(v) if v.isdigit() else v for k, v in options.items() if k != "cluster"}
    cluster = options.get("cluster")
    if cluster is None and shutil.which("srun") is None:  # submitit would start all runs here
        raise UserError("--slurm: no Slurm on this machine (no srun); use --jobs N instead")
    executor = submitit.AutoExecutor(workspace.store.root / "slurm", cluster=cluster)
    try:
        executor.update_parameters(**{"timeout_min": 240, "cpus_per_task": 2, **settings})
    except (NameError, TypeError, ValueError) as error:
        raise UserError(f"--slurm: {error}") from error
    files = [p.resolve() for p in plugins]
    start = Start(
        workspace.store.root.resolve(), workspace.device, workspace.root, files, dict(SNAPSHOTS),
        workspace.limits,
    )  # fmt: skip
    jobs = executor.map_array(_remote, [start] * len(specs), list(specs))
    return [job.job_id for job in jobs]


def _remote(start: Start, spec: RunSpec) -> None:
    attempt(open_in_process(start), [spec], 1, start.plugins)  # which prints what happens
