"""The command line: arguments and printing, nothing else. Torch is imported late."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import options
from bench.options import DataRoot, Device, Jobs, Plugins, Results, Runs, Some, SuiteName

if TYPE_CHECKING:
    from bench.execute import Bench
    from bench.suite import Cell, Suite

app = typer.Typer(
    help="Train methods that make networks interpretable, score them alike, publish the result.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.command(epilog="Example: legible run quick --methods plain,sync --seeds 0,1 --jobs 2")
def run(
    suite: SuiteName,
    jobs: Jobs = 0,
    device: Device = "auto",
    seeds: Some = None,
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run")] = False,
    slurm: Annotated[
        str | None, typer.Option(metavar="KEY=VALUE,...", help="Submit to Slurm instead")
    ] = None,
) -> None:
    """Train and score every cell of a suite that is not done yet."""
    from bench import session

    where = (suite, device, plugin, runs, data_root, results)
    bench, chosen, cells = _prepare(*where, seeds, methods, datasets)
    files = [*(plugin or []), *chosen.plugins]
    if dry_run:
        session.show_plan(bench, cells)
    elif slurm is not None:
        session.submit(bench, cells, files, slurm)
    else:
        session.run(bench, cells, jobs, files)


@app.command(epilog="Example: legible tune contest && legible run contest")
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run")] = False,
) -> None:
    """Choose every method's setting by the same number of trials, on validation data alone."""
    from bench import session
    from bench import suite as suites
    from bench import tune as tuning
    from bench.trials import plan

    read = suites.read(suites.find(suite))
    files = [*(plugin or []), *read.plugins]
    bench = _bench(device, files, runs, data_root)
    read = suites.joined(read, plugin or [])
    some = (options.some("methods", methods), options.some("datasets", datasets))
    if dry_run:
        session.show_plan(bench, [planned.cell for planned in plan(read, *some)])
    else:
        print(tuning.tune(bench, read, results, jobs, files, *some))


@app.command("list", epilog="Example: legible list methods")
def list_(
    kind: Annotated[str, typer.Argument(help="methods, metrics, datasets, backbones or suites")],
    plugin: Plugins = None,
    cards: Annotated[
        bool, typer.Option("--cards", help="Of metrics: everything, as markdown")
    ] = False,
) -> None:
    """List what is there, plugins included, with what could not be imported and why."""
    from bench import inspection

    if cards and kind == "metrics":
        inspection.show_cards(plugin or [])
    else:
        inspection.show_list(kind, plugin or [])


@app.command(epilog="Example: legible publish quick   (writes results/quick/README.md)")
def publish(
    suite: SuiteName,
    device: Device = "auto",
    seeds: Some = None,
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
    cost: Annotated[bool, typer.Option(help="Measure costs that are not known yet")] = True,
    formats: Annotated[
        str, typer.Option("--format", help="Besides the README: csv, json, html")
    ] = "csv,json,html",
    pictures: Annotated[bool, typer.Option(help="Draw each method's units and modules")] = True,
) -> None:
    """Write the leaderboard with its pictures, the score table and the report of a suite."""
    from bench import results as published

    where = (suite, device, plugin, runs, data_root, results)
    bench, chosen, cells = _prepare(*where, seeds, methods, datasets)
    command = shlex.join(_command())
    wanted = options.names(formats) or []
    print(published.publish(bench, chosen, cells, results, cost, command, wanted, pictures))


@app.command(epilog="Example: legible export quick --methods my_method --origin 'Lab X'")
def export(
    suite: SuiteName,
    origin: Annotated[str, typer.Option(help="Who submits: shown beside every row")],
    out: Annotated[Path, typer.Option(help="The file to write")] = Path("submission.json"),
    methods: Some = None,
    plugin: Plugins = None,
    device: Device = "auto",
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    results: Results = Path("results"),
) -> None:
    """Pack scores, manifests and plugin sources of finished runs into one file."""
    from bench import share

    where = (suite, device, plugin, runs, data_root, results)
    bench, chosen, cells = _prepare(*where, None, methods)
    print(share.export(bench, chosen, cells, origin, out))


