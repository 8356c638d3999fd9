"""Aspects that have no verdicts."""

from __future__ import annotations

from dataclasses import replace

from legible.bench.leaderboard.tables.descriptions import descriptions_table
from legible.bench.leaderboard.verdicts import Standings


def test_differences_without_signs(board):
    table = descriptions_table(Standings(board))
    assert [(c.title, c.detail, c.aspect) for c in table.columns] == [
        ("rank", "− plain", "structure")
    ]
    assert [row.key for row in table.rows] == [r.key for r in board.rows if r.method != "plain"]
    assert not any(sign in cell.text for row in table.rows for cell in row.cells for sign in "▲▼≈?")


def test_an_aspect_that_no_metric_may_head_is_described(board):
    none = {block: {"focus": ""} for block in board.blocks}
    table = descriptions_table(Standings(replace(board, block_headlines=none)))
    assert [column.title for column in table.columns] == ["dispersion", "rank"]


def test_without_such_an_aspect_there_is_no_table(board):
    rest = replace(board, scores=board.scores[board.scores["metric"] != "rank"])
    assert descriptions_table(Standings(rest)) is None
