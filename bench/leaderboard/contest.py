"""The headline of a tuned suite: interpretability at a small cost of accuracy.

What was chosen on validation data (the ledger), beside what it is worth on test data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from legible.bench.leaderboard.blocks import rows_of, triangle
from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.leaderboard.cells import Notes, heading, row_name, set_apart, tabled
from legible.bench.leaderboard.standings import TASK, Differences, block_differences
from legible.bench.suites.run_spec import BASELINE, Block
from legible.bench.text import decimals, escape, grid, number, settings
from legible.bench.tuning.ledger import Choice, Ledger

#: Footnote of a row whose number cost more than the suite allows.
TOO_DEAR = "no setting within the tolerance on validation data; the most accurate is shown"


@dataclass(frozen=True, eq=False)
class Entrant:
    """A method's chosen setting on one block. Test values are differences to plain over seeds:
    mean, half of the 95 % t interval, and ▲ or ▼ where it is significant."""

    row: Row
    choice: Choice
    value: tuple[float, float, str]
    accuracy: tuple[float, float, str]
    cost: float  # validation accuracy minus plain's

    missing: tuple[str, ...]  # why test values are not there

    @property
    def remarks(self) -> list[str]:
        return [*([] if self.choice.within else [TOO_DEAR]), *self.missing]


def columns(board: Board, block: Block) -> tuple[Column, Column] | None:
    """The contest's metric at the layer that chose, and accuracy; None where either is missing."""
    ledger = board.ledger
    name = board.headlines.get(TASK)
    if ledger is None or name is None or (*block, *BASELINE) not in ledger.groups:
        return None
    accuracy = board.columns(block, [name])
    layer = ledger.groups[(*block, *BASELINE)][0].layer
    return (Column(board.metric(ledger.metric), layer), accuracy[0]) if accuracy else None


def entrants(board: Board, block: Block) -> list[Entrant]:
    """The methods of a block from the largest gain to the smallest, those that cost too much and
    those without a test value last; plain is left out."""
    ledger, found = board.ledger, columns(board, block)
    if ledger is None or found is None or board.baseline is None:
        return []
    known = [row for row in rows_of(board, block) if (*block, *row.key) in ledger.choices]
    metric, accuracy = (block_differences(board, block, known, [column]) for column in found)
    if metric is None or accuracy is None:
        return []
    reference = ledger.reference(block).accuracy
    out = []
    for i, row in enumerate(metric.rows):
        choice = ledger.choices[(*block, *row.key)]
        out.append(Entrant(row, choice, _told(metric, i, found[0]), _told(accuracy, i, found[1]),
                           choice.outcome.accuracy - reference,
                           board.cell(block, row, found[0]).reasons))  # fmt: skip
    sign = -1.0 if ledger.better == "lower" else 1.0
    return sorted(out, key=lambda e: (
        math.isnan(e.value[0]), not e.choice.within, -sign * e.value[0]
    ))  # fmt: skip


def _told(differences: Differences, i: int, column: Column) -> tuple[float, float, str]:
    interval = differences.interval
    return (float(interval.mean[i, 0]), float(interval.half[i, 0]),
            triangle(column, differences, i, 0))  # fmt: skip


def title(ledger: Ledger) -> str:
    """What the headline number is called."""
    return f"Interpretability at a cost of at most {points(ledger)} of accuracy"


def points(ledger: Ledger) -> str:
    """The tolerance in percentage points."""
    shown = f"{100 * ledger.tolerance:g}"
    return f"{shown} point" + ("" if shown == "1" else "s")


def explanation(ledger: Ledger | None) -> str:
    """How the settings were chosen and what the numbers are, in plain text."""
    if ledger is None:
        return ""
    seeds = sorted({trial.seed for trial in ledger.trials})
    most = max(choice.trials for choice in ledger.choices.values())
    shorter = f", in trials of {ledger.epochs} epochs" if ledger.epochs else ""
    return (
        f"Every method with a search space had {most} trials (tuning seeds "
        f"{', '.join(map(str, seeds))}{shorter}). Of its settings at most {points(ledger)} below "
        f"plain's validation accuracy, the one with the best {ledger.metric} was chosen, on "
        "validation images and half of the concepts. The differences to plain are on test "
        "images and the other half, on seeds that chose nothing, paired by seed, ± half of the "
        "95 % t interval; ▲ better and ▼ worse where Holm's correction over the ranked methods of "
        "the column leaves p < .05. The accuracy on test data may cost more than the tolerance: it "
        "stands beside. Every trial is in ledger.csv."
    )


def contest_section(board: Board) -> list[str]:
    """The headline table of each block, for the head of the README."""
    ledger = board.ledger
    tables = [part for block in board.blocks for part in _block_table(board, block)]
    if ledger is None or not tables:
        return []
    return [f"## {title(ledger)}", *tables, escape(explanation(ledger), 2000)]


def _block_table(board: Board, block: Block) -> list[str]:
    found, lines = columns(board, block), entrants(board, block)
    if found is None or not lines:
        return []
    notes, by_row = Notes(), {e.row.key: e for e in lines}
    digits = [decimals(values) for values in (
        [e.value[0] for e in lines], [e.accuracy[0] for e in lines],
        [e.choice.outcome.value for e in lines],
    )]  # fmt: skip

    def line(row: Row) -> list[str]:
        e = by_row[row.key]
        return [
            row_name(board, row, notes, e.remarks), difference(e.value, digits[0]),
            difference(e.accuracy, digits[1]), escape(setting(e.choice)), str(e.choice.trials),
            number(e.choice.outcome.value, digits[2]), number(e.cost, digits[1], signed=True),
        ]  # fmt: skip

    heads = [f"{heading(board, column, notes, aspect=False)}<br>minus plain, test"
             for column in found]  # fmt: skip
    metric = escape(found[0].metric.title)
    header = ["method", *heads, "chosen setting", "trials", f"{metric}<br>validation",
              "accuracy − plain<br>validation"]  # fmt: skip
    body = set_apart([e.row for e in lines], line, len(header) - 1)
    where = [f"**{escape(' · '.join(block))}**"] if len(board.blocks) > 1 else []
    return [*where, tabled(grid(header, body), notes)]


def setting(choice: Choice) -> str:
    """The chosen setting as text."""
    return settings(choice.outcome.setting) or "defaults"


def difference(told: tuple[float, float, str], digits: int) -> str:
    """``+0.012 ± 0.004 ▲``."""
    mean, half, mark = told
    text = number(mean, digits, signed=True)
    return text + (f" ± {number(half, digits)}" if math.isfinite(half) else "") + mark


def records(board: Board) -> list[dict[str, object]]:
    """The trials as plain values."""
    return [trial.model_dump() for trial in board.ledger.trials] if board.ledger else []
