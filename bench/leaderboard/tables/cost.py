"""What each method costs: time, memory and parameters, as ratios to plain."""

from __future__ import annotations

import pandas as pd

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.tables.table import (
    Estimate,
    Notes,
    Table,
    TableCell,
    TableColumn,
    table_row,
)
from legible.bench.statistics.intervals import t_interval
from legible.bench.suites.run_spec import Block, RowKey

#: Columns of the cost table, with their titles.
RATIOS = {
    "step_ratio": "step time",
    "memory_ratio": "memory of a step",
    "parameter_ratio": "parameters",
}

READING = """\
Ratios to plain: the time of a training step, alternating with plain's steps; the peak memory of a
step on a GPU, or what it stores for the backward pass on a CPU; and the number of parameters. ↓
less is better. ± half of the 95 % t interval if several seeds were measured."""


def cost_tables(board: Board) -> list[Table]:
    """A table for each block and device."""
    if board.cost.empty:
        return []
    groups = board.cost.groupby(["dataset", "backbone", "device"])
    return [
        _cost_table(
            board, f"{board.block_title(Block(str(dataset), str(backbone)))} · {device}", of
        )
        for (dataset, backbone, device), of in groups
    ]


def _cost_table(board: Board, title: str, costs: pd.DataFrame) -> Table:
    notes = Notes()
    keys = [RowKey(*key) for key in zip(costs["method"], costs["params"], strict=True)]
    rows = []
    for row in board.rows:
        own = costs[[key == row.key for key in keys]]
        if len(own):
            cells = [TableCell(_mean_ratio(own[name])) for name in RATIOS]
            rows.append(table_row(board, row, cells, notes))
    columns = tuple(TableColumn(name, arrow="↓") for name in RATIOS.values())
    return Table(f"Cost: {title}", columns, tuple(rows), tuple(notes.texts))


def _mean_ratio(values: pd.Series) -> Estimate:
    interval = t_interval(values.to_numpy(dtype="float64"))
    return Estimate(float(interval.mean), float(interval.half), 2)
