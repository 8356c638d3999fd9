"""The toy dataset, registered as a user's plugin file is, and a fresh workspace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from published_suites import Published, make_published
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


@pytest.fixture(scope="session")
def published_root(tmp_path_factory: pytest.TempPathFactory, toy_plugin: Path) -> Path:
    """A folder with a tiny suite that has run and is published."""
    root = tmp_path_factory.mktemp("published")
    make_published(root)
    return root


@pytest.fixture
def published(published_root: Path, tmp_path: Path) -> Published:
    """A copy of the published suite, and an empty workspace of a stranger."""
    shutil.copytree(published_root, tmp_path / "copy")
    return Published(tmp_path / "copy")
