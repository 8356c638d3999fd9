"""The Typer application that all commands belong to, and their order in its help."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

#: All commands as `legible --help` lists them.
COMMANDS = (
    "run", "status", "cancel", "publish", "score", "list", "check", "new", "show", "why", "tune",
    "adopt", "export", "merge", "verify",
)  # fmt: skip


class OrderedGroup(TyperGroup):
    """A group of commands that lists them in the order of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        return sorted(self.commands, key=COMMANDS.index)


app = typer.Typer(
    cls=OrderedGroup,
    help="Train methods that make networks interpretable, score all of them by the same metrics, "
    "and publish the results.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
