"""The toy dataset, registered the way a user's plugin file is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from legible.bench.data.base import Dataset
from legible.bench.plugins import registry

TOY = Path(__file__).parents[1] / "support" / "toy_plugin.py"


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
    registers = (*registry.KINDS.values(), registry.PLUGINS, registry.LOADED)
    before = [dict(register) for register in registers]
    yield
    for register, items in zip(registers, before, strict=True):
        register.clear()
        register.update(items)
    registry.FAILED.clear()
