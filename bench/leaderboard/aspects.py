"""The leaderboard's table of each aspect: its headline metric on every block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from legible.bench.leaderboard.blocks import against, rows_of
from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.cells import (
    ARROWS,
    Notes,
    link,
    measured,
    row_name,
    set_apart,
    tabled,
)
from legible.bench.leaderboard.conclusions import places
from legible.bench.leaderboard.overall import fewer_blocks, signed
from legible.bench.leaderboard.standings import (
    Against,
    Differences,
    Standings,
    against_plain,
    best,
    block_differences,
)
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals, escape, grid


@dataclass(frozen=True, eq=False)
class Headlines:
    """What the tables of all aspects share: headline columns, differences and best tiers."""

    standings: Standings

    @property
    def board(self) -> Board:
        return self.standings.board

    @cached_property
    def columns(self) -> Mapping[Block, list[Column]]:
        board = self.board
        return {block: board.columns(block, board.headlines.values()) for block in board.blocks}

    @cached_property
    def differences(self) -> Mapping[Block, Differences | None]:
        """By block, with Holm's correction over the block's ranked rows and headlines."""
        return {
            block: block_differences(self.board, block, rows_of(self.board, block), columns)
            for block, columns in self.columns.items()
        }

    @cached_property
    def bold(self) -> Mapping[Block, np.ndarray]:
        board = self.board
        return {b: best(board, b, board.rows, self.columns[b]) for b in board.blocks}

    @cached_property
    def pooled(self) -> Against | None:
        """Differences to plain averaged over blocks; the family is ranked rows and headlines."""
        board = self.board
        if len(board.blocks) < 2:
            return None
        others = [row for row in self.standings.rows if row is not board.baseline]
        return against_plain(board, others, list(board.headlines.values()))


def aspect_sections(standings: Standings) -> list[str]:
    """A heading and a table for each aspect that has a headline metric."""
    if not standings.board.headlines:
        return []
    shared = Headlines(standings)
    return ["## Aspects", READING] + [
        part
        for aspect, name in standings.board.headlines.items()
        for part in _section(shared, aspect, name)
    ]


READING = """\
Each cell: the mean over seeds ± half of its 95 % t interval (standard deviation with ddof = 1), and
below it the difference to plain, paired by seed, with its own interval. They say where the mean of
further seeds would lie on the same data, backbone and recipe, and nothing about other data. ▲
better and ▼ worse than plain where Holm's correction leaves p < .05: in a block over all its ranked
rows and aspects, in the column of means over all rows and aspects of that column. **Bold**: the
best tier of a column (every pair of methods compared seed by seed, Holm's correction); nothing is
bold where no two methods are told apart. ↑ more is better, ↓ less is better. ∅n/m: n of m units
(over all seeds) had no defined value and count as the metric's null. <sup>t</sup>: the method's own
loss nearly minimises this metric. Null rows and controls stand apart and are never ranked."""


def _section(shared: Headlines, aspect: str, name: str) -> list[str]:
    metric = shared.board.metric(name)
    arrow = f" {ARROWS[metric.better]}".rstrip()
    title = f"### {escape(aspect.capitalize())}: {link(shared.board, name, metric.title)}{arrow}"
    remark = shared.board.remarks.get(name)
    told = " ".join(filter(None, [metric.summary, remark]))
    return [title, escape(told, 600), _table(shared, name)]


def _table(shared: Headlines, name: str) -> str:
    board, notes = shared.board, Notes()
    places = [
        (block, at, column)
        for block in board.blocks
        for at, column in enumerate(shared.columns[block])
        if column.metric.name == name
    ]
    heads = [_head(block, column) for block, _, column in places]
    digits = [
        decimals(board.cell(block, row, column).mean for row in board.rows)
        for block, _, column in places
    ]

    def line(row: Row) -> list[str]:
        texts = [row_name(board, row, notes)]
        for (block, at, column), shown in zip(places, digits, strict=True):
            bold = bool(shared.bold[block][board.rows.index(row), at])
            cell = board.cell(block, row, column)
            text = measured(board, row, column, cell, shown, bold, notes)
            texts.append(text + against(shared.differences[block], row, column, at, shown))
        return texts + ([_mean(shared, row, name, notes)] if shared.pooled else [])

    heads += ["mean of blocks − plain"] if shared.pooled else []
    return tabled(grid(["method", *heads], set_apart(board.rows, line, len(heads))), notes)


def _head(block: Block, column: Column) -> str:
    layer = f"<br><sub>{escape(column.layer)}</sub>" if column.layer else ""
    return f"{escape(' · '.join(block))}{layer}"


def _mean(shared: Headlines, row: Row, name: str, notes: Notes) -> str:
    """A ranked row's difference to plain averaged over blocks, marked where it is significant."""
    found = shared.pooled
    if found is None or row not in found.rows:
        return ""
    i, c = found.rows.index(row), list(shared.board.headlines.values()).index(name)
    metric = shared.board.metric(name)
    text = signed(found.interval, i, c, places(found, c))
    text += fewer_blocks(found.interval, i, c, notes)
    if not found.clear[i, c] or metric.better == "neither":
        return text
    return f"{text} {'▲' if found.better[i, c] else '▼'}"
