"""The Typer application that all commands belong to."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Train methods that make networks interpretable, score them alike, publish the result.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
