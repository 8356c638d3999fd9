"""Commands that show what there is: list, show, why."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from legible.bench.cli.app import app
from legible.bench.cli.options import DataRoot, Device, Plugins, Runs, Some, numbers
from legible.bench.text import one_line

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name or hash")]


@app.command("list", epilog="Example: legible list methods")
def list_(
    kind: Annotated[str, typer.Argument(help="methods, metrics, datasets, backbones or suites")],
    plugin: Plugins = None,
    cards: Annotated[
        bool, typer.Option("--cards", help="For metrics: the full cards, as markdown")
    ] = False,
) -> None:
    """List all methods, metrics, datasets, backbones or suites, plugins included."""
    from legible.bench.plugins import registry

    if cards and kind == "metrics":
        from legible.bench.cards.metric_cards import all_cards

        registry.load(["metrics"], plugin or [])
        print(all_cards(), end="")
    else:
        show_list(kind, plugin or [])


@app.command(epilog="Example: legible why kanji-vgg-sync-s0")
def why(
    run: RunName,
    device: Device = "auto",
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Say what has changed since a run was made, and whether it would be made again."""
    from legible.bench.execution.changes import describe_changes
    from legible.bench.execution.progress import CONSOLE
    from legible.bench.execution.workspace import open_workspace

    lines = describe_changes(open_workspace(device, plugin or [], runs, data_root), run)
    for line in lines or ["up to date: the next `legible run` uses it as it is"]:
        CONSOLE.print(line)


@app.command(
    epilog="Example: legible show kanji-vgg-sync-s0 --units 0,3,5; "
    "legible show kanji-vgg-sync-s0 --beside kanji-vgg-plain-s0; "
    "legible show kanji-vgg-sync-s0 --modules"
)
def show(
    run: RunName,
    units: Some = None,
    modules: Annotated[
        bool, typer.Option("--modules", help="Modules as walls of images, not units")
    ] = False,
    beside: Annotated[
        str | None, typer.Option(metavar="RUN", help="Another run, whose units are drawn beside")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="The layer; default: the last that has a map")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The PNG file to write")] = None,
    device: Device = "auto",
    plugin: Plugins = None,
    runs: Runs = Path("runs"),
    data_root: DataRoot = None,
) -> None:
    """Draw the images on which units are most active, and where.

    The unit's region is outlined in orange, the mask of the concept that it matches best in blue.
    """
    from legible.bench.execution.workspace import open_workspace
    from legible.bench.leaderboard.figures.units import UnitChoice, draw_run

    workspace = open_workspace(device, plugin or [], runs, data_root)
    choice = UnitChoice(numbers("units", units), layer, modules)
    print(draw_run(workspace, run, choice, out, beside))


def show_list(kind: str, plugins: Sequence[Path]) -> None:
    """Prints all names of a kind with descriptions. Raises UserError for an unknown kind."""
    from rich.table import Table

    from legible.bench.errors import UserError, nearest
    from legible.bench.execution.progress import CONSOLE
    from legible.bench.plugins import registry
    from legible.bench.suites.schema import SUITES, read_suite

    kinds = [*registry.KINDS, "suites"]
    if kind not in kinds:
        raise UserError(f"no such list '{kind}'{nearest(kind, kinds) or ': ' + ', '.join(kinds)}")
    table = Table(kind.removesuffix("s"), "", box=None, show_header=False)
    if kind == "suites":
        for path in sorted(SUITES.glob("*.toml")):
            table.add_row(path.stem, read_suite(path).title)
    else:
        registry.load([kind], plugins)
        for name, item in sorted(registry.KINDS[kind].items()):
            table.add_row(name, describe(kind, item))
            if parameters := own_parameters(kind, item):
                table.add_row("", f"  {parameters}")
    CONSOLE.print(table)
    for name, reason in sorted(registry.FAILED.items()):
        CONSOLE.print(f"{name}: cannot be imported: {reason}")


def own_parameters(kind: str, item: Any) -> str:
    """The parameters of a dataset or a backbone with their defaults; "" for other kinds."""
    first = {"datasets": 1, "backbones": 2}.get(kind)
    if first is None:
        return ""
    parameters = [*inspect.signature(item).parameters.values()][first:]
    return ", ".join(
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters
    )


def describe(kind: str, item: Any) -> str:
    """The first line of an item's docstring, with its kind, or its aspect and direction."""
    if kind == "metrics":
        arrow = {"higher": "↑", "lower": "↓", "neither": "·"}[item.better]
        headline = " (headline)" if item.headline else ""
        return one_line(f"{arrow} {item.aspect}{headline}: {item.summary}")
    first = one_line(((item.__doc__ or "").strip().splitlines() or [""])[0])
    return f"[{item.kind}] {first}" if kind == "methods" and item.kind != "method" else first
