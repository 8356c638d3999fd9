"""The settings of a tuned suite: each method's chosen setting and what it is worth.

Settings are chosen on validation data (the ledger); the differences to plain are on test data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from legible.bench.leaderboard.board import GROUPS, Board, Column, Row
from legible.bench.leaderboard.tables.differences import block_difference
from legible.bench.leaderboard.tables.table import (
    Content,
    Count,
    Estimate,
    Notes,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    Words,
    in_reading_order,
    metric_column,
    plain_column,
    table_row,
)
from legible.bench.leaderboard.verdicts import TASK, BlockColumn, block_column
from legible.bench.suites.run_spec import BASELINE, Block
from legible.bench.text import decimals, digits_with_half, settings
from legible.bench.tuning.ledger import Choice, Ledger

#: Footnote of a method whose chosen strength is the smallest or largest that was tried.
AT_EDGE = "the smallest or largest strength tried: a better one may lie beyond"
#: Footnote of a method whose chosen setting costs more accuracy than the suite allows.
TOO_COSTLY = "no setting within the tolerance on validation data; the most accurate is shown"


@dataclass(frozen=True, eq=False)
class TunedRow:
    """A method's chosen setting on one block.

    ``value`` and ``accuracy`` are differences to plain on test data, ``cost`` is the difference of
    validation accuracy; ``missing`` says why test values are missing.
    """

    row: Row
    choice: Choice
    value: Estimate
    accuracy: Estimate
    cost: float
    missing: tuple[str, ...]
    at_edge: bool = False

    @property
    def remarks(self) -> list[str]:
        """Footnotes of the row."""
        costly, edge = [TOO_COSTLY] * (not self.choice.within), [AT_EDGE] * self.at_edge
        return [*costly, *edge, *self.missing]


def tuned_tables(board: Board) -> list[Table]:
    """A table for each block; none if the suite is not tuned."""
    tables = (_tuned_table(board, block) for block in board.blocks)
    return [table for table in tables if table is not None]


def tuned_title(ledger: Ledger) -> str:
    """The title of the section, with the rule by which settings were chosen."""
    return f"Tuned settings, at a cost of at most {points(ledger)} of accuracy"


def points(ledger: Ledger) -> str:
    """The tolerance in percentage points."""
    text = f"{100 * ledger.tolerance:g}"
    return f"{text} point" + ("" if text == "1" else "s")


def tuned_reading(ledger: Ledger) -> str:
    """How the settings were chosen and what the numbers are."""
    seeds = sorted({trial.seed for trial in ledger.trials})
    counts = {c.trials for key, c in ledger.choices.items() if key not in ledger.fixed} or {0}
    trials = " to ".join(map(str, sorted({min(counts), max(counts)})))
    shorter = f", each of {ledger.epochs} epochs" if ledger.epochs else ""
    return (
        f"Every method with a search space had {trials} trials (tuning seeds "
        f"{', '.join(map(str, seeds))}{shorter}); those whose best strength lay at an edge of the "
        "strengths tried had more. Among its settings that are at most "
        f"{points(ledger)} below plain's validation accuracy, the one with the best "
        f"{ledger.metric} was chosen, on validation images and half of the concepts. The "
        "differences to plain are on test images and the other half of the concepts, on seeds that "
        "were not used for choosing, ± half of the 95 % interval, with the signs of the table of "
        "verdicts; undecided ones have none. On test data the cost of accuracy may exceed the "
        "tolerance; it has a column of its own. Every trial is in ledger.csv."
    )


def tuned_columns(board: Board, block: Block) -> tuple[Column, Column] | None:
    """The metric that settings were chosen by, at its layer, and accuracy; None without them."""
    ledger = board.ledger
    name = board.headlines.get(TASK)
    if ledger is None or name is None or (*block, *BASELINE) not in ledger.groups:
        return None
    accuracy = board.columns(block, [name])
    layer = ledger.groups[(*block, *BASELINE)][0].layer
    return (Column(board.metric(ledger.metric), layer), accuracy[0]) if accuracy else None


def tuned_rows(board: Board, block: Block) -> list[TunedRow]:
    """The methods of a block without plain, from the largest gain to the smallest; methods that
    cost too much accuracy and methods without a test value come last."""
    ledger, columns = board.ledger, tuned_columns(board, block)
    if ledger is None or columns is None or board.baseline is None:
        return []
    metric, accuracy = (block_column(board, block, column) for column in columns)
    if metric is None or accuracy is None:
        return []
    present = set(board.rows_of(block))
    rows = [i for i, row in enumerate(board.rows) if row in present
            and row is not board.baseline and (*block, *row.key) in ledger.choices]  # fmt: skip
    reference = ledger.reference(block).accuracy
    tuned = []
    for i in rows:
        row = board.rows[i]
        choice = ledger.choices[(*block, *row.key)]
        tuned.append(TunedRow(
            row, choice, _estimate(metric, i), _estimate(accuracy, i),
            choice.outcome.accuracy - reference,
            board.seed_values(block, row, columns[0]).reasons,
            ledger.at_edge((*block, *row.key)),
        ))  # fmt: skip
    sign = -1.0 if ledger.better == "lower" else 1.0
    return sorted(tuned, key=lambda t: (
        math.isnan(t.value.mean), not t.choice.within, -sign * t.value.mean
    ))  # fmt: skip


def _estimate(column: BlockColumn, i: int) -> Estimate:
    interval = column.contrast.interval()
    digits = digits_with_half(interval.mean, interval.half)
    return block_difference(column, i, digits) or Estimate(math.nan, math.nan, digits)


def _tuned_table(board: Board, block: Block) -> Table | None:
    columns, tuned = tuned_columns(board, block), tuned_rows(board, block)
    if columns is None or not tuned:
        return None
    notes = Notes()
    metric, accuracy = columns
    heads = (
        metric_column(board, metric, notes, "− plain, test"),
        metric_column(board, accuracy, notes, "− plain, test"),
        TableColumn("chosen setting"), TableColumn("trials"),
        plain_column(board, metric.metric, "validation", arrow=False),
        plain_column(board, accuracy.metric, "− plain, validation", arrow=False),
    )  # fmt: skip
    digits = decimals([t.choice.outcome.value for t in tuned])
    lines = [_line(board, t, digits, notes)
             for t in sorted(tuned, key=lambda t: GROUPS.index(t.row.group))]  # fmt: skip
    table = Table(board.block_title(block), heads, tuple(lines), tuple(notes.texts), block=block)
    return in_reading_order(table)


def _line(board: Board, tuned: TunedRow, digits: int, notes: Notes) -> TableRow:
    outcome = tuned.choice.outcome
    contents: tuple[Content, ...] = (
        tuned.value, tuned.accuracy, Words(settings(outcome.setting) or "defaults"),
        Count(tuned.choice.trials), Estimate(outcome.value, math.nan, digits),
        Estimate(tuned.cost, math.nan, tuned.accuracy.digits, True),
    )  # fmt: skip
    return table_row(
        board, tuned.row, [TableCell(content) for content in contents], notes, tuned.remarks
    )
