"""A suite file with a text, on the toy dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_suites import write_suite


@pytest.fixture
def write(tmp_path: Path, toy_plugin: Path) -> Callable[[str], Path]:
    """``write(text)`` -> the path of the suite file."""
    return lambda text: write_suite(tmp_path, text)
