"""What a method costs, as ratios to plain training measured in the same run."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bench.environment import environment
from bench.execute import Bench
from bench.sources import source_hashes
from bench.store import Corrupt, digest, read_json, write_json
from bench.suite import Cell
from bench.train import Loop, make_optimizer

COLUMNS = (
    "dataset", "backbone", "method", "params", "seed", "device", "step_ms", "step_ratio",
    "memory_mb", "memory_ratio", "parameters", "parameter_ratio", "train_seconds",
    "score_seconds",
)  # fmt: skip


def measure(bench: Bench, cell: Cell, plain: Cell, repeats: int = 12) -> dict[str, Any]:
    """Step time, memory and parameters of a cell's method beside plain training's.

    Steps of the two alternate, so that a drift of the machine's speed hits both; the ratio is
    the median of ratios pair by pair. Memory is the peak of the device on a GPU, and what is
    kept for the backward pass on a CPU. Nothing else may run on the machine meanwhile.
    """
    torch.set_num_threads(1)
    loops = [prepare(bench, plain), prepare(bench, cell)]
    steps = [stepper(loop) for loop in loops]
    for step in steps:
        step()
        step()
    times = [[timed(step, bench.device) for step in steps] for _ in range(repeats)]
    memory = [peak_memory(step, bench.device) for step in steps]
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


def prepare(bench: Bench, cell: Cell) -> Loop:
    """A loop ready to take steps, the method past its first epoch start."""
    network, method, data = bench.build(cell)
    split = method.training_data(data.train)
    if cell.recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, method, cell.recipe)
    loop = Loop(network, method, split, data, cell.recipe, cell.seed, optimizer)
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
    bench: Bench, cells: Sequence[Cell], remeasure: bool = True, say: Callable[[str], None] = print
) -> pd.DataFrame:
    """One row a block and method, measured once on a machine and kept beside the runs."""
    rows = []
    first = {(c.dataset_label, c.backbone_label, *c.row): c
             for c in reversed(cells)}  # fmt: skip
    for (dataset, backbone, method, params), cell in sorted(first.items()):
        if bench.why_not(cell)[0]:
            continue
        row = measured(bench, cell, remeasure, say)
        seconds = [times(bench, c) for c in cells
                   if (c.dataset_label, c.backbone_label, *c.row)
                   == (dataset, backbone, method, params)]  # fmt: skip
        train, score = (statistics.mean(values) for values in zip(*seconds, strict=True))
        rows.append(
            {
                "dataset": dataset, "backbone": backbone, "method": method, "params": params,
                "seed": cell.seed, "device": environment(bench.device)["device"], **row,
                "train_seconds": train, "score_seconds": score,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measured(
    bench: Bench, cell: Cell, remeasure: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """The kept measurement, or a new one; empty for what takes no training steps."""
    from bench import registry

    cls = registry.get("methods", cell.method)
    if not cls.trains or cls.parent:
        return {}
    plain = replace(cell, method="plain", params=registry.parameters(
        registry.get("methods", "plain"), {}), given={})  # fmt: skip
    key = digest(
        {**bench.identity(cell), "host": platform.node(), "cost": source_hashes([__file__])}
    )
    path = bench.store.root / "costs" / f"{key}.json"
    try:
        known = read_json(path)
    except Corrupt:
        known = None
    if known is None:
        if not remeasure:
            return {}
        say(f"measuring the cost of {cell.method} on {cell.dataset_label}, {cell.backbone_label}")
        known = measure(bench, cell, plain)
        write_json(path, known)
    return known


def times(bench: Bench, cell: Cell) -> tuple[float, float]:
    """Seconds of training and of scoring as recorded (under whatever else ran)."""
    manifest = bench.run_of(cell).told()
    return float(sum(manifest.get("seconds", []))), float(manifest.get("score_seconds", 0.0))
