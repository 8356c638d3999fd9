"""The table of a tuned suite: order, footnotes and numbers, from a made-up ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legible.bench.leaderboard.board import Column
from legible.bench.leaderboard.tables.tuned_settings import (
    AT_EDGE,
    TOO_COSTLY,
    points,
    tuned_reading,
    tuned_rows,
    tuned_tables,
    tuned_title,
)
from legible.bench.leaderboard.verdicts import block_column
from legible.bench.suites.run_spec import Block

BLOCK = Block("kanji", "vgg")


def test_rows_are_ordered_by_gain_and_too_costly_ones_come_last(tuned):
    rows = tuned_rows(tuned, BLOCK)
    assert [t.row.key for t in rows] == [
        ("sync", '{"strength": 2.0}'), ("sync", "{}"), ("greedy", "{}"),
    ]  # fmt: skip
    assert rows[2].value.mean > rows[0].value.mean > rows[1].value.mean
    assert rows[2].remarks == [TOO_COSTLY, AT_EDGE]
    assert [t.choice.trials for t in rows] == [4, 6, 4]
    assert rows[1].cost == pytest.approx(-0.005)


def test_the_difference_is_that_of_the_verdicts(tuned):
    part = block_column(tuned, BLOCK, Column(tuned.metric("iou"), "stage2"))
    i = [row.key for row in tuned.rows].index(("sync", "{}"))
    row = next(t for t in tuned_rows(tuned, BLOCK) if t.row.key == ("sync", "{}"))
    assert row.value.mean == pytest.approx(part.contrast.difference[i]) and row.value.sign == "▲"


def test_the_table_has_test_and_validation_columns(tuned):
    (table,) = tuned_tables(tuned)
    assert table.block == BLOCK and table.title == "kanji · vgg"
    assert [column.text for column in table.columns] == [
        "iou − plain, test ↑", "accuracy − plain, test ↑", "chosen setting", "trials",
        "iou validation", "accuracy − plain, validation",
    ]  # fmt: skip
    sync = next(row for row in table.rows if row.key == ("sync", "{}"))
    assert [cell.text for cell in sync.cells[2:]] == ["strength=1.0", "6", "0.600", "−0.005"]
    assert set(table.notes) == {TOO_COSTLY, AT_EDGE}


def test_less_is_better_turns_the_order(board, ledger):
    lower = replace(board, ledger=replace(ledger, better="lower"))
    keys = [t.row.key for t in tuned_rows(lower, BLOCK)]
    assert keys[:2] == [("sync", "{}"), ("sync", '{"strength": 2.0}')]


def test_without_a_ledger_there_is_no_table(board):
    assert tuned_tables(board) == [] and tuned_rows(board, BLOCK) == []


@pytest.mark.parametrize("percent", [(0.01, "1 point"), (0.02, "2 points"), (0.005, "0.5 points")])
def test_a_tolerance_is_given_in_percentage_points(ledger, percent):
    changed = replace(ledger, tolerance=percent[0])
    assert points(changed) == percent[1]
    assert tuned_title(changed) == f"Tuned settings, at a cost of at most {percent[1]} of accuracy"


def test_the_reading_names_trials_seeds_and_metric(ledger):
    text = tuned_reading(ledger)
    assert "had 4 to 6 trials (tuning seeds 100, 101); those whose" in text
    assert "the best iou was chosen" in text
    assert "each of 4 epochs" in tuned_reading(replace(ledger, epochs=4))
