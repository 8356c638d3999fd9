"""Suites that run in seconds, on the toy dataset, and what tests do with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legible.bench.execution.progress import Event
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Workspace
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import read_suite

TOY_PLUGIN = Path(__file__).with_name("toy_plugin.py")

#: A suite with a [tune] table, and with the toy plugin.
TUNED_SUITE = f"""
title = "Tiny"
seeds = [0, 1, 2]
probe = 40
layers = ["last_spatial"]
aspects = ["task", "semantics"]
plugins = ["{TOY_PLUGIN}"]
methods = ["plain", "activation_l1", "dropout", "untrained"]
[tune]
metric = "netdissect_iou"
trials = 2
seeds = [100]
tolerance = 0.05
[recipe]
epochs = 2
batch = 16
lr = 1e-2
[[blocks]]
dataset = "toy"
data = {{classes = 6}}
backbone = "vgg"
net = {{width = 4, stages = 2}}
"""


def toy_suite(
    methods: str = '"plain"',
    seeds: Sequence[int] = (0,),
    *,
    epochs: int = 1,
    batch: int = 16,
    recipe: str = "",
    layers: str = "last_spatial",
    aspects: str = '"task"',
    top: str = "",
    block: str = "",
) -> str:
    """The text of a suite with one block: the toy dataset on a small VGG."""
    return f"""
title = "Tiny"
seeds = {list(seeds)}
probe = 40
layers = ["{layers}"]
aspects = [{aspects}]
methods = [{methods}]
{top}
[recipe]
epochs = {epochs}
batch = {batch}
{recipe}
[[blocks]]
dataset = "toy"
backbone = "vgg"
net = {{width = 4, stages = 2}}
{block}
"""


def write_suite(folder: Path, text: str, name: str = "tiny") -> Path:
    """The path of a suite file with a text."""
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def specs_of(folder: Path, text: str, **selection: Any) -> list[RunSpec]:
    """The run specs of a suite's text."""
    return expand(read_suite(write_suite(folder, text)), **selection)


def work(workspace: Workspace, specs: Sequence[RunSpec]) -> list[Event]:
    """Does runs in this process and returns what was reported."""
    events: list[Event] = []
    work_through(workspace, specs, events.append)
    return events
