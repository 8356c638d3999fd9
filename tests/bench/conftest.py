"""The toy dataset, registered as a user's plugin file is, and a fresh workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_suites import TOY_PLUGIN

from legible.bench.data.base import Dataset
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry


@pytest.fixture(scope="session")
def toy_plugin() -> Path:
    registry.load()
    registry.load_plugin(TOY_PLUGIN)
    return TOY_PLUGIN


@pytest.fixture(scope="session")
def toy(toy_plugin: Path) -> Dataset:
    return registry.get("datasets", "toy")(Path())


@pytest.fixture
def workspace(tmp_path: Path, toy_plugin: Path) -> Workspace:
    """An empty workspace, with everything registered."""
    return Workspace(Store(tmp_path / "runs"))
