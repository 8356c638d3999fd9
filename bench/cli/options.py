"""Arguments and options that commands share, and the message of an error."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from legible.bench.errors import UserError, reason_of

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="The name of a built-in suite, or a .toml file")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A plugin file; may be repeated"),
]
Runs = Annotated[Path, typer.Option("--runs", help="The folder of runs")]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="The folder of data; default: $LEGIBLE_DATA")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Some = Annotated[str | None, typer.Option(metavar="A,B", help="Only these, separated by commas")]
Seeds = Annotated[str | None, typer.Option(metavar="0,4-7", help="These seeds")]
Jobs = Annotated[int, typer.Option(help="Number of worker processes; 0: one for each core")]
OnlyLocal = Annotated[
    bool, typer.Option("--only-local", help="Use no published rows: only runs made here")
]
Results = Annotated[Path, typer.Option(help="The folder of leaderboards and ledgers")]

#: A whole number, or a range of them, as 0-7.
WHOLE_NUMBERS = re.compile(r"([0-9]+)(?:-([0-9]+))?")
#: Most numbers in a range.
MOST_NUMBERS = 10_000
#: A comma that stands in no brackets.
OUTER_COMMA = re.compile(r",(?![^(\[]*[)\]])")


def names(text: str | None) -> list[str] | None:
    """``a,b`` as a list; None if the option is not given. Commas inside brackets are kept."""
    if text is None:
        return None
    return [part.strip() for part in OUTER_COMMA.split(text) if part.strip()]


def some(option: str, text: str | None) -> list[str] | None:
    """Like `names`, but raises typer.BadParameter for an empty list."""
    if (parts := names(text)) == []:
        raise typer.BadParameter(f"--{option} is empty: name some, or leave it out for all")
    return parts


def numbers(option: str, text: str | None) -> list[int] | None:
    """``0,2-4`` as the list 0, 2, 3, 4. Raises typer.BadParameter for anything else."""
    parts = some(option, text)
    if parts is None:
        return None
    result: list[int] = []
    for part in parts:
        if not (match := WHOLE_NUMBERS.fullmatch(part)):
            raise typer.BadParameter(f"--{option} takes whole numbers from 0, like 0,1,2 or 0-7")
        ends = [match[1], match[2] or match[1]]
        if any(len(end) > 19 or int(end) >= 2**63 for end in ends):
            raise typer.BadParameter(f"--{option} takes whole numbers below 2**63")
        first, last = map(int, ends)
        if not first <= last < first + MOST_NUMBERS:
            raise typer.BadParameter(
                f"--{option} {part}: a range starts with its smaller number, and has at most "
                f"{MOST_NUMBERS:,} numbers"
            )
        result += range(first, last + 1)
    return list(dict.fromkeys(result))


#: Commands that keep what they have done when they are stopped.
RESUMED = ("run", "tune", "adopt")


def stopped_message(words: Sequence[str]) -> str:
    """What is said of a command, given as the words after ``legible``, that Ctrl-C stopped."""
    if words and words[0] in RESUMED:
        return "stopped; the same command continues where this one ended"
    return "stopped; the same command starts again"


def error_message(error: Exception) -> tuple[str, int]:
    """The message and exit code of a user's error; any other exception is raised again."""
    if isinstance(error, typer.Abort):
        return stopped_message(sys.argv[1:]), 130
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own errors
        return str(UserError(error.format_message())), error.exit_code
    if isinstance(error, UserError):
        return str(error), 2
    from legible.bench.data.base import DataMissing  # imports torch, which help need not
    from legible.bench.execution.store import Corrupt

    if isinstance(error, DataMissing | Corrupt):
        return str(UserError(str(error))), 2
    if isinstance(error, OSError):  # a full disk, a file of another user, ...
        where = f"{error.filename}: " if error.filename else ""
        return str(UserError(f"cannot read or write {where}{reason_of(error)}")), 2
    raise error
