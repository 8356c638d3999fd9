"""Differences to plain over blocks, bootstrapped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.differences import difference_cell, differences_table
from legible.bench.leaderboard.tables.table import Notes
from legible.bench.statistics.intervals import Interval


def test_all_rows_but_plain_and_all_headline_metrics(board):
    table = differences_table(Standings(board))
    assert [row.key for row in table.rows] == [
        row.key for row in board.rows if row.method != "plain"
    ]
    assert [column.metric for column in table.columns] == list(board.headlines.values())
    assert [column.arrow for column in table.columns] == ["↑", "↓", "↑", ""]
    assert table.secondary


def test_the_mean_is_over_blocks_of_means_over_seeds(board, scores):
    table = differences_table(Standings(board))
    row = next(row for row in table.rows if row.key == ("sync", "{}"))
    iou = scores[(scores.metric == "iou") & scores.layer.isin(["stage2", "conv2"])]
    means = iou[iou.params == "{}"].groupby(["dataset", "method"])["value"].mean().unstack()
    assert row.cells[2].content.mean == pytest.approx((means["sync"] - means["plain"]).mean())


def test_fewer_blocks_are_footnoted():
    interval = Interval(*(np.array([[x], [x]]) for x in (0.1, 0.0, 0.2)), np.array([[3], [2]]))
    notes = Notes()
    assert difference_cell(interval, 0, 0, 2, notes).notes == ()
    cell = difference_cell(interval, 1, 0, 2, notes, "▲")
    assert notes.texts == ["over 2 of 3 blocks"] and cell.notes == (1,)
    assert cell.text == "+0.10 ± 0.10 ▲"


def test_one_block_or_no_plain_gives_no_table(board):
    one = board.scores[board.scores["dataset"] == "kanji"]
    assert differences_table(Standings(replace(board, scores=one))) is None
    rest = board.scores[board.scores["method"] != "plain"]
    assert differences_table(Standings(replace(board, scores=rest))) is None
