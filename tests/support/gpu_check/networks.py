"""Runs and loops for the check, in full and in tiny size."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_check.setting import Setting
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import MethodEntry, Suite, find_suite, read_suite
from legible.methods.base import Method

#: Quick's data and recipe in a rehearsal.
TINY_DATA = {"train": 64, "validation": 18, "test": 36}
TINY_RECIPE = {"epochs": 2, "batch": 16}
TINY_NET = {"width": 4, "stages": 2}


def quick_suite(setting: Setting) -> Suite:
    """The suite `quick`; in a rehearsal with few images and epochs on a small network."""
    suite = read_suite(find_suite("quick"))
    if not setting.rehearse:
        return suite
    (block,) = suite.blocks
    small = block.model_copy(update={"data": TINY_DATA, "net": TINY_NET})
    return suite.model_copy(update={
        "blocks": [small], "recipe": suite.recipe.model_copy(update=TINY_RECIPE), "probe": 36,
        "aspects": ["task"],
    })  # fmt: skip


def open_place(setting: Setting) -> Workspace:
    """A workspace without runs on the setting's device."""
    registry.load()
    return Workspace(Store(setting.folder()), setting.device)


def trained_methods() -> list[str]:
    """The built-in methods that train a network, plain first."""
    own = [name for name, method in registry.METHODS.items() if trains(method)]
    return sorted(own, key=lambda name: (name != "plain", name))


def trains(method: type[Method]) -> bool:
    """Whether a method trains a network, instead of editing a trained one."""
    return method.trains and not method.parent


def quick_specs(setting: Setting, methods: Sequence[str]) -> list[RunSpec]:
    """Run specs of methods on the data of `quick`, by seed, then by method."""
    suite = quick_suite(setting)
    entries = [MethodEntry(name=name) for name in methods]
    return expand(suite.model_copy(update={"methods": entries}))
