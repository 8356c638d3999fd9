"""The table of each aspect as data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.aspects import aspect_tables


@pytest.fixture(scope="module")
def tables(board):
    return {table.metric: table for table in aspect_tables(Standings(board))}


def row_of(table, method, params="{}"):
    return next(row for row in table.rows if row.key == (method, params))


def test_a_table_for_each_headline_with_a_column_for_each_block(tables, board):
    assert list(tables) == ["accuracy", "dispersion", "iou", "rank"]
    iou = tables["iou"]
    assert iou.title == "Semantics: iou ↑" and iou.text == "Overlap with the best concept."
    assert [(c.text, c.layer) for c in iou.columns] == [
        ("kanji · vgg", "stage2"), ("kanji(size=28) · lenet5", "conv2"), ("shapes · vgg", "stage2"),
        ("mean of blocks − plain", ""),
    ]  # fmt: skip
    assert tables["rank"].text.endswith("moves with the number of units")


def test_a_value_stands_over_its_difference_to_plain(tables):
    cell = row_of(tables["dispersion"], "sync").cells[0]
    assert cell.text == "0.502 ± 0.002" and str(cell.difference) == "−0.050 ± 0.011 ▲"
    assert cell.trained_on
    assert row_of(tables["dispersion"], "plain").cells[0].difference is None


def test_the_last_column_holds_ranked_rows_only(tables):
    table = tables["iou"]
    assert row_of(table, "sync").cells[-1].text == "+0.032 ± 0.006 ▲"
    assert row_of(table, "plain").cells[-1].content is None
    assert row_of(table, "oracle").cells[-1].content is None


def test_undefined_units_and_missing_values_are_marked(tables):
    bean = row_of(tables["iou"], "bean")
    assert str(bean.cells[0].undefined) == "6/48"
    assert bean.cells[1].text == "—"
    (note,) = bean.cells[1].notes
    assert tables["iou"].notes[note - 1].startswith("skipped: needs a dense | layer")


def test_controls_and_null_rows_are_never_best_or_signed(tables):
    for table in tables.values():
        for row in table.rows:
            if row.kind != "method":
                assert not any(cell.best for cell in row.cells)
                assert not any(cell.difference.sign for cell in row.cells if cell.difference)


def test_one_block_has_no_column_of_means(board):
    one = replace(board, scores=board.scores[board.scores["dataset"] == "kanji"])
    assert all(len(table.columns) == 1 for table in aspect_tables(Standings(one)))


def test_one_seed_has_no_intervals_and_no_signs(one_seed):
    for table in aspect_tables(Standings(one_seed)):
        texts = [cell.text + str(cell.difference or "") for row in table.rows for cell in row.cells]
        assert not any(mark in text for text in texts for mark in "±▲▼")
