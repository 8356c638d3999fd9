"""All metrics of one block, by aspect and by layer."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from legible.bench.leaderboard.tables.block_details import aspect_details, layer_details
from legible.bench.suites.run_spec import Block

BLOCK = Block("kanji(size=28)", "lenet5")


def test_each_aspect_has_all_its_metrics_at_the_layer_shown(board):
    tables = aspect_details(board, BLOCK)
    assert list(tables) == ["task", "focus", "semantics", "structure"]
    focus = tables["focus"]
    assert [(c.metric, c.layer, c.headline) for c in focus.columns] == [
        ("dispersion", "conv2", True), ("instability", "conv2", False),
    ]  # fmt: skip
    assert [row.key for row in focus.rows] == [row.key for row in board.rows]


def test_other_layers_have_tables_of_their_own(board):
    (table,) = layer_details(board, BLOCK)
    assert table.title == "Layer conv2" and [c.metric for c in table.columns] == ["rank"]
    first = layer_details(board, Block("kanji", "vgg"))
    assert [table.title for table in first] == ["Layer stage1"]
    assert {c.metric for c in first[0].columns} == {"dispersion", "instability", "iou", "rank"}


def test_values_and_differences_with_signs(board):
    table = aspect_details(board, BLOCK)["focus"]
    row = next(row for row in table.rows if row.settings)
    assert row.cells[0].text == "0.400 ± 0.009"
    assert str(row.cells[0].difference).startswith("▲ −0.10")


def test_a_remark_about_a_metric_is_a_footnote_of_its_column(board):
    table = aspect_details(board, BLOCK)["structure"]
    (note,) = table.columns[0].notes
    assert table.notes[note - 1] == "moves with the number of units"


def test_a_comparison_between_seeds_has_no_interval(board):
    across = board.scores[board.scores["metric"] == "iou"]
    across = across[across["seed"] == 0].assign(seed=-1, metric="overlap", aspect="consistency")
    both = replace(board, scores=pd.concat([board.scores, across]))
    table = aspect_details(both, Block("kanji", "vgg"))["consistency"]
    assert "±" not in table.rows[0].cells[0].text
