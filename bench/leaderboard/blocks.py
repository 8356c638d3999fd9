"""Every metric of one dataset and backbone: a page of its own, linked from the leaderboard."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from legible.bench.leaderboard.algorithms import render_algorithms
from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.cells import (
    Notes,
    heading,
    measured,
    references,
    row_name,
    set_apart,
    tabled,
)
from legible.bench.leaderboard.overall import signed
from legible.bench.leaderboard.standings import Differences, best, block_differences
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals, escape, grid

READING = """\
Each cell: the mean over seeds ± half of its 95 % t interval, and below it the difference to plain,
paired by seed, with its own. ▲ better and ▼ worse where Holm's correction over all ranked cells of
the table leaves p < .05; these tables explore, and each is a family of its own. **Bold**: the best
tier of a column. ∅n/m: n of m units had no defined value and count as the metric's null.
<sup>t</sup>: the method's own loss nearly minimises this metric."""


def page_path(board: Board, block: Block) -> str:
    """Where a block's page lies below the README; blocks that read alike get a number."""
    names = [re.sub(r"[^a-z0-9]+", "-", "-".join(b).lower()).strip("-") for b in board.blocks]
    at = board.blocks.index(block)
    again = names[:at].count(names[at])
    return f"details/{names[at][:80]}{f'-{again + 1}' if again else ''}.md"


def render_block(board: Board, block: Block) -> str:
    """A block's page: a table for each aspect, then for each layer that those do not show."""
    rows = rows_of(board, block)
    title = f"# {escape(board.title)}: {escape(' · '.join(block))}"
    parts = [title, f"Every metric at every layer. [The leaderboard](../README.md). {READING}"]
    for aspect in board.aspects:
        if found := board.columns(block, board.of_aspect(aspect)):
            parts += [f"## {escape(aspect.capitalize())}", score_table(board, block, rows, found)]
        if aspect == "attribution":
            parts.append(render_algorithms(board, block, rows))
    parts += [*other_layers(board, block, rows), references(board, "../")]
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_of(board: Board, block: Block) -> list[Row]:
    """The rows that stand in a block's tables, failed and missing ones too."""
    table = board.table
    here = table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]
    keys = set(zip(here["method"], here["params"], strict=True))
    return [row for row in board.rows if row.key in keys]


def score_table(board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Rows by columns with footnotes; nulls and controls below a line of their own."""
    notes = Notes()
    cells = [[board.cell(block, row, column) for column in columns] for row in rows]
    digits = [decimals(line[c].mean for line in cells) for c in range(len(columns))]
    bold = best(board, block, rows, columns)
    differences = block_differences(board, block, rows, columns)

    def line(row: Row) -> list[str]:
        i = rows.index(row)
        return [row_name(board, row, notes)] + [
            measured(board, row, column, cells[i][c], digits[c], bool(bold[i, c]), notes)
            + against(differences, row, column, c, digits[c])
            for c, column in enumerate(columns)
        ]

    heads = [heading(board, column, notes, aspect=False) for column in columns]
    return tabled(grid(["method", *heads], set_apart(rows, line, len(columns))), notes)


def against(differences: Differences | None, row: Row, column: Column, c: int, digits: int) -> str:
    """A row's difference to plain as a second line; nothing for plain and where there is none."""
    if differences is None or row not in differences.rows:
        return ""
    i = differences.rows.index(row)
    if not math.isfinite(differences.interval.mean[i, c]):
        return ""
    text = signed(differences.interval, i, c, digits) + triangle(column, differences, i, c)
    return f"<br><sub>{text}</sub>"


def triangle(column: Column, differences: Differences, row: int, c: int) -> str:
    """▲ or ▼ where a difference is significant for better or worse."""
    if not differences.adjusted[row, c] < 0.05 or column.metric.better == "neither":
        return ""
    higher = differences.interval.mean[row, c] > 0
    return " ▲" if higher == (column.metric.better == "higher") else " ▼"


def other_layers(board: Board, block: Block, rows: Sequence[Row]) -> list[str]:
    """A table a layer, for the layers that the tables above do not show."""
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
            title = f"## Layer {escape(layer)}" if layer else "## The whole network"
            parts += [title, score_table(board, block, rows, columns)]
    return parts
