"""The overall table as data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.overall import INTERVALS, RANKS, overall_table
from legible.bench.leaderboard.tables.table import Estimate, RankInterval


@pytest.fixture
def table(board):
    return overall_table(Standings(board))


def cells(table, row):
    """Column title -> table cell of a row."""
    titles = [column.title for column in table.columns]
    return dict(zip(titles, table.rows[row].cells, strict=True))


def test_ranked_rows_stand_from_best_to_worst(table):
    assert [(row.title, row.settings) for row in table.rows] == [
        ("sync (reconstruction)", "strength=2.0"), ("sync (reconstruction)", ""), ("plain", ""),
        ("bean", ""),
    ]  # fmt: skip
    assert [column.title for column in table.columns] == [
        "tier", "mean rank", "accuracy", "dispersion", "iou",
    ]  # fmt: skip


def test_the_first_tier_is_best_and_its_ranks_have_intervals(table):
    leader = cells(table, 0)
    assert leader["tier"].best and leader["tier"].text == "1"
    assert leader["mean rank"].text == "1.00 (1–2)"
    assert leader["dispersion"].content == RankInterval(1.0, 1, 2)
    assert leader["dispersion"].trained_on and not leader["iou"].trained_on
    assert not cells(table, 2)["tier"].best


def test_accuracy_is_a_difference_to_plain(table):
    assert cells(table, 2)["accuracy"].text == "baseline"
    accuracy = cells(table, 0)["accuracy"].content
    assert isinstance(accuracy, Estimate) and str(accuracy) == "−0.018 ± 0.014"
    column = next(column for column in table.columns if column.title == "accuracy")
    assert column.text == "accuracy − plain ↑"


def test_an_unranked_row_says_why(table):
    bean = cells(table, 3)
    assert bean["tier"].text == bean["mean rank"].text == bean["iou"].text == "—"
    notes = [table.notes[i - 1] for i in table.rows[3].notes]
    assert notes == [
        "replaces a norm",
        "unranked in focus, semantics: no value in some block where others have one",
    ]
    assert [table.notes[i - 1] for i in bean["accuracy"].notes] == ["over 2 of 3 blocks"]


def test_a_failed_seed_is_footnoted(table):
    notes = [table.notes[i - 1] for i in table.rows[0].notes]
    assert notes == ["focus, semantics on shapes · vgg: failed or undefined for some seed, "
                     "ranked as the worst method there"]  # fmt: skip


def test_a_suite_of_accuracy_alone_has_no_ranks(board):
    task = board.scores[board.scores["metric"].isin(["accuracy", ""])]
    table = overall_table(Standings(replace(board, scores=task)))
    assert [column.title for column in table.columns] == ["accuracy"]
    assert table.text == INTERVALS and RANKS not in table.text


def test_nothing_to_rank_gives_no_table(board):
    failures = board.scores[board.scores["metric"] == ""]
    assert overall_table(Standings(replace(board, scores=failures))) is None
