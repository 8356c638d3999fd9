"""Commands for authors of plugins: new, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from legible.bench.cli.app import app


@app.command(epilog="Example: legible new method my_method")
def new(
    kind: Annotated[str, typer.Argument(help="method, metric or dataset")],
    name: Annotated[str, typer.Argument(help="Its name, and the file's")],
    folder: Annotated[Path, typer.Option(help="Where the file goes")] = Path(),
) -> None:
    """Write a commented starting file that passes `legible check` as it stands."""
    from legible.bench.plugins.scaffold import write_plugin

    print(write_plugin(kind, name, folder))


@app.command(epilog="Example: legible check my_method.py")
def check(
    target: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A plugin file or a name")],
) -> None:
    """Hold a plugin to the laws: pass, fail or skip, with a reason a line."""
    from legible.bench.check import conformance

    outcomes = conformance.check(target)
    print(conformance.render(outcomes))
    if conformance.failed(outcomes):
        raise typer.Exit(1)
