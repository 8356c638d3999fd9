"""Shards: parts of a suite that need nothing of one another, for schedulers that number jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from legible.bench.errors import UserError
from legible.bench.execution.progress import work
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import BASELINE, Block, RowKey, RunSpec


def shard_of(specs: Sequence[RunSpec], text: str) -> list[RunSpec]:
    """The run specs of one shard, given as ``3/8``: the third of eight, in the suite's order.

    A shard holds all seeds of a row on a block, because seeds are compared, and rows that edit
    plain's networks are in the shard of plain. Shards have about the same number of epochs. Raises
    UserError.
    """
    number, count = _read(text)
    groups: dict[tuple[Block, RowKey], list[RunSpec]] = {}
    for spec in specs:
        edits = bool(registry.get("methods", spec.method).parent)
        groups.setdefault((spec.block, BASELINE if edits else spec.row), []).append(spec)
    loads = [0] * count
    shards: list[list[RunSpec]] = [[] for _ in range(count)]
    for group in sorted(groups.values(), key=lambda group: -sum(map(work, group))):
        lightest = loads.index(min(loads))
        shards[lightest] += group
        loads[lightest] += sum(map(work, group))
    names = {spec.name for spec in shards[number - 1]}
    return [spec for spec in specs if spec.name in names]


def _read(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text, re.ASCII)
    if match is None or int(match[1]) > int(match[2]):
        raise UserError(f"--shard {text}: write I/N with I from 1 to N, like 3/8")
    return int(match[1]), int(match[2])
