"""What a method costs, as ratios to plain training measured in the same run."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from legible.bench.content_key import content_key
from legible.bench.execution.environment import read_environment
from legible.bench.execution.store import Corrupt, digest, read_json, write_json
from legible.bench.execution.workspace import Workspace, with_method
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec
from legible.bench.training.loop import Loop, make_optimizer

COLUMNS = (
    "dataset", "backbone", "method", "params", "seed", "device", "step_ms", "step_ratio",
    "memory_mb", "memory_ratio", "parameters", "parameter_ratio", "train_seconds",
    "score_seconds",
)  # fmt: skip


def measure(
    workspace: Workspace, spec: RunSpec, plain: RunSpec, repeats: int = 12
) -> dict[str, Any]:
    """Step time, memory and parameters of a cell's method beside plain training's.

    Steps of the two alternate, so that a drift of the machine's speed hits both; the ratio is
    the median of ratios pair by pair. Memory is the peak of the device on a GPU, and what is
    kept for the backward pass on a CPU. Nothing else may run on the machine meanwhile.
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
    return {
        "step_ms": 1000 * statistics.median(t[1] for t in times),
        "step_ratio": statistics.median(t[1] / t[0] for t in times),
        "memory_mb": memory[1] / 2**20,
        "memory_ratio": memory[1] / memory[0],
        "parameters": sizes[1],
        "parameter_ratio": sizes[1] / sizes[0],
    }


def prepare(workspace: Workspace, spec: RunSpec) -> Loop:
    """A loop ready to take steps, the method past its first epoch start."""
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
    """Seconds of one step, waiting for the device."""
    synchronise(device)
    start = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_memory(step: Callable[[], None], device: str) -> float:
    """Bytes: the device's peak on a GPU, what autograd keeps for the backward pass on a CPU."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        step()
        return float(torch.cuda.max_memory_allocated())
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return float(sum(kept.values()))


def cost_table(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    remeasure: bool = True,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """One row a block and method, measured once on a machine and kept beside the runs."""
    rows = []
    first = {(*spec.block, *spec.row): spec for spec in reversed(specs)}
    for (dataset, backbone, method, params), spec in sorted(first.items()):
        if workspace.obstacle(spec):
            continue
        row = measured_cost(workspace, spec, remeasure, say)
        seconds = [times(workspace, other) for other in specs
                   if (other.block, other.row) == (spec.block, spec.row)]  # fmt: skip
        train, score = (statistics.mean(values) for values in zip(*seconds, strict=True))
        rows.append(
            {
                "dataset": dataset, "backbone": backbone, "method": method, "params": params,
                "seed": spec.seed, "device": read_environment(workspace.device).device, **row,
                "train_seconds": train, "score_seconds": score,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measured_cost(
    workspace: Workspace, spec: RunSpec, remeasure: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """An earlier measurement of the same code on this machine, or a new one; empty for a method
    that takes no training steps."""
    cls = registry.get("methods", spec.method)
    if not cls.trains or cls.parent:
        return {}
    plain = with_method(spec, "plain")
    key = digest(
        {**workspace.identity(spec), "host": platform.node(), "cost": content_key(__file__)}
    )
    path = workspace.store.root / "costs" / f"{key}.json"
    try:
        cost = read_json(path)
    except Corrupt:
        cost = None
    if cost is None:
        if not remeasure:
            return {}
        say(f"measuring the cost of {spec.method} on {spec.dataset_label}, {spec.backbone_label}")
        cost = measure(workspace, spec, plain)
        write_json(path, cost)
    return cost


def times(workspace: Workspace, spec: RunSpec) -> tuple[float, float]:
    """Seconds of training and of scoring as recorded (under whatever else ran)."""
    manifest = workspace.run_of(spec).readable_manifest()
    return (0.0, 0.0) if manifest is None else (sum(manifest.seconds), manifest.score_seconds)
