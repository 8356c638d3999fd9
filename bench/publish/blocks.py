"""The tables of one dataset and backbone."""

from __future__ import annotations

from collections.abc import Sequence

from bench.publish.board import Block, Board, Column, Row
from bench.publish.cells import Notes, heading, measured, row_name, set_apart, tabled
from bench.publish.overall import signed
from bench.publish.standings import Differences, best, block_differences
from bench.publish.text import decimals, escape, grid

DIFFERENCES = (
    "Differences to plain, paired by seed, ± half of the 95 % t interval. ▲ better and ▼ worse "
    "where Holm's correction over all ranked cells of this table leaves p < .05."
)


def block_section(board: Board, block: Block) -> list[str]:
    """Headlines, differences to plain, then each aspect and the other layers, folded."""
    parts = [f"## {escape(block.dataset)} · {escape(block.backbone)}"]
    rows = rows_of(board, block)
    columns = board.columns(block, board.headlines.values())
    if columns:
        parts.append(score_table(board, block, rows, columns))
        differences = block_differences(board, block, rows, columns)
        if differences is not None:
            parts += [DIFFERENCES, difference_table(board, columns, differences)]
    for aspect in board.aspects:
        if found := board.columns(block, board.of_aspect(aspect)):
            title = f"{escape(aspect.capitalize())}: {len(found)} metric{'s'[: len(found) > 1]}"
            summary = f"<details><summary>{title}</summary>"
            parts += [summary, score_table(board, block, rows, found, aspect=False), "</details>"]
    return parts + other_layers(board, block, rows)


def rows_of(board: Board, block: Block) -> list[Row]:
    """The rows that stand in a block's tables, failed and missing ones too."""
    table = board.table
    here = table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]
    keys = set(zip(here["method"], here["params"], strict=True))
    return [row for row in board.rows if row.key in keys]


def score_table(
    board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column], aspect: bool = True
) -> str:
    """Rows by columns with footnotes; nulls and controls below a line of their own."""
    notes = Notes()
    cells = [[board.cell(block, row, column) for column in columns] for row in rows]
    digits = [decimals(line[c].mean for line in cells) for c in range(len(columns))]
    bold = best(board, block, rows, columns)

    def line(row: Row) -> list[str]:
        i = rows.index(row)
        name = row_name(board, row, notes)
        return [name] + [
            measured(board, row, column, cells[i][c], digits[c], bool(bold[i, c]), notes)
            for c, column in enumerate(columns)
        ]

    heads = [heading(board, column, notes, aspect) for column in columns]
    return tabled(grid(["method", *heads], set_apart(rows, line, len(columns))), notes)


def difference_table(board: Board, columns: Sequence[Column], differences: Differences) -> str:
    """Signed differences, with a triangle where they are significant."""
    notes = Notes()
    rows, interval = differences.rows, differences.interval
    digits = [decimals(interval.mean[:, c]) for c in range(len(columns))]

    def line(row: Row) -> list[str]:
        i = rows.index(row)
        return [row_name(board, row, notes)] + [
            signed(interval, i, c, digits[c]) + triangle(column, differences, i, c)
            for c, column in enumerate(columns)
        ]

    heads = [heading(board, column, notes) for column in columns]
    return tabled(grid(["method − plain", *heads], set_apart(rows, line, len(columns))), notes)


def triangle(column: Column, differences: Differences, row: int, c: int) -> str:
    """▲ or ▼ where a difference is significant for better or worse."""
    if not differences.adjusted[row, c] < 0.05 or column.metric.better == "neither":
        return ""
    higher = differences.interval.mean[row, c] > 0
    return " ▲" if higher == (column.metric.better == "higher") else " ▼"


def other_layers(board: Board, block: Block, rows: Sequence[Row]) -> list[str]:
    """A folded table a layer, for the layers that the tables above do not show."""
    table = board.table
    here = table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]
    here = here[here["value"].notna()]
    shown = board.places[block]
    parts = []
    for layer in board.in_order(block, here["layer"]):
        names = set(here.loc[here["layer"] == layer, "metric"])
        columns = [
            Column(board.metric(name), layer)
            for aspect in board.aspects
            for name in board.of_aspect(aspect)
            if name in names and shown[name] != layer
        ]
        if columns:
            summary = f"<details><summary>Other layer: {escape(layer)}</summary>"
            parts += [summary, score_table(board, block, rows, columns), "</details>"]
    return parts
