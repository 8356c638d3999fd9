"""Commands that publish results and exchange them: publish, export, merge, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from legible.bench.cli.app import app
from legible.bench.cli.options import (
    DataRoot,
    Device,
    OnlyLocal,
    Plugins,
    Results,
    Runs,
    Seeds,
    Some,
    SuiteName,
    names,
    numbers,
    some,
)


@app.command(epilog="Example: legible publish quick   (writes results/quick/README.md)")
def publish(
    suite: SuiteName,
    device: Device = "auto",
    seeds: Seeds = None,
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
    cost: Annotated[bool, typer.Option(help="Measure costs that are not measured yet")] = True,
    formats: Annotated[
        str,
        typer.Option("--format", help="Besides the README: csv, json, html, latex"),
    ] = "csv,json,html",
    pictures: Annotated[bool, typer.Option(help="Draw each method's units and modules")] = True,
    only_local: OnlyLocal = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Publish although runs are missing, and name them")
    ] = False,
) -> None:
    """Write the leaderboard of a suite with its figures, the score table and the report.

    Rows that are published already are kept.
    """
    from legible.bench.api import prepare
    from legible.bench.leaderboard.publish import unnamed_plugins, write_publication
    from legible.bench.leaderboard.reproduce import reproduce_command

    here = prepare(
        suite, device=device, plugins=plugin, runs=runs, data_root=data_root, results=results,
        seeds=numbers("seeds", seeds), methods=some("methods", methods),
        datasets=some("datasets", datasets), reuse=not only_local,
    )  # fmt: skip
    command = reproduce_command(
        suite,
        {
            "--device": None if device == "auto" else device, "--seeds": seeds,
            "--methods": methods, "--datasets": datasets, "--plugin": plugin,
        },  # not the folders of this machine
        {
            "--no-cost": not cost, "--no-pictures": not pictures, "--partial": partial,
            "--format": None if formats == "csv,json,html" else formats,
        },
        tuned=here.suite.tune is not None,
    )  # fmt: skip
    for name, file in unnamed_plugins(here.workspace, here.specs).items():
        print(f"left out: the finished runs of {name}: add --plugin {file}")
    readme = write_publication(
        here.workspace, here.suite, here.specs, results, cost, command, names(formats) or [],
        pictures, partial,
    )  # fmt: skip
    print(readme)


@app.command(epilog="Example: legible export quick --methods my_method --origin 'Lab X'")
def export(
    suite: SuiteName,
    origin: Annotated[str, typer.Option(help="Who submits; shown beside every row")],
    out: Annotated[Path, typer.Option(help="The file to write")] = Path("submission.json"),
    methods: Some = None,
    plugin: Plugins = None,
    device: Device = "auto",
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
) -> None:
    """Write scores, manifests and plugin sources of finished runs into one file, to submit it."""
    from legible.bench.api import prepare
    from legible.bench.scores import exchange

    here = prepare(
        suite, device=device, plugins=plugin, runs=runs, data_root=data_root, results=results,
        methods=some("methods", methods),
    )  # fmt: skip
    print(exchange.export(here.workspace, here.suite, here.specs, origin, out))


@app.command(epilog="Example: legible merge quick lab_x.json && legible publish quick")
def merge(
    suite: SuiteName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Submission files")],
    results: Results = Path("results"),
    device: Device = "auto",
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Check submissions and add their rows to the leaderboard. Nothing in them is executed."""
    from legible.bench.api import prepare
    from legible.bench.scores import exchange

    here = prepare(suite, device=device, runs=runs, data_root=data_root, results=results)
    for path in exchange.accept(here.workspace, here.suite, here.specs, files, results):
        print(path)


@app.command(epilog="Example: legible verify quick lab_x.json --plugin my_method.py")
def verify(
    suite: SuiteName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission file")],
    plugin: Plugins = None,
    results: Results = Path("results"),
    device: Device = "auto",
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Rerun one seed of a submission with the code on this machine, and compare the values."""
    from legible.bench.api import prepare
    from legible.bench.scores import exchange

    here = prepare(
        suite, device=device, plugins=plugin, runs=runs, data_root=data_root, results=results
    )
    if not exchange.verify(here.workspace, here.suite, here.specs, file, results):
        raise typer.Exit(1)
