"""The tables of the HTML report as plain values, for the template to lay out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from legible.bench.leaderboard.blocks import rows_of, triangle
from legible.bench.leaderboard.board import Board, Column, Row, TableCell
from legible.bench.leaderboard.cells import ARROWS, Notes
from legible.bench.leaderboard.markdown import COSTS
from legible.bench.leaderboard.overall import fewer_blocks, incomplete
from legible.bench.leaderboard.standings import TASK, Standings, best, block_differences
from legible.bench.statistics.intervals import Interval, t_interval
from legible.bench.statistics.ranks import Ranking
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.text import decimals, digits_with_half, number, settings
from legible.metrics.base import Metric


@dataclass
class Entry:
    """A table cell: what is read, what is sorted by (empty: always last), how it is marked."""

    text: str
    key: str = ""
    note: str = ""
    best: bool = False
    trained: bool = False
    undefined: str = ""


@dataclass
class Line:
    """A table row."""

    id: str
    name: str
    extra: str
    kind: str
    note: str
    entries: list[Entry]


@dataclass
class Head:
    """A column's head; ``metric`` carries the card shown as a tooltip."""

    title: str
    group: str = ""
    arrow: str = ""
    layer: str = ""
    note: str = ""
    card: list[tuple[str, str]] = field(default_factory=list)
    headline: bool = True


@dataclass
class Table:
    """A sortable table with its footnotes."""

    caption: str
    heads: list[Head]
    lines: list[Line]
    notes: list[str]


def row_id(board: Board, key: RowKey) -> str:
    """An identifier without any text of the row's."""
    return f"row{[row.key for row in board.rows].index(key)}"


def _line(
    board: Board, row: Row, notes: Notes, entries: list[Entry], more: Iterable[str] = ()
) -> Line:
    marks = [board.marks[row.method]] if row.method in board.marks else []
    note = _numbers(notes, [*marks, *more])
    return Line(row_id(board, row.key), row.label, settings(row.params), row.kind, note, entries)


def _numbers(notes: Notes, texts: Iterable[str]) -> str:
    """Footnote numbers without markup."""
    return _bare(notes.mark(texts))


def _bare(mark: str) -> str:
    return mark.removeprefix("<sup>").removesuffix("</sup>")


def card(board: Board, metric: Metric) -> list[tuple[str, str]]:
    """A metric's card: what it says, range, direction, null, remark."""
    low, high = (f"{limit:g}" for limit in metric.limits)
    facts = [
        ("", metric.summary),
        ("metric", metric.name),
        ("aspect", metric.aspect),
        ("better", metric.better),
        ("range", f"{low} to {high}"),
        ("value per", metric.per),
    ]
    if isinstance(metric.null, float | int):
        facts.append(("null", f"{metric.null:g}"))
    return [(k, v) for k, v in [*facts, ("note", board.remarks.get(metric.name, ""))] if v]


def head(board: Board, column: Column, notes: Notes) -> Head:
    """The head of a metric's column."""
    metric = column.metric
    remark = [board.remarks[metric.name]] if metric.name in board.remarks else []
    return Head(metric.title, metric.aspect, ARROWS[metric.better], column.layer,
                _numbers(notes, remark), card(board, metric),
                metric.name in board.headlines.values())  # fmt: skip


def overall_table(standings: Standings) -> Table | None:
    """Tier, mean rank, accuracy against plain, and a rank an aspect."""
    board, notes, rows = standings.board, Notes(), standings.ordered()
    if not rows or not board.headlines:
        return None
    accuracy = board.headlines.get(TASK)
    differences = standings.differences(rows, [accuracy]) if accuracy else None
    ranks = [Head("tier"), Head("mean rank")] if standings.headlines else []
    heads = [*ranks, *_ranked_heads(standings, accuracy)]

    def line(row: Row) -> Line:
        i = standings.rows.index(row)
        entries = _overall_entries(standings.overall, i) if ranks else []
        if accuracy:
            baseline = row is board.baseline
            entries.append(_difference_entry(differences, rows.index(row), baseline, notes))
        for aspect, ranking in standings.aspects.items():
            entry = _rank_entry(ranking, i)
            entry.trained = standings.headlines[aspect] in board.trained_on.get(row.method, ())
            entries.append(entry)
        return _line(board, row, notes, entries, incomplete(standings, row))

    return Table("Overall", heads, [line(row) for row in rows], notes.texts)


def _ranked_heads(standings: Standings, accuracy: str | None) -> list[Head]:
    board = standings.board
    heads = []
    if accuracy:
        metric = board.metric(accuracy)
        title = f"{metric.title} − plain"
        heads.append(Head(title, TASK, ARROWS[metric.better], card=card(board, metric)))
    for aspect, name in standings.headlines.items():
        metric = board.metric(name)
        heads.append(Head(metric.title, aspect, card=card(board, metric)))
    return heads


def _overall_entries(overall: Ranking | None, i: int) -> list[Entry]:
    if overall is None or not overall.tier[i]:
        return [Entry("—"), Entry("—")]
    leads = bool(overall.tier[i] == 1 and overall.tier.max() > 1)
    mean = -float(overall.score[i])
    text = f"{number(mean, 2)} ({overall.low[i]}–{overall.high[i]})"
    return [Entry(str(overall.tier[i]), str(overall.tier[i]), best=leads),
            Entry(text, f"{mean:.6g}", best=leads)]  # fmt: skip


