"""Differences to plain in every headline metric, over blocks like those of the suite."""

from __future__ import annotations

import numpy as np

from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.table import (
    Estimate,
    Notes,
    Table,
    TableCell,
    in_reading_order,
    plain_column,
    table_row,
)
from legible.bench.statistics.intervals import Interval
from legible.bench.text import digits_with_half


def differences_table(standings: Standings) -> Table | None:
    """All rows but plain by headline metrics; None without plain or with a single block."""
    board, notes = standings.board, Notes()
    names = list(board.headlines.values())
    rows = [row for row in board.rows if row is not board.baseline]
    interval = standings.bootstrap_differences(rows, names) if standings.rows else None
    if interval is None or len(board.blocks) < 2:
        return None
    ranked = [row.ranked for row in rows]
    digits = [digits_with_half(interval.mean[ranked, c], interval.half[ranked, c])
              for c in range(len(names))]  # fmt: skip
    lines = []
    for i, row in enumerate(rows):
        cells = [difference_cell(interval, i, c, digits[c], notes) for c in range(len(names))]
        lines.append(table_row(board, row, cells, notes))
    table = Table(
        "All rows and headline metrics (bootstrapped over blocks and seeds)",
        tuple(plain_column(board, board.metric(name)) for name in names),
        tuple(lines),
        tuple(notes.texts),
        first="method − plain",
        secondary=True,
    )
    return in_reading_order(table)


def difference_cell(
    interval: Interval, row: int, column: int, digits: int, notes: Notes, sign: str = ""
) -> TableCell:
    """A difference averaged over blocks, with a footnote if other rows have it on more blocks."""
    n, most = int(interval.n[row, column]), int(np.max(interval.n[:, column]))
    numbers = notes.numbers([f"over {n} of {most} blocks"] if 0 < n < most else [])
    mean, half = float(interval.mean[row, column]), float(interval.half[row, column])
    return TableCell(Estimate(mean, half, digits, True, sign), notes=numbers)
