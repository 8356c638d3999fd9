"""The table of each aspect as data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legible.bench.leaderboard.tables.aspects import aspect_tables
from legible.bench.leaderboard.verdicts import Standings


@pytest.fixture(scope="module")
def tables(board):
    return {table.metric: table for table in aspect_tables(Standings(board))}


def row_of(table, method, params="{}"):
    return next(row for row in table.rows if row.key == (method, params))


def test_a_table_for_each_headline_with_a_column_for_each_block(tables):
    assert list(tables) == ["accuracy", "dispersion", "iou", "rank"]
    iou = tables["iou"]
    assert iou.title == "Semantics: iou ↑" and iou.text == "Overlap with the best concept."
    assert [(c.text, c.layer) for c in iou.columns] == [
        ("kanji · vgg", "stage2"), ("kanji(size=28) · lenet5", "conv2"), ("shapes · vgg", "stage2"),
    ]  # fmt: skip
    assert tables["rank"].text.endswith("moves with the number of units")


def test_a_value_stands_over_its_difference_to_plain(tables):
    cell = row_of(tables["dispersion"], "sync").cells[0]
    assert cell.text == "0.499 ± 0.008" and str(cell.difference) == "▲ −0.052 ± 0.002"
    assert cell.trained_on
    assert row_of(tables["dispersion"], "plain").cells[0].difference is None


def test_undefined_units_and_missing_values_are_marked(tables):
    bean = row_of(tables["iou"], "bean")
    assert str(bean.cells[0].undefined) == "18/144"
    assert bean.cells[1].text == "—"
    (note,) = bean.cells[1].notes
    assert tables["iou"].notes[note - 1].startswith("skipped: needs a dense | layer")


def test_controls_and_null_rows_have_no_signs(tables):
    for table in tables.values():
        for row in table.rows:
            if row.group in ("control", "null"):
                assert not any(cell.difference.sign for cell in row.cells if cell.difference)


def test_a_block_that_takes_no_part_has_a_footnote(board):
    scores = board.scores.copy()
    weak = (scores["method"] == "untrained") & (scores["metric"] == "iou")
    weak &= (scores["backbone"] == "lenet5") & scores["value"].notna()
    scores.loc[weak, "value"] = 0.9
    iou = {t.metric: t for t in aspect_tables(Standings(replace(board, scores=scores)))}["iou"]
    assert [iou.notes[i - 1] for i in iou.columns[1].notes] == [
        "takes no part in the table of verdicts: plain does not beat the untrained network in iou"
    ]
    assert not iou.columns[0].notes


def test_blocks_with_headlines_of_their_own_name_them(board):
    instead = {board.blocks[0]: {"focus": "instability"}}
    tables = aspect_tables(Standings(replace(board, block_headlines=instead)))
    focus = next(table for table in tables if table.title == "Focus")
    assert [column.text for column in focus.columns] == [
        "kanji · vgg instability ↓", "kanji(size=28) · lenet5 dispersion ↓",
        "shapes · vgg dispersion ↓",
    ]  # fmt: skip


def test_one_seed_has_no_intervals_and_no_signs(one_seed):
    for table in aspect_tables(Standings(one_seed)):
        texts = [cell.text + str(cell.difference or "") for row in table.rows for cell in row.cells]
        assert not any(mark in text for text in texts for mark in "±▲▼")
