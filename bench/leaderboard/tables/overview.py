"""The table of verdicts: a row for each method, a column for each aspect, the costs beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.tables.differences import aspect_cell, column_digits
from legible.bench.leaderboard.tables.table import (
    Baseline,
    Estimate,
    Notes,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    Words,
    in_reading_order,
    table_row,
    trains_on,
)
from legible.bench.leaderboard.verdicts import TASK, AspectColumn, Standings
from legible.bench.statistics.contrasts import FEWEST_SEEDS
from legible.bench.suites.run_spec import BASELINE, RowKey
from legible.bench.text import decimals, listed, number

LEGEND = (
    "The cell of an aspect is the difference to plain training, with half of its 95 % interval; "
    "above 0 is better.",
    "▲ better · ▼ worse · △ ▽ better or worse, but by less than the margin · ≈ shown equal (within "
    "the margin) · ? undecided, with the number of seeds that would decide if the difference stays "
    "as it is.",
    f"Signs allow 5 % error per column (Holm's correction) and need {FEWEST_SEEDS} seeds. The "
    "margin is the largest difference without practical meaning; the suite file fixes it.",
)
DELIVERED = (
    "delivered?: whether the quantity that the method treats moved as intended (a test of its "
    "own); if it did not, the row counts neither for nor against the method."
)
BEATS = "beats training-free rows: the aspects in which the method is better than each of them."
TURNED = (
    "“turned”: less of this metric is better, so its differences are shown with the other sign."
)
IN_MARGINS = "“in margins”: 1 is the margin of each block; the mean over blocks."
APART = (
    "Training-free rows are made from plain's trained network; null rows are references and are "
    "not tested."
)
DID_NOT_MOVE = "its own target did not move, so the row counts neither for nor against the method"
DETECTABLE = "detectable difference"


def overview_table(standings: Standings) -> Table | None:
    """All rows of the board with their verdicts; None without an aspect to compare."""
    board = standings.board
    aspects = list(_columns(standings))
    if board.baseline is None or not aspects or len(board.rows) < 2:
        return None
    notes = Notes()
    digits = {column.aspect: column_digits(column) for column in aspects}
    has_delivery = any(d.blocks or d.text == "?" for d in standings.deliveries.values())
    has_others = any(standings.training_free) and bool(standings.signed)
    steps = step_times(board)
    heads = [_head(column) for column in aspects]
    heads += [TableColumn("step time", below="÷ plain")] if steps else []
    heads += [TableColumn("delivered?")] if has_delivery else []
    heads += [TableColumn("beats training-free rows", below="in the aspects")] if has_others else []
    lines = []
    for i, row in enumerate(board.rows):
        cells = [_cell(standings, column, i, digits[column.aspect], notes) for column in aspects]
        cells += [_step(steps, row)] if steps else []
        cells += [_delivered(standings, row)] if has_delivery else []
        cells += [_beats(standings, i)] if has_others else []
        lines.append(table_row(board, row, cells, notes, row_remarks(standings, i)))
    lines += _detectable_row(aspects, digits, len(heads))
    legend = [
        *LEGEND,
        *margin_values(board, aspects),
        *[TURNED] * any(map(is_turned, aspects)),
        *[IN_MARGINS] * any(column.in_margins for column in aspects),
        *[DELIVERED] * has_delivery,
        *[BEATS] * has_others,
        *[APART] * any(row.group in ("training-free", "null") for row in board.rows),
    ]
    table = Table("Verdicts", tuple(heads), tuple(lines), tuple(notes.texts),
                  text="\n\n".join(legend))  # fmt: skip
    return in_reading_order(table)


def margin_values(board: Board, aspects: Sequence[AspectColumn]) -> list[str]:
    """One line with the margin of each aspect, of each block where blocks differ; [] if none."""
    parts = []
    for column in aspects:
        margins = {part.block: part.margin for part in column.parts if math.isfinite(part.margin)}
        texts = [f"{margin:g}" for margin in margins.values()]
        if len(set(texts)) > 1:
            texts = [f"{text} on {board.block_title(block)}"
                     for text, block in zip(texts, margins, strict=True)]  # fmt: skip
        name = column.metric.title if column.aspect == TASK else column.aspect
        parts += [f"{name} {listed(dict.fromkeys(texts))}"] if texts else []
    return [f"Margins: {'; '.join(parts)}."] if parts else []


def _columns(standings: Standings) -> Iterator[AspectColumn]:
    """Accuracy, then the aspects with a better direction."""
    if TASK in standings.columns:
        yield standings.columns[TASK]
    yield from standings.signed.values()


def _head(column: AspectColumn) -> TableColumn:
    """The aspect and its metric."""
    metric = column.metric
    title = metric.title if column.aspect == TASK else column.aspect
    below = "− plain" if column.aspect == TASK else metric.title
    if len({part.column.metric.name for part in column.parts}) > 1:
        return TableColumn(title, aspect=column.metric.aspect, headline=True,
                           below="one metric a block, in margins")  # fmt: skip
    unit = ", in margins" if column.in_margins else ", turned" if is_turned(column) else ""
    return TableColumn(title, aspect=column.metric.aspect, metric=metric.name, headline=True,
                       below=below + unit)  # fmt: skip


def is_turned(column: AspectColumn) -> bool:
    """Whether differences are shown with the other sign, because less is better."""
    return column.metric.better == "lower" and not column.in_margins


def _cell(
    standings: Standings, column: AspectColumn, i: int, digits: int, notes: Notes
) -> TableCell:
    board, row = standings.board, standings.board.rows[i]
    if row is board.baseline:
        return TableCell(_plain_value(column, i))
    cell = aspect_cell(column, i, digits, notes)
    reasons = [
        reason
        for part in column.parts
        for reason in board.seed_values(part.block, row, part.column).reasons
    ]
    numbers = () if math.isfinite(column.interval.mean[i]) else notes.numbers(reasons)
    return TableCell(
        cell.content, trains_on(board, row, column.metric.name), below=cell.below,
        notes=tuple(sorted({*cell.notes, *numbers})),
    )  # fmt: skip


def _plain_value(column: AspectColumn, i: int) -> Baseline:
    """Plain's own value in one block; "plain" where several blocks are put together."""
    if len(column.parts) > 1:
        return Baseline("plain")
    values = column.parts[0].data.values[i]
    turn = -1.0 if column.metric.better == "lower" else 1.0
    mean = turn * float(np.mean(values[np.isfinite(values)]))
    return Baseline(f"plain: {number(mean, decimals([mean]))}")


