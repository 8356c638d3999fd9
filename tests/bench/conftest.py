"""The toy dataset, registered the way a user's plugin file is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from legible.bench.data.base import Dataset
from legible.bench.plugins import registry

TOY = Path(__file__).with_name("toy_plugin.py")


@pytest.fixture(scope="session")
def toy_plugin() -> Path:
    registry.load()
    registry.load_plugin(TOY)
    return TOY


@pytest.fixture(scope="session")
def toy(toy_plugin: Path) -> Dataset:
    return registry.get("datasets", "toy")(Path())


@pytest.fixture
def kept_registry() -> Iterator[None]:
    """Everything built in is there, and what a test registers is forgotten after it."""
    registry.load()
    kept = [dict(known) for known in (*registry.KINDS.values(), registry.PLUGINS)]
    yield
    for known, before in zip((*registry.KINDS.values(), registry.PLUGINS), kept, strict=True):
        known.clear()
        known.update(before)
    registry.FAILED.clear()
