"""Writes plugin files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest
from broken_plugins import HEAD


@pytest.fixture
def write_method(tmp_path: Path, kept_registry: None) -> Callable[..., Path]:
    """``write_method(name, body, head=HEAD)`` writes a method's file from the class's body."""

    def write(name: str, body: str, head: str = HEAD) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(head + indent(dedent(body), "    "))
        return path

    return write
