"""Whether each method moved the quantity that it treats: what was tested, and the outcome."""

from __future__ import annotations

from legible.bench.leaderboard.tables.table import (
    Notes,
    Table,
    TableCell,
    TableColumn,
    Words,
    table_row,
)
from legible.bench.leaderboard.verdicts import Standings

READING = """\
Each method names a target: a quantity that its loss treats, which plain's network has too. It moved
if its difference to plain has the intended direction and p < .05, by itself, without a correction
for other rows. A method whose target did not move was not delivered: its other numbers say nothing
about what it would do."""


def deliveries_table(standings: Standings) -> Table | None:
    """A row for each method with a target; None if no target was scored."""
    board, deliveries, notes = standings.board, standings.deliveries, Notes()
    if not any(delivery.blocks for delivery in deliveries.values()):
        return None
    rows = []
    for row in board.rows:
        if row.key in deliveries:
            delivery = deliveries[row.key]
            cells = [TableCell(Words(text)) for text in (delivery.text, delivery.note)]
            rows.append(table_row(board, row, cells, notes))
    heads = (TableColumn("moved"), TableColumn("target"))
    return Table("Was the treatment delivered?", heads, tuple(rows), tuple(notes.texts),
                 text=READING, secondary=True)  # fmt: skip