def step_times(board: Board) -> dict[RowKey, float]:
    """The time of a training step as a ratio to plain, by row: the mean over blocks."""
    if board.cost.empty or "step_ratio" not in board.cost:
        return {}
    by_block = board.cost.groupby(["method", "params", "dataset", "backbone"], as_index=False)
    means = by_block["step_ratio"].mean().dropna()
    ratios: dict[RowKey, list[float]] = {}
    for method, params, ratio in zip(
        means["method"], means["params"], means["step_ratio"], strict=True
    ):
        ratios.setdefault(RowKey(method, params), []).append(float(ratio))
    return {row: sum(of) / len(of) for row, of in ratios.items()}


def _step(steps: dict[RowKey, float], row: Row) -> TableCell:
    ratio = 1.0 if row.key == BASELINE else steps.get(row.key, math.nan)
    return TableCell(Estimate(ratio, math.nan, 2)) if math.isfinite(ratio) else TableCell()


def _delivered(standings: Standings, row: Row) -> TableCell:
    delivery = standings.deliveries.get(row.key)
    return TableCell(Words(delivery.text)) if delivery else TableCell()


def _beats(standings: Standings, i: int) -> TableCell:
    if i not in standings.methods:
        return TableCell()
    aspects = [aspect for aspect, rows in standings.beating.items() if i in rows]
    if standings.most_seeds < FEWEST_SEEDS:
        return TableCell(Words("?"))
    return TableCell(Words(", ".join(aspects) or "—"))


def row_remarks(standings: Standings, i: int) -> list[str]:
    """What a reader must know about a row: failed and missing seeds, a target that did not move."""
    board, row = standings.board, standings.board.rows[i]
    remarks = []
    for block in board.blocks:
        where = f" on {board.block_title(block)}" if len(board.blocks) > 1 else ""
        remarks += [f"{reason}{where}" for reason in board.failures.get((block, row.key), ())]
        failed, seeds = board.failed_seeds.get((block, row.key), (0, 0))
        remarks += [f"{failed} of {seeds} seeds failed{where}"] if failed else []
    return remarks + [DID_NOT_MOVE] * (i in standings.methods and not standings.counts(i))


def _detectable_row(
    columns: list[AspectColumn], digits: dict[str, int], width: int
) -> list[TableRow]:
    """A last row with the smallest difference that the seeds can show, for each column without a
    decided sign; none if every column has one."""
    cells = []
    for column in columns:
        signs = {column.symbol(i) for i in range(len(column.verdicts.sign))}
        blank = not signs <= {"?", ""} or not math.isfinite(column.detectable)
        text = "" if blank else number(column.detectable, digits[column.aspect])
        cells.append(TableCell(Words(f"± {text}")) if text else TableCell())
    if not any(cell.content for cell in cells):
        return []
    return [TableRow(DETECTABLE, (*cells, *[TableCell()] * (width - len(cells))))]