def _rank_entry(ranking: Ranking, i: int) -> Entry:
    if not ranking.tier[i]:
        return Entry("—")
    text = f"{ranking.rank[i]:.0f} ({ranking.low[i]}–{ranking.high[i]})"
    return Entry(text, f"{ranking.rank[i]:g}", best=bool(ranking.tier[i] == 1 < ranking.tier.max()))


def _difference_entry(differences: Interval | None, i: int, baseline: bool, notes: Notes) -> Entry:
    if differences is None:
        return Entry("—")
    mean, half = float(differences.mean[i, 0]), float(differences.half[i, 0])
    if baseline:
        return Entry("baseline", "0")
    digits = digits_with_half(differences.mean[:, 0], differences.half[:, 0])
    text = plus_minus(mean, half, digits, True)
    return Entry(text, _key(mean), _bare(fewer_blocks(differences, i, 0, notes)))


def plus_minus(mean: float, half: float, digits: int, signed: bool = False) -> str:
    """``mean ± half``, or the mean alone where there is no interval."""
    text = number(mean, digits, signed)
    return f"{text} ± {number(half, digits)}" if math.isfinite(half) else text


def _key(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else ""


def section(board: Board, block: Block, index: int) -> dict[str, Any]:
    """A block's tables: every metric, and differences to plain in the headlines."""
    rows = rows_of(board, block)
    headlines = board.columns(block, board.headlines.values())
    names = [name for aspect in board.aspects for name in board.of_aspect(aspect)]
    columns = board.columns(block, names)
    tables = [_score_table(board, block, rows, columns)] if columns else []
    difference = _difference_table(board, block, rows, headlines)
    return {"index": index, "block": block, "tables": tables + ([difference] if difference else [])}


def _score_table(board: Board, block: Block, rows: list[Row], columns: list[Column]) -> Table:
    notes = Notes()
    bold = best(board, block, rows, columns)
    cells = [[board.cell(block, row, column) for column in columns] for row in rows]
    digits = [decimals(line[c].mean for line in cells) for c in range(len(columns))]
    lines = [
        _line(board, row, notes, [
            _score_entry(board, row, column, cells[i][c], digits[c], bool(bold[i, c]), notes)
            for c, column in enumerate(columns)
        ])
        for i, row in enumerate(rows)
    ]  # fmt: skip
    return Table("All metrics", [head(board, c, notes) for c in columns], lines, notes.texts)


def _score_entry(board: Board, row: Row, column: Column, cell: TableCell, digits: int, bold: bool,
                 notes: Notes) -> Entry:  # fmt: skip
    trained = column.metric.name in board.trained_on.get(row.method, ())
    undefined = (
        f"{cell.undefined}/{cell.count}" if cell.undefined and math.isfinite(cell.mean) else ""
    )
    return Entry(plus_minus(cell.mean, cell.half, digits), _key(cell.mean),
                 _numbers(notes, cell.reasons), bold, trained, undefined)  # fmt: skip


def _difference_table(
    board: Board, block: Block, rows: list[Row], columns: list[Column]
) -> Table | None:
    found = block_differences(board, block, rows, columns)
    if found is None:
        return None
    notes, mean, half = Notes(), found.interval.mean, found.interval.half
    digits = [decimals(mean[:, c]) for c in range(len(columns))]
    lines = [
        _line(board, row, notes, [
            Entry(plus_minus(float(mean[i, c]), float(half[i, c]), digits[c], True)
                  + triangle(column, found, i, c), _key(float(mean[i, c])))
            for c, column in enumerate(columns)
        ])
        for i, row in enumerate(found.rows)
    ]  # fmt: skip
    heads = [head(board, column, notes) for column in columns]
    return Table("Differences to plain, paired by seed", heads, lines, notes.texts)


def cost_tables(board: Board) -> list[Table]:
    """A table of cost ratios for each block and device."""
    if board.cost.empty:
        return []
    groups = board.cost.groupby(["dataset", "backbone", "device"])
    return [_cost_table(board, " · ".join(map(str, names)), group) for names, group in groups]


def _cost_table(board: Board, caption: str, group: pd.DataFrame) -> Table:
    notes = Notes()
    keys = list(zip(group["method"], group["params"], strict=True))
    lines = []
    for row in board.rows:
        mine = group[[key == row.key for key in keys]]
        if len(mine):
            lines.append(_line(board, row, notes, [_ratio(mine[name]) for name in COSTS]))
    return Table(caption, [Head(title, arrow="↓") for title in COSTS.values()], lines, notes.texts)


def _ratio(values: Any) -> Entry:
    found = t_interval(np.asarray(values, dtype="float64"))
    return Entry(plus_minus(float(found.mean), float(found.half), 2), _key(float(found.mean)))


def failures(board: Board) -> list[tuple[str, ...]]:
    labels = {row.key: row.label for row in board.rows}
    return [
        (f"{labels[RowKey(method, params)]} {settings(params)}".strip(), dataset, backbone, reason)
        for (dataset, backbone, method, params), reasons in board.failures.items()
        for reason in reasons
    ]
