"""The headline tables of a tuned suite for the HTML report."""

from __future__ import annotations

import math

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.cells import ARROWS, Notes
from legible.bench.leaderboard.contest import columns, difference, entrants, setting, title
from legible.bench.leaderboard.entries import Entry, Head, Line, Table, card, row_id
from legible.bench.suites.run_spec import Block
from legible.bench.text import decimals, number, settings


def contest_tables(board: Board) -> list[Table]:
    """A table a block; none where nothing was tuned."""
    return [table for block in board.blocks for table in _block_table(board, block)]


def _block_table(board: Board, block: Block) -> list[Table]:
    found, rows = columns(board, block), entrants(board, block)
    ledger, notes = board.ledger, Notes()
    if found is None or ledger is None or not rows:
        return []
    heads = [
        Head(f"{c.metric.title} − plain, test", c.metric.aspect, ARROWS[c.metric.better], c.layer,
             card=card(board, c.metric))
        for c in found
    ]  # fmt: skip
    heads += [Head("chosen setting"), Head("trials"), Head("accuracy − plain, validation")]
    digits = [decimals([e.value[0] for e in rows]), decimals([e.accuracy[0] for e in rows])]
    lines = []
    for e in rows:
        marks = [board.marks[e.row.method]] if e.row.method in board.marks else []
        note = notes.mark([*marks, *e.remarks]).removeprefix("<sup>").removesuffix("</sup>")
        entries = [
            Entry(difference(e.value, digits[0]), _key(e.value[0])),
            Entry(difference(e.accuracy, digits[1]), _key(e.accuracy[0])),
            Entry(setting(e.choice), setting(e.choice)),
            Entry(str(e.choice.trials), str(e.choice.trials)),
            Entry(number(e.cost, digits[1], signed=True), _key(e.cost)),
        ]
        extra = settings(e.row.params)
        lines.append(Line(row_id(board, e.row.key), e.row.label, extra, e.row.kind, note, entries))
    return [Table(f"{title(ledger)}: {' · '.join(block)}", heads, lines, notes.texts)]


def _key(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else ""
