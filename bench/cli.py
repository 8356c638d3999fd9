"""The command line: arguments and printing, nothing else. Torch is imported late."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A built-in suite or a .toml file")]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A plugin file; repeatable")
]
Runs = Annotated[Path, typer.Option("--runs", help="Where runs are kept")]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="Where data lies (or LEGIBLE_DATA)")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Some = Annotated[str | None, typer.Option(metavar="A,B", help="Only these, comma-separated")]


@app.command(epilog="Example: legible run quick --methods plain,sync --seeds 0,1 --jobs 2")
def run(
    suite: SuiteName,
    jobs: Annotated[int, typer.Option(help="Worker processes; 0: one a core")] = 0,
    device: Device = "auto",
    seeds: Some = None,
    methods: Some = None,
    datasets: Some = None,
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run")] = False,
    slurm: Annotated[
        str | None, typer.Option(metavar="KEY=VALUE,...", help="Submit to Slurm instead")
    ] = None,
) -> None:
    """Train and score every cell of a suite that is not done yet."""
    from bench import session

    bench, chosen, cells = _prepare(
        suite, device, seeds, methods, datasets, plugin, runs, data_root
    )
    files = [*(plugin or []), *chosen.plugins]
    if dry_run:
        session.show_plan(bench, cells)
    elif slurm is not None:
        session.submit(bench, cells, files, slurm)
    else:
        session.run(bench, cells, jobs, files)


@app.command("list", epilog="Example: legible list methods")
def list_(
    kind: Annotated[str, typer.Argument(help="methods, metrics, datasets, backbones or suites")],
    plugin: Plugins = None,
    cards: Annotated[
        bool, typer.Option("--cards", help="Of metrics: everything, as markdown")
    ] = False,
) -> None:
    """List what is there, plugins included, with what could not be imported and why."""
    from bench import session

    if cards and kind == "metrics":
        session.show_cards(plugin or [])
    else:
        session.show_list(kind, plugin or [])


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
    results: Annotated[Path, typer.Option(help="Where leaderboards go")] = Path("results"),
    cost: Annotated[bool, typer.Option(help="Measure costs that are not known yet")] = True,
    formats: Annotated[
        str, typer.Option("--format", help="Besides the README: csv, json, html")
    ] = "csv,json,html",
    pictures: Annotated[bool, typer.Option(help="Draw each method's units and modules")] = True,
) -> None:
    """Write the leaderboard with its pictures, the score table and the report of a suite."""
    from bench import results as published

    bench, chosen, cells = _prepare(
        suite, device, seeds, methods, datasets, plugin, runs, data_root
    )
    command = " ".join(_command())
    wanted = _names(formats) or []
    print(published.publish(bench, chosen, cells, results, cost, command, wanted, pictures))


Results = Annotated[Path, typer.Option(help="Where leaderboards go")]


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
) -> None:
    """Pack scores, manifests and plugin sources of finished runs into one file."""
    from bench import share

    bench, chosen, cells = _prepare(suite, device, None, methods, None, plugin, runs, data_root)
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

    bench, chosen, cells = _prepare(suite, device, None, None, None, None, runs, data_root)
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

    bench, chosen, cells = _prepare(suite, device, None, None, None, plugin, runs, data_root)
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
    from bench import session

    session.why(_bench(device, plugin, runs, data_root), run)


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
    from bench import session

    numbers = _numbers("units", units)
    print(session.show(_bench(device, plugin, runs, data_root), run, numbers, layer, out))


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

STOPPED = "stopped; the same command continues where this one was"


def _command() -> list[str]:
    return ["legible", *sys.argv[1:]]


def _bench(device: str, plugin: list[Path] | None, runs: Path, root: Path | None) -> Bench:
    from bench import session

    return session.open_bench(device, plugin or [], runs, root)


def _prepare(
    name: str,
    device: str,
    seeds: str | None,
    methods: str | None,
    datasets: str | None,
    plugin: list[Path] | None,
    runs: Path,
    root: Path | None,
) -> tuple[Bench, Suite, list[Cell]]:
    from bench import suite as suites

    read = suites.read(suites.find(name))
    bench = _bench(device, [*(plugin or []), *read.plugins], runs, root)
    cells = suites.cells(read, _numbers("seeds", seeds), _names(methods), _names(datasets))
    return bench, read, cells


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in _names(text) or []]
    except ValueError as error:
        raise typer.BadParameter(f"--{option} takes whole numbers, like 0,1,2") from error


def main() -> None:
    """Entry point: errors of the user's making are one line, Ctrl-C is no stack trace."""
    try:
        code = app(standalone_mode=False)  # typer.Exit(code) comes back as a number
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        _leave(*_explained(error))
    if code == 130:  # what typer makes of Ctrl-C
        _leave(STOPPED, 130)
    sys.exit(code or 0)


def _explained(error: Exception) -> tuple[str, int]:
    """What to print for an exception; anything unexpected is raised again."""
    if isinstance(error, typer.Abort):
        return STOPPED, 130
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own errors
        return error.format_message(), error.exit_code
    registry: Any = sys.modules.get("bench.registry")
    if registry is not None and isinstance(error, registry.UserError):
        return str(error), 2
    raise error


def _leave(message: str, code: int) -> None:
    print(f"legible: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