@app.command(epilog="Example: legible merge quick lab_x.json && legible publish quick")
def merge(
    suite: SuiteName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Submissions")],
    results: Results = Path("results"),
    device: Device = "auto",
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Check submissions and add their rows to what `publish` shows. Executes nothing in them."""
    from bench import share

    bench, chosen, cells = _prepare(suite, device, None, runs, data_root, results)
    for place in share.accept(bench, chosen, cells, files, results):
        print(place)


@app.command(epilog="Example: legible verify quick lab_x.json --plugin my_method.py")
def verify(
    suite: SuiteName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission")],
    plugin: Plugins = None,
    results: Results = Path("results"),
    device: Device = "auto",
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Rerun one seed of a submission with the code that is here, and flag what disagrees."""
    from bench import share

    bench, chosen, cells = _prepare(suite, device, plugin, runs, data_root, results)
    if not share.verify(bench, chosen, cells, file, results):
        raise typer.Exit(1)


@app.command(epilog="Example: legible why kanji-vgg-sync-s0")
def why(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name or hash")],
    device: Device = "auto",
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Say whether a run would be made again, and what changed since."""
    from bench import inspection

    inspection.why(_bench(device, plugin, runs, data_root), run)


@app.command(epilog="Example: legible show kanji-vgg-sync-s0 --units 0,3,5")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name or hash")],
    units: Some = None,
    layer: Annotated[str | None, typer.Option(help="A Tap; default: the last with a map")] = None,
    out: Annotated[Path | None, typer.Option(help="The PNG to write")] = None,
    device: Device = "auto",
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Draw the images that excite chosen units most, with where they do."""
    from bench import inspection

    chosen = options.numbers("units", units)
    print(inspection.show(_bench(device, plugin, runs, data_root), run, chosen, layer, out))


@app.command(epilog="Example: legible check my_method.py")
def check(
    what: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A plugin file or a name")],
) -> None:
    """Hold a plugin to the laws: pass, fail or skip, with a reason a line."""
    from bench.check import check as examine
    from bench.check import failed, render

    outcomes = examine(what)
    print(render(outcomes))
    if failed(outcomes):
        raise typer.Exit(1)


@app.command(epilog="Example: legible new method my_method")
def new(
    kind: Annotated[str, typer.Argument(help="method, metric or dataset")],
    name: Annotated[str, typer.Argument(help="Its name, and the file's")],
    folder: Annotated[Path, typer.Option(help="Where the file goes")] = Path(),
) -> None:
    """Write a commented starting file that passes `legible check` as it stands."""
    from bench.new import new as write

    print(write(kind, name, folder))


# ----------------------------------------------------------------- help for the above


def _command() -> list[str]:
    return ["legible", *sys.argv[1:]]


def _bench(device: str, plugin: list[Path] | None, runs: Path, root: Path | None) -> Bench:
    from bench import session

    return session.open_bench(device, plugin or [], runs, root)


def _prepare(
    name: str,
    device: str,
    plugin: list[Path] | None,
    runs: Path,
    root: Path | None,
    results: Path,
    seeds: str | None = None,
    methods: str | None = None,
    datasets: str | None = None,
) -> tuple[Bench, Suite, list[Cell]]:
    from bench import suite as suites
    from bench import tune as tuning

    read = suites.read(suites.find(name))
    bench = _bench(device, [*(plugin or []), *read.plugins], runs, root)
    read = suites.joined(read, plugin or [])
    some = (options.some("methods", methods), options.some("datasets", datasets))
    cells = suites.cells(read, options.numbers("seeds", seeds), *some)
    return bench, read, tuning.settled(read, cells, results)


def main() -> None:
    """Entry point: errors of the user's making are one line, Ctrl-C is no stack trace."""
    try:
        code = app(standalone_mode=False)  # typer.Exit(code) comes back as a number
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        _leave(*options.explained(error))
    if code == 130:  # what typer makes of Ctrl-C
        _leave(options.STOPPED, 130)
    sys.exit(code or 0)


def _leave(message: str, code: int) -> None:
    print(f"legible: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
