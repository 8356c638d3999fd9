"""How the numbers were made: versions, commit, machine, data fingerprints."""

from __future__ import annotations

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.tables.table import Table, TableCell, TableColumn, TableRow, Words


def provenance_table(board: Board) -> Table | None:
    """A row for each fact; None if none is recorded."""
    rows = tuple(
        TableRow(name, (TableCell(Words(text)),)) for name, text in board.provenance.items()
    )
    if not rows:
        return None
    return Table("How this was made", (TableColumn("value"),), rows, first="what")
