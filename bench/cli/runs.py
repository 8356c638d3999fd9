"""Commands that do work, and that look after it: run, status, cancel, tune, adopt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from legible.bench.cli.app import app
from legible.bench.cli.options import (
    DataRoot,
    Device,
    Jobs,
    OnlyLocal,
    Plugins,
    Results,
    Runs,
    Seeds,
    Some,
    SuiteName,
    numbers,
    some,
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, and run nothing")]


@app.command(epilog="Example: legible run quick --methods plain,sync --seeds 0,1 --jobs 2")
def run(
    suite: SuiteName,
    jobs: Jobs = 0,
    device: Device = "auto",
    seeds: Seeds = None,
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
    dry_run: DryRun = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again the runs that failed")] = False,
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop a run that takes longer: 90min, 2h; default: 1d"),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Stop a run that takes more memory: 16GiB; default: nine tenths of the machine's",
        ),
    ] = None,
    only_local: OnlyLocal = False,
    worker: Annotated[
        bool,
        typer.Option(
            "--worker",
            help="Skip runs that another worker is doing, and do not wait for them; for schedulers",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only part I of N parts, the first is 1/N"),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Submit workers=N workers to Slurm, with any long options of sbatch; may be "
            "repeated",
        ),
    ] = None,
    slurm_setup: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE",
            help="A line of the Slurm script before the worker starts, like 'module load cuda'; "
            "may be repeated",
        ),
    ] = None,
) -> None:
    """Train and score all runs of a suite that are not done yet."""
    from legible.bench.api import prepare
    from legible.bench.execution import cluster, schedule
    from legible.bench.execution.shards import shard_of
    from legible.bench.execution.slurm import read_options, worker_command

    if slurm_setup and not slurm:
        raise typer.BadParameter("--slurm-setup needs --slurm")
    wish = read_options(slurm, slurm_setup or ()) if slurm else None
    here = prepare(
        suite, device="cpu" if wish else device, plugins=plugin, runs=runs, data_root=data_root,
        results=results, seeds=numbers("seeds", seeds), methods=some("methods", methods),
        datasets=some("datasets", datasets), time_limit=time_limit, memory_limit=memory_limit,
        reuse=not only_local,
    )  # fmt: skip
    specs = here.specs if shard is None else shard_of(here.specs, shard)
    if dry_run:
        schedule.show_plan(here.workspace, specs, retry)
    elif wish is not None:
        options = {
            "--jobs": jobs or None, "--seeds": seeds, "--methods": methods, "--datasets": datasets,
            "--plugin": plugin, "--runs": runs, "--data-root": data_root, "--results": results,
            "--shard": shard, "--time-limit": time_limit, "--memory-limit": memory_limit,
        }  # fmt: skip
        cluster.submit(
            here.workspace, here.suite.name, specs, wish, device,
            lambda kind: worker_command(
                sys.executable, suite, {**options, "--device": kind}, {"--only-local": only_local}
            ),
            retry,
        )  # fmt: skip
    else:
        schedule.run_all(here.workspace, specs, jobs, here.plugins, retry, worker)


@app.command(epilog="Example: legible status quick --follow")
def status(
    suite: SuiteName,
    device: Device = "auto",
    seeds: Seeds = None,
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
    only_local: OnlyLocal = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print it again after each change, until the end")
    ] = False,
) -> None:
    """Show which runs of a suite are done, running, failed and left, and the time left."""
    from legible.bench.api import prepare
    from legible.bench.execution.status import print_status

    here = prepare(
        suite, device="cpu", plugins=plugin, runs=runs, data_root=data_root, results=results,
        seeds=numbers("seeds", seeds), methods=some("methods", methods),
        datasets=some("datasets", datasets), reuse=not only_local,
    )  # fmt: skip
    print_status(here.workspace, here.suite.name, here.specs, device, follow)


@app.command(epilog="Example: legible cancel quick")
def cancel(
    suite: SuiteName,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
) -> None:
    """End all workers of a suite at a checkpoint: its Slurm jobs, and processes of this machine."""
    from legible.bench.api import prepare
    from legible.bench.execution import cluster

    here = prepare(
        suite, device="cpu", plugins=plugin, runs=runs, data_root=data_root, results=results
    )
    cluster.cancel(here.workspace, here.suite.name, here.specs)


@app.command(epilog="Example: legible tune standard && legible run standard")
def tune(
    suite: SuiteName,
    jobs: Jobs = 0,
    device: Device = "auto",
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
    dry_run: DryRun = False,
) -> None:
    """Choose each method's setting, or plain's recipe, on validation data alone."""
    from legible.bench.execution import schedule
    from legible.bench.execution.namesakes import claim_results
    from legible.bench.execution.workspace import open_workspace
    from legible.bench.suites.schema import find_suite, read_suite, with_plugins
    from legible.bench.tuning.recipe_trials import plan_first_trials, run_recipe_trials
    from legible.bench.tuning.trials import plan_trials
    from legible.bench.tuning.tune import run_trials

    path = find_suite(suite)
    suite_file = read_suite(path)
    files = [*(plugin or []), *suite_file.plugins]
    workspace = open_workspace(device, files, runs, data_root)
    folder = results / suite_file.name
    claim_results(runs, folder, path, suite_file.title, suite_file.block_names)
    whole = with_plugins(suite_file, plugin or [])
    only = (some("methods", methods), some("datasets", datasets))
    if whole.tune_recipe is not None:
        if dry_run:
            first = plan_first_trials(whole, only[1])
            schedule.show_plan(workspace, [trial.spec for trial in first])
        else:
            print(run_recipe_trials(workspace, whole, results, jobs, files, only[1]))
    elif dry_run:
        schedule.show_plan(workspace, [trial.spec for trial in plan_trials(whole, *only)])
    else:
        print(run_trials(workspace, whole, results, jobs, files, *only))


@app.command(epilog="Example: legible adopt quick --methods plain,sync")
def adopt(
    suite: SuiteName,
    jobs: Jobs = 0,
    device: Device = "auto",
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
) -> None:
    """Keep published rows after a change of code, if a rerun of one seed gives equal numbers.

    Rows whose rerun is equal to the last digit take the run names of the current code. The others
    are listed as stale and stay as they are.
    """
    from legible.bench.api import prepare
    from legible.bench.scores.adopt import adopt_published

    here = prepare(
        suite, device=device, plugins=plugin, runs=runs, data_root=data_root, results=results,
        methods=some("methods", methods), datasets=some("datasets", datasets),
    )  # fmt: skip
    if adopt_published(here.workspace, here.suite, here.specs, results, jobs, here.plugins):
        raise typer.Exit(1)
