"""Each method's training step: its time and memory against plain's, and whether it waits."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from gpu_check.networks import open_place, quick_specs, trained_methods
from gpu_check.record import Check
from gpu_check.setting import Case, Setting
from gpu_check.waiting import refuse_waiting
from legible.bench.errors import UserError
from legible.bench.execution.cost import measure, prepare, synchronise
from legible.bench.execution.workspace import Workspace
from legible.bench.suites.run_spec import RunSpec
from legible.bench.training.loop import Loop

PART = "methods"


def cases(setting: Setting) -> dict[str, Case]:
    """A case for each built-in method that trains a network."""
    place = open_place(setting)
    plain = quick_specs(setting, ["plain"])[0]
    return {
        name: lambda name=name: check(place, name, plain, setting) for name in trained_methods()
    }


def check(place: Workspace, name: str, plain: RunSpec, setting: Setting) -> Iterable[Check]:
    """The records of one method."""
    try:
        spec = quick_specs(setting, [name])[0]
    except UserError as error:
        yield Check(PART, name, "step", "skipped", text=str(error))
        return
    if obstacle := place.obstacle(spec):
        yield Check(PART, name, "step", "skipped", text=obstacle.reason)
        return
    yield waits(prepare(place, spec), name, setting.device)
    cost = measure(place, spec, plain, repeats=2 if setting.rehearse else 12)
    yield Check(PART, name, "step, ms", "note", cost.step_ms, cost.step_ms / cost.step_ratio)
    memory = cost.memory_mb
    yield Check(PART, name, "peak memory, MiB", "note", memory, memory / cost.memory_ratio)


def waits(loop: Loop, name: str, device: str) -> Check:
    """Whether any step of an epoch makes the host wait for the device, after two steps that set
    things up."""
    order = torch.randperm(len(loop.split), device=loop.device)
    batches = [part for part in order.split(loop.batch) if len(part) == loop.batch]
    augment = loop.generator("augmentation", 0)
    for number in range(2):
        loop.step(batches[0], augment, 0, number)
    synchronise(device)
    try:
        with refuse_waiting(device):
            for number, rows in enumerate(batches):
                loop.step(rows, augment, 0, number)
    except RuntimeError as error:
        return Check(PART, name, "no step waits", "bad", text=_where(error))
    return Check(PART, name, "no step waits", "ok")


def _where(error: BaseException) -> str:
    """The message of an error, and the last line of methods/ that led to it."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/methods/" in code.co_filename or "/training/" in code.co_filename:
            place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}: "
        trace = trace.tb_next
    return place + str(error).splitlines()[0][:200]
