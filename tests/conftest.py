"""Shared by all tests: one CPU thread, as in a run, and a registry that forgets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def kept_registry() -> Iterator[None]:
    """Everything built in is there, and what a test registers is forgotten after it."""
    from legible.bench.plugins import registry  # takes seconds, which most tests need not
    from legible.bench.source_keys import SNAPSHOTS

    registry.load()
    path = list(sys.path)
    registers = (*registry.KINDS.values(), registry.PLUGINS, registry.LOADED, SNAPSHOTS)
    before = [dict(register) for register in registers]
    yield
    sys.path[:] = path
    registry.forget({file for files in registry.LOADED.values() for file in files})
    for register, items in zip(registers, before, strict=True):
        register.clear()
        register.update(items)
    registry.FAILED.clear()


@pytest.fixture
def gpu() -> str:
    """The device of tests that are marked ``gpu``, which are skipped without one. `make gpu`
    rehearses them on the CPU."""
    device = os.environ.get("LEGIBLE_TEST_GPU", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    from legible.bench.execution.device import settle_device

    settle_device(device)
    return device
