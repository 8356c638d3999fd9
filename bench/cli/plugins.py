"""Commands for authors of plugins: check, new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from legible.bench.cli.app import app


@app.command(epilog="Example: legible new method my_method")
def new(
    kind: Annotated[str, typer.Argument(help="method, metric or dataset")],
    name: Annotated[str, typer.Argument(help="The name of the plugin and of its file")],
    folder: Annotated[Path, typer.Option(help="The folder of the new file")] = Path(),
) -> None:
    """Write a new plugin file with comments, which passes `legible check`."""
    from legible.bench.plugins.scaffold import write_plugin

    print(write_plugin(kind, name, folder))


@app.command(epilog="Example: legible check my_method.py")
def check(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME", help="A plugin file or a registered name"),
    ],
) -> None:
    """Check a plugin against the laws: pass, fail or skip, with the reason."""
    from legible.bench.check import conformance

    outcomes = conformance.check(target)
    print(conformance.render(outcomes))
    if conformance.failed(outcomes):
        raise typer.Exit(1)
