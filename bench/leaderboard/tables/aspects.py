"""The table of each aspect: its headline metric on every block, with differences to plain."""

from __future__ import annotations

from legible.bench.leaderboard.board import Row
from legible.bench.leaderboard.conclusions import difference_digits
from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.block_details import difference_line
from legible.bench.leaderboard.tables.differences import difference_cell
from legible.bench.leaderboard.tables.table import (
    ARROWS,
    Notes,
    Table,
    TableCell,
    TableColumn,
    in_reading_order,
    score_cell,
    table_row,
)
from legible.bench.text import decimals

READING = """\
First line of a table cell: the mean over seeds ± half of its 95 % t interval (standard deviation
with ddof = 1). Second line: the difference to plain, paired by seed, with its own interval. The
intervals are about further seeds on the same data, backbone and recipe, not about other data. ▲
better and ▼ worse than plain, if Holm's correction leaves p < .05: in a block over all its ranked
rows and aspects, in the last column over all rows and aspects of that column. Bold: the best tier
of a column (every pair of methods compared seed by seed, with Holm's correction), unless no two
methods differ. ↑ more is better, ↓ less is better. ∅n/m: n of m units (over all seeds) have no
defined value and count as the metric's null value. A raised t: the method's own loss nearly
minimises this metric. Null rows and controls are never ranked."""


def aspect_tables(standings: Standings) -> list[Table]:
    """A table for each aspect that has a headline metric."""
    return [
        _aspect_table(standings, aspect, name) for aspect, name in standings.board.headlines.items()
    ]


def _aspect_table(standings: Standings, aspect: str, name: str) -> Table:
    board, notes = standings.board, Notes()
    metric = board.metric(name)
    places = [
        (block, index, column)
        for block in board.blocks
        for index, column in enumerate(standings.headline_columns[block])
        if column.metric.name == name
    ]
    digits = [
        decimals(board.seed_values(block, row, column).mean for row in board.rows)
        for block, _, column in places
    ]
    pooled = standings.headline_pooled is not None
    rows = []
    for row in board.rows:
        cells = [
            score_cell(
                board, row, name, board.seed_values(block, row, column), precision, notes,
                bool(standings.headline_best[block][board.rows.index(row), index]),
                difference_line(standings.headline_differences[block], row, index, precision),
            )
            for (block, index, column), precision in zip(places, digits, strict=True)
        ]  # fmt: skip
        cells += [_mean_over_blocks(standings, row, name, notes)] if pooled else []
        rows.append(table_row(board, row, cells, notes))
    columns = [TableColumn(" · ".join(block), layer=column.layer) for block, _, column in places]
    columns += [TableColumn("mean of blocks", "− plain")] if pooled else []
    title = f"{aspect.capitalize()}: {metric.title} {ARROWS[metric.better]}".rstrip()
    text = " ".join(filter(None, [metric.summary, board.remarks.get(name)]))
    table = Table(title, tuple(columns), tuple(rows), tuple(notes.texts), text=text, metric=name)
    return in_reading_order(table)


def _mean_over_blocks(standings: Standings, row: Row, name: str, notes: Notes) -> TableCell:
    """A ranked row's difference to plain averaged over blocks; blank for other rows."""
    pooled = standings.headline_pooled
    if pooled is None or row not in pooled.rows:
        return TableCell()
    i = pooled.rows.index(row)
    c = [metric.name for metric in pooled.metrics].index(name)
    digits = difference_digits(pooled, c)
    return difference_cell(pooled.interval, i, c, digits, notes, pooled.sign(i, c))
