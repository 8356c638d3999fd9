"""All metrics of one block, at every layer: a table for each aspect and for each further layer."""

from __future__ import annotations

from collections.abc import Sequence

from legible.bench.leaderboard.board import Board, Column
from legible.bench.leaderboard.tables.differences import block_difference
from legible.bench.leaderboard.tables.table import (
    Notes,
    Table,
    in_reading_order,
    metric_column,
    score_cell,
    table_row,
)
from legible.bench.leaderboard.verdicts import block_column
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals


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
    differences = [block_column(board, block, column) for column in columns]
    heads = [metric_column(board, column, notes) for column in columns]
    lines = []
    for row, scores in zip(rows, values, strict=True):
        number = board.rows.index(row)
        cells = [
            score_cell(board, row, column.metric.name, scores[c], digits[c], notes,
                       block_difference(differences[c], number, digits[c]))
            for c, column in enumerate(columns)
        ]  # fmt: skip
        lines.append(table_row(board, row, cells, notes))
    table = Table(title, tuple(heads), tuple(lines), tuple(notes.texts), block=block)
    return in_reading_order(table)
