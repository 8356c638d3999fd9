"""The contrasts that a suite names: one row minus another, in each aspect, with p values."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from legible.bench.leaderboard.tables.differences import is_too_wide
from legible.bench.leaderboard.tables.table import (
    Estimate,
    Table,
    TableCell,
    TableColumn,
    TableRow,
)
from legible.bench.leaderboard.verdicts import SYMBOLS, AspectColumn, Standings
from legible.bench.statistics.contrasts import FEWEST_SEEDS, varies
from legible.bench.statistics.multiplicity import holm
from legible.bench.statistics.signs import verdicts
from legible.bench.text import digits_with_half, number

READING = f"""\
The first row minus the second, paired by seed, with half of the 95 % interval; above 0 the first is
better, or larger where the aspect has no verdicts. p is corrected (Holm) over the contrasts of its
column. Signs are those of the table of verdicts and need {FEWEST_SEEDS} seeds; with fewer seeds an
interval and a p value are for orientation only. There is no sign against a row whose value is the
same for all seeds."""


class ContrastRecord(NamedTuple):
    """One row minus another in one aspect: the difference, its 95 % interval, Holm's p, a sign.

    ``first`` and ``second`` are names of rows, ``sign`` is one of `verdicts.SYMBOLS`.
    """

    first: str
    second: str
    aspect: str
    sign: str
    difference: float
    low: float
    high: float
    p: float
    seeds: int


def contrast_records(standings: Standings) -> list[ContrastRecord]:
    """A record for each named contrast whose rows are on the board, by aspect."""
    board = standings.board
    numbers = {row.key: i for i, row in enumerate(board.rows)}
    pairs = [(numbers[a], numbers[b]) for a, b in board.contrasts if {a, b} <= numbers.keys()]
    return [
        record
        for column in standings.columns.values() if pairs
        for record in _of_aspect(standings, column, pairs)
    ]  # fmt: skip


def _of_aspect(
    standings: Standings, column: AspectColumn, pairs: list[tuple[int, int]]
) -> list[ContrastRecord]:
    """The contrasts of one aspect. p values are there below eight seeds too, signs are not."""
    rows = standings.board.rows
    contrast = standings.compare(column, [a for a, _ in pairs], [b for _, b in pairs])
    spread = np.any([varies(part.data.values) for part in column.parts], axis=0)
    signed = np.array([not column.descriptive and spread[a] and spread[b] for a, b in pairs])
    signs = verdicts(contrast, column.margin, signed).sign
    p = holm(np.where(contrast.spread, contrast.p(), np.nan))
    interval = contrast.interval()
    return [
        ContrastRecord(
            rows[a].name, rows[b].name, column.aspect, SYMBOLS[str(signs[i])],
            float(interval.mean[i]), float(interval.low[i]), float(interval.high[i]), float(p[i]),
            int(contrast.seeds[i]),
        )
        for i, (a, b) in enumerate(pairs)
    ]  # fmt: skip


def contrasts_table(standings: Standings) -> Table | None:
    """A row for each contrast, a column for each aspect; None without contrasts."""
    records = contrast_records(standings)
    if not records:
        return None
    columns = list(standings.columns.values())
    digits = {
        column.aspect: digits_with_half(
            [r.difference for r in records if r.aspect == column.aspect],
            [(r.high - r.low) / 2 for r in records if r.aspect == column.aspect],
        )
        for column in columns
    }
    lines: dict[str, list[TableCell]] = {}
    for column in columns:
        for record in records:
            if record.aspect == column.aspect:
                cells = lines.setdefault(f"{record.first} − {record.second}", [])
                cells.append(_cell(record, column, digits[column.aspect]))
    rows = tuple(TableRow(title, tuple(cells)) for title, cells in lines.items())
    return Table("Named contrasts", tuple(map(_head, columns)), rows, first="contrast",
                 text=READING)  # fmt: skip


def _cell(record: ContrastRecord, column: AspectColumn, digits: int) -> TableCell:
    half = (record.high - record.low) / 2
    if not column.in_margins and is_too_wide(half, column.metric):
        half = math.nan
    content = Estimate(record.difference, half, digits, True, record.sign)
    return TableCell(content, below=p_text(record.p))


def p_text(p: float) -> str:
    """``p = 0.02``, ``p < 0.001``; "" if nothing was tested."""
    if not math.isfinite(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {number(p, 3 if p < 0.1 else 2)}"


def _head(column: AspectColumn) -> TableColumn:
    unit = ", in margins" if column.in_margins else ""
    return TableColumn(column.aspect, aspect=column.metric.aspect, metric=column.metric.name,
                       headline=True, below=column.metric.title + unit)  # fmt: skip
