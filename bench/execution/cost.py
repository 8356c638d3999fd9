"""What training with a method costs, compared with plain training on the same machine."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd
import torch
from torch import Tensor

from legible.bench.execution.environment import read_environment
from legible.bench.execution.store import Corrupt, digest, read_sealed, write_sealed
from legible.bench.execution.workspace import Workspace, with_method
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.source_keys import content_key
from legible.bench.suites.run_spec import RunSpec
from legible.bench.training.loop import Loop, make_optimizer


@dataclass(frozen=True)
class Cost:
    """What a training step of a method costs; ratios are to plain training on the same machine.

    NaN for a method that takes no training steps.
    """

    step_ms: float = math.nan
    step_ratio: float = math.nan
    memory_mb: float = math.nan
    memory_ratio: float = math.nan
    parameters: int | float = math.nan
    parameter_ratio: float = math.nan


@dataclass(frozen=True)
class CostRow:
    """A row of cost.csv: the cost of a method on one block."""

    dataset: str
    backbone: str
    method: str
    params: str
    seed: int
    device: str
    cost: Cost
    train_seconds: float
    score_seconds: float


#: Columns of cost.csv; those of the step's cost stand in the place of ``cost``.
COST_COLUMNS = [
    name
    for row_field in fields(CostRow)
    for name in ([f.name for f in fields(Cost)] if row_field.name == "cost" else [row_field.name])
]


def measure(workspace: Workspace, spec: RunSpec, plain: RunSpec, repeats: int = 12) -> Cost:
    """Step time, memory and parameters of a run spec's method, compared with plain training.

    Steps of the two alternate, so that a change in the machine's speed affects both; the ratio of
    times is the median over pairs of steps. Memory is the device's peak on a GPU, and what is kept
    for the backward pass on a CPU. Nothing else should run on the machine meanwhile.
    """
    torch.set_num_threads(1)
    loops = [prepare(workspace, plain), prepare(workspace, spec)]
    steps = [stepper(loop) for loop in loops]
    for step in steps:
        step()
        step()
    times = [[timed(step, workspace.device) for step in steps] for _ in range(repeats)]
    memory = [peak_memory(step, workspace.device) for step in steps]
    sizes = [
        sum(p.numel() for part in (loop.network, loop.method) for p in part.parameters())
        for loop in loops
    ]
    return Cost(
        step_ms=1000 * statistics.median(t[1] for t in times),
        step_ratio=statistics.median(t[1] / t[0] for t in times),
        memory_mb=memory[1] / 2**20,
        memory_ratio=memory[1] / memory[0],
        parameters=sizes[1],
        parameter_ratio=sizes[1] / sizes[0],
    )


def prepare(workspace: Workspace, spec: RunSpec) -> Loop:
    """A training loop that is ready for its first step."""
    network, method, data = workspace.build(spec)
    split = method.training_data(data.train)
    if spec.recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, method, spec.recipe)
    loop = Loop(network, method, split, data, spec.recipe, spec.seed, optimizer)
    network.train()
    method.train()
    method.start_epoch(network, split, 0)
    return loop


def stepper(loop: Loop) -> Callable[[], None]:
    """A function that takes one training step on a fixed batch."""
    indices = torch.arange(loop.batch, device=loop.device)
    augment = loop.generator("augmentation", 0)
    return lambda: loop.step(indices, augment, 0, 0) and None


def timed(step: Callable[[], None], device: str) -> float:
    """Seconds of one step, until the device has finished it."""
    synchronise(device)
    start = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Waits until a GPU has finished its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_memory(step: Callable[[], None], device: str) -> float:
    """Bytes of one step: on a GPU the peak of the device, on a CPU what autograd keeps for the
    backward pass."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        step()
        return float(torch.cuda.max_memory_allocated())
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return float(sum(storages.values()))


def cost_table(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    measure_missing: bool = True,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """The costs of each method on each block, one row each.

    A cost is measured once on a machine and stored beside the runs. The cost of a row without runs
    here is the published one.
    """
    rows = []
    published = []
    first = {(*spec.block, *spec.row): spec for spec in reversed(specs)}
    here = {(*spec.block, *spec.row) for spec in specs if _is_here(workspace, spec)}
    for (dataset, backbone, method, params), spec in sorted(first.items()):
        lines = published_costs(workspace, spec) if (*spec.block, *spec.row) not in here else []
        if lines:
            published += lines
            continue
        if workspace.obstacle(spec):
            continue
        cost = stored_cost(workspace, spec, measure_missing, say)
        seconds = [times(workspace, other) for other in specs
                   if (other.block, other.row) == (spec.block, spec.row)]  # fmt: skip
        train, score = (statistics.mean(values) for values in zip(*seconds, strict=True))
        row = CostRow(
            dataset=dataset, backbone=backbone, method=method, params=params, seed=spec.seed,
            device=read_environment(workspace.device).device, cost=cost, train_seconds=train,
            score_seconds=score,
        )  # fmt: skip
        rows.append(row)
    flat = [asdict(row) | asdict(row.cost) for row in rows]
    return pd.DataFrame([*flat, *published], columns=COST_COLUMNS).sort_values(
        ["dataset", "backbone", "method", "params"], kind="stable", ignore_index=True
    )


def published_costs(workspace: Workspace, spec: RunSpec) -> list[dict[str, str | int | float]]:
    """The published costs of a run spec's row on its block, one for each machine."""
    table = workspace.published
    lines = table.companion_rows("cost.csv", spec.block, spec.row) if table else []
    return [cost_record(line) for line in lines]


def cost_record(line: Mapping[str, str]) -> dict[str, str | int | float]:
    """A line of cost.csv with its numbers."""
    texts = ("dataset", "backbone", "method", "params", "device")
    return {
        name: line[name] if name in texts
        else int(line[name]) if name == "seed"
        else float(line[name] or "nan")
        for name in COST_COLUMNS
    }  # fmt: skip


def _is_here(workspace: Workspace, spec: RunSpec) -> bool:
    return not workspace.obstacle(spec) and (workspace.run_of(spec).readable_manifest() is not None)


def stored_cost(
    workspace: Workspace, spec: RunSpec, measure_missing: bool, say: Callable[[str], None]
) -> Cost:
    """The cost of a method, measured earlier with the same code on this machine, or now.

    All NaN for a method that takes no training steps, and for a cost that was not measured yet
    if ``measure_missing`` is False.
    """
    cls = registry.get("methods", spec.method)
    if not cls.trains or cls.parent:
        return Cost()
    key = digest(
        {**workspace.identity(spec), "host": platform.node(), "cost": content_key(__file__)}
    )
    path = workspace.store.root / "costs" / f"{key}.json"
    try:
        stored = read_sealed(path, key)
        if stored is not None:
            return Cost(**stored)
    except (Corrupt, TypeError):  # TypeError: it holds something else
        say(f"{path}: unreadable, measured again")
    if not measure_missing:
        return Cost()
    say(f"measuring the cost of {spec.method} on {spec.dataset_label}, {spec.backbone_label}")
    try:
        cost = workspace.apart(spec, lambda: measure(workspace, spec, with_method(spec, "plain")))
    except (PluginFault, ValueError) as fault:
        say(f"no cost of {spec.method}: {fault}")
        return Cost()
    write_sealed(path, key, asdict(cost))
    return cost


def times(workspace: Workspace, spec: RunSpec) -> tuple[float, float]:
    """Seconds of training and of scoring, as the manifest has them."""
    manifest = workspace.run_of(spec).readable_manifest()
    return (0.0, 0.0) if manifest is None else (sum(manifest.seconds, 0.0), manifest.score_seconds)
