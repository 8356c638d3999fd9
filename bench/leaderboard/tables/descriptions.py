"""Differences to plain in aspects that have no better direction: described, without signs."""

from __future__ import annotations

from legible.bench.leaderboard.tables.differences import aspect_cell, column_digits
from legible.bench.leaderboard.tables.table import (
    Notes,
    Table,
    TableCell,
    TableColumn,
    in_reading_order,
    table_row,
)
from legible.bench.leaderboard.verdicts import Standings

READING = """\
In these aspects more is neither better nor worse, or no metric may say which: differences to plain
with half of their 95 % interval, not corrected for the number of rows, and without signs."""


def descriptions_table(standings: Standings) -> Table | None:
    """All rows but plain by aspects without a direction; None if there is no such aspect."""
    board, notes = standings.board, Notes()
    columns = [column for column in standings.columns.values() if column.descriptive]
    if not columns:
        return None
    digits = [column_digits(column) for column in columns]
    rows = [
        table_row(board, row, [
            TableCell(cell.content, notes=cell.notes)
            for column, precision in zip(columns, digits, strict=True)
            for cell in [aspect_cell(column, i, precision, notes)]
        ], notes)
        for i, row in enumerate(board.rows) if row is not board.baseline
    ]  # fmt: skip
    heads = tuple(
        TableColumn(column.metric.title, "in margins" if column.in_margins else "− plain",
                    column.aspect, metric=column.metric.name, headline=True)
        for column in columns
    )  # fmt: skip
    table = Table("Aspects without verdicts", heads, tuple(rows), tuple(notes.texts),
                  text=READING)  # fmt: skip
    return in_reading_order(table)
