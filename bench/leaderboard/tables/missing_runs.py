"""Runs without scores: skipped, failed or missing, each with its reason."""

from __future__ import annotations

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.tables.table import Table, TableCell, TableColumn, TableRow, Words
from legible.bench.text import settings


def missing_runs_table(board: Board) -> Table | None:
    """A row for each block, method and reason; None if every run has scores."""
    if not board.failures:
        return None
    labels = {row.key: row.label for row in board.rows}
    rows = tuple(
        TableRow(
            labels[key],
            tuple(TableCell(Words(text)) for text in (block.dataset, block.backbone, reason)),
            settings=settings(key.params),
        )
        for (block, key), reasons in board.failures.items()
        for reason in reasons
    )
    columns = tuple(TableColumn(title) for title in ("dataset", "backbone", "reason"))
    return Table("Skipped, failed and missing runs", columns, rows)
