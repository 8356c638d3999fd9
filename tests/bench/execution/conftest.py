"""A fresh workspace for each test, with everything registered."""

from __future__ import annotations

from pathlib import Path

import pytest

from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, toy_plugin: Path) -> Workspace:
    return Workspace(Store(tmp_path / "runs"))
