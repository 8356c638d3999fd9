"""The application: every command has a place in the help, and help of its own."""

from __future__ import annotations

import pytest
import typer

from legible.bench.cli import main  # noqa: F401  (adds the commands)
from legible.bench.cli.app import COMMANDS, app


def test_every_command_has_a_place_in_the_help():
    assert sorted(typer.main.get_command(app).commands) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(legible, name):
    code, out, _ = legible(name, "--help")
    assert code == 0 and f"Example: legible {name}" in " ".join(out.split())
