"""What was tested to see whether a treatment was delivered."""

from __future__ import annotations

from dataclasses import replace

from legible.bench.leaderboard.tables.deliveries import deliveries_table
from legible.bench.leaderboard.verdicts import Standings


def test_each_method_has_its_target_and_the_outcome(board):
    table = deliveries_table(Standings(board))
    rows = {(row.title, row.settings): [cell.text for cell in row.cells] for row in table.rows}
    assert list(rows) == [("bean", ""), ("sync (reconstruction)", ""),
                          ("sync (reconstruction)", "strength=2.0")]  # fmt: skip
    assert rows["bean", ""][0] == "no"
    moved, text = rows["sync (reconstruction)", ""]
    assert moved == "yes" and text.startswith("target dispersion, should be lower: +0.05")
    assert rows["sync (reconstruction)", "strength=2.0"] == ["—", "acts elsewhere"]


def test_without_tested_targets_there_is_no_table(board, three_seeds):
    assert deliveries_table(Standings(replace(board, targets={}))) is None
    assert deliveries_table(Standings(three_seeds)) is None
