"""All metrics of one block, at every layer: a table for each aspect and for each further layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.standings import (
    BlockDifferences,
    best_tier,
    block_differences,
)
from legible.bench.leaderboard.tables.table import (
    Estimate,
    Notes,
    Table,
    in_reading_order,
    metric_column,
    score_cell,
    table_row,
)
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals

READING = """\
First line of a table cell: the mean over seeds ± half of its 95 % t interval. Second line: the
difference to plain, paired by seed, with its own interval. ▲ better and ▼ worse than plain, if
Holm's correction over the ranked rows and the metrics of one aspect at one layer leaves p < .05;
these tables are for exploration. Bold: the best tier of a column. ∅n/m: n of m units have no
defined value and count as the metric's null value. A raised t: the method's own loss nearly
minimises this metric. Null rows and controls are never ranked."""


def aspect_details(board: Board, block: Block) -> dict[str, Table]:
    """For each aspect the table of all its metrics, each at the layer shown for it."""
    columns = {aspect: board.columns(block, board.metrics_of(aspect)) for aspect in board.aspects}
    return {
        aspect: _details(board, block, aspect.capitalize(), columns[aspect])
        for aspect in board.aspects
        if columns[aspect]
    }


def layer_details(board: Board, block: Block) -> list[Table]:
    """A table for each layer with the metrics that `aspect_details` shows at another layer."""
    scores = board.of_block(board.table, block)
    scores = scores[scores["value"].notna()]
    tables = []
    for layer in board.in_order(block, scores["layer"]):
        names = set(scores.loc[scores["layer"] == layer, "metric"])
        columns = [
            Column(board.metric(name), layer)
            for aspect in board.aspects
            for name in board.metrics_of(aspect)
            if name in names and board.shown_layers[block][name] != layer
        ]
        if columns:
            title = f"Layer {layer}" if layer else "The whole network"
            tables.append(_details(board, block, title, columns))
    return tables


def _details(board: Board, block: Block, title: str, columns: Sequence[Column]) -> Table:
    notes, rows = Notes(), board.rows_of(block)
    values = [[board.seed_values(block, row, column) for column in columns] for row in rows]
    digits = [decimals(line[c].mean for line in values) for c in range(len(columns))]
    best = best_tier(board, block, rows, columns)
    differences = block_differences(board, block, rows, columns)
    heads = [metric_column(board, column, notes) for column in columns]
    lines = []
    for i, row in enumerate(rows):
        cells = [
            score_cell(board, row, column.metric.name, values[i][c], digits[c], notes,
                       bool(best[i, c]), difference_line(differences, row, c, digits[c]))
            for c, column in enumerate(columns)
        ]  # fmt: skip
        lines.append(table_row(board, row, cells, notes))
    table = Table(title, tuple(heads), tuple(lines), tuple(notes.texts), block=block)
    return in_reading_order(table)


def difference_line(
    differences: BlockDifferences | None, row: Row, column: int, digits: int
) -> Estimate | None:
    """A row's difference to plain; None for plain and where there is none."""
    if differences is None or row not in differences.rows:
        return None
    i = differences.rows.index(row)
    mean = float(differences.interval.mean[i, column])
    half = float(differences.interval.half[i, column])
    if not math.isfinite(mean):
        return None
    return Estimate(mean, half, digits, True, differences.sign(i, column))
