"""Settings of the process: read, put back and compared."""

from __future__ import annotations

import os
import random
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hostile_plugins import IMPORTS, STATE

from legible.bench.errors import UserError
from legible.bench.plugins import process_state
from legible.bench.plugins.process_state import (
    SETTINGS,
    Setting,
    guarded_functions,
    read_settings,
    refuse_patches,
    restore_settings,
    restored_settings,
)
from legible.methods.base import Method

#: Changes of functions, which are not settings.
PATCHES = ("relu", "cross_entropy", "topk", "mean", "modules")


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("name", [name for name in STATE if name not in PATCHES])
def test_each_setting_is_put_back(name, monkeypatch):
    names: dict[str, object] = {}
    exec(IMPORTS, names)
    monkeypatch.setattr(warnings, "filters", [])
    before = read_settings()
    with restored_settings():
        exec(STATE[name], names)
        changed = [name for name, setting in SETTINGS.items() if setting.read() != before[name]]
    assert changed, name
    after = read_settings()
    # The checks of types that run in tests draw Python's random numbers themselves.
    after["Python's random numbers"] = before["Python's random numbers"]
    assert after == before
    assert torch.ones(1).device.type == "cpu" and torch.ones(1).dtype == torch.float32


def test_pythons_random_numbers_go_on_as_before():
    setting = SETTINGS["Python's random numbers"]
    state = setting.read()
    expected = random.random()
    setting.restore(state)
    assert random.random() == expected


def test_random_numbers_go_on_as_before():
    with restored_settings():
        expected = (torch.rand(3), np.random.rand(3))  # noqa: NPY002
    actual = (torch.rand(3), np.random.rand(3))  # noqa: NPY002
    assert torch.equal(actual[0], expected[0]) and np.array_equal(actual[1], expected[1])


def test_autocast_keeps_no_old_weights():
    with restored_settings():
        torch.autocast("cpu", torch.bfloat16).__enter__()
    weight, image = torch.ones(2, 2, requires_grad=True), torch.ones(1, 2)
    for expected in (2.0, 4.0):
        with torch.autocast("cpu", torch.bfloat16):
            assert (image @ weight).tolist() == [[expected] * 2]
        with torch.no_grad():
            weight *= 2


def test_a_setting_that_cannot_be_put_back_is_refused(monkeypatch):
    place = SimpleNamespace(value=0)
    stuck = Setting(lambda: place.value, lambda value: None)
    monkeypatch.setattr(process_state, "SETTINGS", {"the clock": stuck})
    with pytest.raises(UserError, match="changes the clock"), restored_settings():
        place.value = 1
    assert restore_settings({"the clock": 0}) == ["the clock"]


def test_an_error_passes():
    with pytest.raises(ZeroDivisionError), restored_settings():
        1 / 0  # noqa: B018


@pytest.mark.parametrize(
    ("owner", "attribute", "name"),
    [
        (torch, "relu", "torch.relu"),
        (torch.nn.functional, "cross_entropy", "torch.nn.functional.cross_entropy"),
        (torch.Tensor, "mean", "torch.Tensor.mean"),
        (torch.Tensor, "backward", "torch.Tensor.backward"),
        (torch.nn.Module, "__call__", "Module.__call__"),
        (np, "mean", "numpy.mean"),
        (process_state, "read_settings", "process_state.read_settings"),
        (Method, "penalty", "Method.penalty"),
    ],
)
def test_replaced_functions_are_named_and_put_back(owner, attribute, name):
    original = getattr(owner, attribute)
    before = guarded_functions()
    setattr(owner, attribute, property(lambda self: 0))
    with pytest.raises(ValueError, match=rf"replaces .*{name}"):
        refuse_patches(before)
    assert getattr(owner, attribute) is original or getattr(owner, attribute) == original
    refuse_patches(guarded_functions())


def test_new_functions_are_no_replacement(monkeypatch):
    before = guarded_functions()
    monkeypatch.setattr(torch, "a_new_function", len, raising=False)
    assert "torch.relu" in before and os.name and sys.version
    refuse_patches(before)
