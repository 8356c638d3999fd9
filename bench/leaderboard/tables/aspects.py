"""The table of each aspect: its headline metric on every block, with differences to plain."""

from __future__ import annotations

from legible.bench.leaderboard.board import Column
from legible.bench.leaderboard.tables.differences import block_difference
from legible.bench.leaderboard.tables.table import (
    ARROWS,
    Notes,
    Table,
    TableColumn,
    in_reading_order,
    score_cell,
    table_row,
)
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals


def aspect_tables(standings: Standings) -> list[Table]:
    """A table for each aspect that has a headline metric in some block."""
    return [_aspect_table(standings, aspect) for aspect in standings.board.headlines]


def _aspect_table(standings: Standings, aspect: str) -> Table:
    board, notes = standings.board, Notes()
    places = {block: columns[aspect] for block in board.blocks
              if aspect in (columns := board.headline_columns(block))}  # fmt: skip
    digits = {block: decimals(board.seed_values(block, row, column).mean for row in board.rows)
              for block, column in places.items()}  # fmt: skip
    rows = []
    for i, row in enumerate(board.rows):
        cells = [
            score_cell(
                board, row, column.metric.name, board.seed_values(block, row, column),
                digits[block], notes,
                block_difference(standings.headline_columns[block].get(aspect), i, digits[block]),
            )
            for block, column in places.items()
        ]  # fmt: skip
        rows.append(table_row(board, row, cells, notes))
    metrics = {column.metric.name: column.metric for column in places.values()}
    alike = len(metrics) == 1
    first = next(iter(metrics.values()))
    title = f"{aspect.capitalize()}: {first.title} {ARROWS[first.better]}".rstrip()
    heads = tuple(_head(standings, aspect, block, column, alike, notes)
                    for block, column in places.items())  # fmt: skip
    text = " ".join(filter(None, [first.summary, board.remarks.get(first.name)]))
    return in_reading_order(Table(
        title if alike else aspect.capitalize(), heads, tuple(rows), tuple(notes.texts),
        text=text if alike else "", metric=first.name if alike else "",
    ))  # fmt: skip


def _head(
    standings: Standings, aspect: str, block: Block, column: Column, alike: bool, notes: Notes
) -> TableColumn:
    """The block, with its metric if blocks differ, and a footnote if it takes no part."""
    reason = standings.left_out[aspect].get(block)
    remarks = [f"takes no part in the table of verdicts: {reason}"] if reason else []
    title = standings.board.block_title(block)
    if alike:
        return TableColumn(title, layer=column.layer, notes=notes.numbers(remarks))
    arrow = ARROWS[column.metric.better]
    return TableColumn(title, column.metric.title, arrow=arrow, layer=column.layer,
                       notes=notes.numbers(remarks))  # fmt: skip
