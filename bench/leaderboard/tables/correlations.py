"""Correlations: between a method and plain over seeds, and between the headline metrics."""

from __future__ import annotations

import numpy as np

from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.table import (
    Correlation,
    Notes,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    plain_column,
    table_row,
)
from legible.bench.statistics.intervals import Interval

PAIRING = """\
Correlation over seeds between a method and plain, pooled over blocks, with Fisher's 95 % interval
if there are enough seeds. Where it is above 0, pairing by seed narrows the interval of a
difference."""

AGREEMENT = """\
Spearman's correlation between metrics over the ranked methods of all blocks, standardised within
each block; metrics of which less is better are flipped. From ten pairs of a method and a block on,
it has a 95 % interval, which takes methods as a random sample and the pairs as independent: read it
as a description."""


def pairing_table(standings: Standings) -> Table | None:
    """How strongly each method correlates with plain over seeds, for each headline metric."""
    board, interval, notes = standings.board, standings.pairing, Notes()
    if interval is None or not np.isfinite(interval.mean).any():
        return None
    columns = tuple(plain_column(board, board.metric(name), arrow=False)
                    for name in board.headlines.values())  # fmt: skip
    rows = [
        table_row(board, row, (_cell(interval, i, c) for c in range(len(columns))), notes)
        for i, row in enumerate(standings.others)
    ]
    return Table("Correlation with plain over seeds", columns, tuple(rows), tuple(notes.texts),
                 text=PAIRING, secondary=True)  # fmt: skip


def agreement_table(standings: Standings) -> Table | None:
    """Correlation between the headline metrics: the lower triangle."""
    board, interval = standings.board, standings.agreement
    if interval is None or not np.isfinite(interval.mean).any():
        return None
    titles = [board.metric(name).title for name in board.headlines.values()]
    width = len(titles) - 1
    rows = tuple(
        TableRow(
            titles[i],
            tuple(_cell(interval, i, c) if c < i else TableCell() for c in range(width)),
        )
        for i in range(1, len(titles))
    )
    columns = tuple(TableColumn(title) for title in titles[:-1])
    return Table("Correlation between the headline metrics", columns, rows, first="metric",
                 text=AGREEMENT, secondary=True)  # fmt: skip


def _cell(interval: Interval, i: int, j: int) -> TableCell:
    return TableCell(
        Correlation(
            float(interval.mean[i, j]), float(interval.low[i, j]), float(interval.high[i, j])
        )
    )
