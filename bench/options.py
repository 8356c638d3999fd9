"""What the commands share: arguments, options, and what is said of an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

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
Jobs = Annotated[int, typer.Option(help="Worker processes; 0: one a core")]
Results = Annotated[Path, typer.Option(help="Where leaderboards and ledgers lie")]


def names(text: str | None) -> list[str] | None:
    """``a,b`` as a list; None where the option is not given."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def some(option: str, text: str | None) -> list[str] | None:
    """The same, but not nothing: typer.BadParameter for an empty list."""
    if (found := names(text)) == []:
        raise typer.BadParameter(f"--{option} is empty: name some, or leave it out for all")
    return found


def numbers(option: str, text: str | None) -> list[int] | None:
    """``0,1`` as whole numbers from 0; typer.BadParameter for anything else."""
    found = some(option, text)
    if found is None:
        return None
    if not all(part.isascii() and part.isdigit() for part in found):
        raise typer.BadParameter(f"--{option} takes whole numbers from 0, like 0,1,2")
    return list(dict.fromkeys(int(part) for part in found))


STOPPED = "stopped; the same command continues where this one was"


def explained(error: Exception) -> tuple[str, int]:
    """What to print for an exception; anything unexpected is raised again."""
    if isinstance(error, typer.Abort):
        return STOPPED, 130
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own errors
        return error.format_message(), error.exit_code
    registry: Any = sys.modules.get("bench.registry")
    if registry is not None and isinstance(error, registry.UserError):
        return str(error), 2
    raise error
