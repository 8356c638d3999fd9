"""Correlation between the headline metrics: which of them say the same."""

from __future__ import annotations

import numpy as np

from legible.bench.leaderboard.tables.table import (
    Correlation,
    Table,
    TableCell,
    TableColumn,
    TableRow,
)
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.statistics.intervals import Interval

AGREEMENT = """\
Spearman's correlation between metrics over the trained rows of all blocks, standardised within each
block; metrics of which less is better are flipped. From ten pairs of a method and a block on,
it has a 95 % interval, which takes methods as a random sample and the pairs as independent: read it
as a description."""


def agreement_table(standings: Standings) -> Table | None:
    """Correlation between the headline metrics: the lower triangle."""
    interval = standings.agreement
    if interval is None or not np.isfinite(interval.mean).any():
        return None
    titles = [column.metric.title for column in standings.columns.values()]
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
