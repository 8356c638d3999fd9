"""The table of verdicts as data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.tables.overview import (
    DETECTABLE,
    DID_NOT_MOVE,
    IN_MARGINS,
    is_turned,
    overview_table,
    step_times,
)
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.suites.run_spec import RowKey


@pytest.fixture(scope="module")
def table(board):
    return overview_table(Standings(board))


def row_of(table, method, params="{}"):
    return next(row for row in table.rows if row.key == (method, params))


def texts(table, row):
    return dict(zip([c.title for c in table.columns], [c.text for c in row.cells], strict=True))


def test_a_column_for_accuracy_each_aspect_and_the_costs(table):
    assert [(c.title, c.below) for c in table.columns] == [
        ("accuracy", "− plain"), ("focus", "dispersion, turned"), ("semantics", "iou"),
        ("step time", "÷ plain"), ("delivered?", ""),
        ("beats training-free rows", "in the aspects"),
    ]  # fmt: skip


def test_rows_stand_in_groups(table, board):
    assert [row.key for row in table.rows] == [row.key for row in board.rows]
    groups = [row.group for row in table.rows]
    assert groups == ["method"] * 4 + ["training-free", "control", "null", "null"]


def test_a_table_cell_has_a_sign_and_a_difference(table):
    sync = texts(table, row_of(table, "sync"))
    assert sync == {
        "accuracy": "▼ −0.011 ± 0.002", "focus": "▲ +0.051 ± 0.002",
        "semantics": "▲ +0.031 ± 0.002",
        "step time": "1.10", "delivered?": "yes", "beats training-free rows": "focus, semantics",
    }  # fmt: skip
    assert row_of(table, "sync").cells[1].trained_on
    greedy = texts(table, row_of(table, "greedy"))
    assert greedy["focus"] == "+0.200 ± 0.003" and greedy["delivered?"] == ""


def test_plain_is_a_word_over_several_blocks_and_its_value_in_one(board, table):
    assert texts(table, row_of(table, "plain"))["focus"] == "plain"
    kanji = replace(board, scores=board.scores[board.scores["dataset"] == "kanji"])
    one = overview_table(Standings(kanji))
    assert texts(one, row_of(one, "plain"))["focus"] == "plain: 0.551"


def test_footnotes_say_what_is_missing_failed_or_not_delivered(table):
    bean = [table.notes[i - 1] for i in row_of(table, "bean").notes]
    assert bean[0] == "replaces a norm" and bean[2] == DID_NOT_MOVE
    assert (
        bean[1].startswith("skipped: needs a dense") and "(seeds 0–8) on kanji(size=28)" in bean[1]
    )
    (note,) = row_of(table, "bean").cells[2].notes
    assert table.notes[note - 1] == "on 2 of 3 blocks"
    strong = [table.notes[i - 1] for i in row_of(table, "sync", '{"strength": 2.0}').notes]
    assert strong == ["failed: step 7: penalty 'focus' is not finite (seed 2) on shapes · vgg",
                      "1 of 9 seeds failed on shapes · vgg"]  # fmt: skip


def test_undecided_table_cells_name_the_seeds_that_would_decide(three_seeds):
    table = overview_table(Standings(three_seeds))
    focus = row_of(table, "sync").cells[1]
    assert focus.text == "? +0.049 ± 0.006" and focus.below == "8 seeds"
    assert texts(table, row_of(table, "sync"))["beats training-free rows"] == "?"
    last = table.rows[-1]
    assert last.title == DETECTABLE and last.cells[1].text.startswith("± 0.0")
    assert len(last.cells) == len(table.columns)


def test_a_column_with_a_decided_sign_needs_no_detectable_difference(table):
    assert DETECTABLE not in [row.title for row in table.rows]


def test_a_method_without_a_value_says_why(board):
    dead = (board.scores["method"] == "sync") & (board.scores["metric"] == "dispersion")
    scores = board.scores.copy()
    scores.loc[dead, ["value", "live"]] = np.nan
    scores.loc[dead, "reason"] = "undefined on this network"
    table = overview_table(Standings(replace(board, scores=scores)))
    cell = row_of(table, "sync").cells[1]
    assert cell.text == "—"
    assert [table.notes[i - 1] for i in cell.notes] == ["undefined on this network (seeds 0–8)"]


def test_units_of_the_margin_are_named_and_turned_no_longer(board):
    margins = {b: {"dispersion": m} for b, m in zip(board.blocks, (0.02, 0.01, 0.04), strict=True)}
    standings = Standings(replace(board, margins=margins))
    table = overview_table(standings)
    assert table.columns[1].below == "dispersion, in margins" and IN_MARGINS in table.text
    assert not is_turned(standings.columns["focus"])


def test_step_times_are_means_over_blocks(board, cost):
    twice = pd.concat([cost, cost.assign(dataset="shapes", step_ratio=cost["step_ratio"] + 1)])
    times = step_times(replace(board, cost=twice))
    own = cost[(cost["method"] == "bean")]["step_ratio"].mean()
    assert times[RowKey("bean", "{}")] == pytest.approx(own + 0.5)
    assert step_times(replace(board, cost=pd.DataFrame())) == {}


def test_columns_that_nothing_fills_are_left_out(board):
    bare = replace(board, cost=pd.DataFrame(), targets={}, derived=[])
    assert [c.title for c in overview_table(Standings(bare)).columns] == [
        "accuracy", "focus", "semantics",
    ]  # fmt: skip


def test_nothing_to_compare_gives_no_table(board):
    failures = replace(board, scores=board.scores[board.scores["metric"] == ""])
    assert overview_table(Standings(failures)) is None
    alone = replace(board, scores=board.scores[board.scores["method"] == "plain"])
    assert overview_table(Standings(alone)) is None
