"""The board: rows, blocks, layers, values and reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from legible.bench.leaderboard.board import Board, Column
from legible.bench.suites.run_spec import Block, RowKey


def test_plain_comes_first_then_the_groups_of_rows(board):
    groups = [row.group for row in board.rows]
    assert board.rows[0].key == ("plain", "{}") == board.baseline.key
    assert groups == ["method"] * 4 + ["training-free", "control", "null", "null"]
    assert [row.name for row in board.rows][2:4] == [
        "sync (reconstruction)", "sync (reconstruction) [strength=2.0]",
    ]  # fmt: skip


def test_training_free_rows_are_made_from_plain_s_network_and_no_null_network(board):
    rows = replace(board, derived=["atoms", "untrained"]).rows
    groups = {row.method: row.group for row in rows}
    assert groups["atoms"] == "training-free" and groups["untrained"] == "null"
    submitted = board.scores["method"].replace("atoms", "atoms@Lab X")
    rows = replace(board, scores=board.scores.assign(method=submitted)).rows
    assert {row.method: row.group for row in rows}["atoms@Lab X"] == "training-free"


def test_blocks_are_ordered_by_the_numbers_in_their_names(board):
    names = {"kanji": "x(shots=10)", "shapes": "x(shots=5)", "kanji(size=28)": "x"}
    scores = board.scores.assign(dataset=board.scores["dataset"].map(names))
    blocks = replace(board, scores=scores).blocks
    assert [block.dataset for block in blocks] == ["x", "x(shots=5)", "x(shots=10)"]


def test_a_metric_is_shown_at_the_last_layer_with_a_value(board):
    layers = board.shown_layers
    assert layers["kanji(size=28)", "lenet5"]["dispersion"] == "conv2"
    assert layers["kanji(size=28)", "lenet5"]["rank"] == "dense1"
    assert layers["kanji", "vgg"]["dispersion"] == "stage2"


def test_a_metric_that_is_not_registered_has_a_bare_description(board):
    metric = replace(board, metrics={}).metric("dispersion")
    assert (metric.aspect, metric.better, metric.summary) == ("focus", "neither", "")


def test_the_headline_metric_of_an_aspect_comes_first(board):
    assert board.metrics_of("focus") == ["dispersion", "instability"]
    other = replace(board, headline={"focus": "instability"})
    assert other.metrics_of("focus") == ["instability", "dispersion"]
    assert other.headlines["focus"] == "instability"


def test_a_headline_without_a_value_of_plain_heads_nothing(board):
    """A metric that is defined for the oracle alone compares nothing."""
    scores = board.scores[(board.scores["metric"] != "iou") | (board.scores["method"] == "oracle")]
    oracle = replace(board, scores=scores)
    assert list(oracle.headlines) == ["task", "focus", "structure"]
    assert "semantics" not in oracle.headline_columns(Block("kanji", "vgg"))
    assert oracle.described_column(Block("kanji", "vgg"), "semantics") is None


def test_blocks_may_have_headlines_of_their_own(board):
    block, other = board.blocks[:2]
    mixed = replace(board, block_headlines={block: {"focus": "instability", "semantics": ""}})
    assert mixed.headline_columns(block)["focus"].metric.name == "instability"
    assert "semantics" not in mixed.headline_columns(block)
    assert mixed.headline_columns(other)["focus"].metric.name == "dispersion"
    assert mixed.headlines["focus"] == "instability" and mixed.headlines["semantics"] == "iou"
    assert mixed.described_column(block, "semantics").metric.name == "iou"


def test_values_are_paired_by_seed_with_nan_for_a_failed_seed(board):
    block = Block("shapes", "vgg")
    rows = [row for row in board.rows if row.method in ("plain", "sync")]
    values = board.values(block, rows, board.columns(block, ["accuracy", "iou"]))
    assert values.shape == (18, 3, 2)
    failed = [row.params != "{}" for row in rows]
    assert np.isnan(values[2, failed]).all() and np.isfinite(values[:2]).all()
    assert np.isfinite(values[9:, 0]).all() and np.isnan(values[9:, 1:]).all()


def test_reasons_name_the_seeds_they_belong_to(board):
    column = Column(board.metric("iou"), "stage2")
    row = next(row for row in board.rows if row.params != "{}")
    values = board.seed_values(Block("shapes", "vgg"), row, column)
    assert values.reasons == ("failed: step 7: penalty 'focus' is not finite (seed 2)",)
    failures = board.failures[Block("kanji(size=28)", "lenet5"), RowKey("bean", "{}")]
    assert len(failures) == 1 and failures[0].endswith("(seeds 0–8)")


def test_failed_seeds_are_counted(board):
    strong = RowKey("sync", '{"strength": 2.0}')
    assert board.failed_seeds == {(Block("shapes", "vgg"), strong): (1, 9)}


def test_a_row_without_any_entry_says_that_it_is_not_scored(board):
    bean = next(row for row in board.rows if row.method == "bean")
    scores = board.scores[board.scores["status"] == "ok"]
    values = replace(board, scores=scores).seed_values(
        Block("kanji(size=28)", "lenet5"), bean, Column(board.metric("iou"), "conv2")
    )
    assert values.reasons == ("not scored",) and np.isnan(values.mean)


def test_a_board_needs_only_scores(board):
    rows = Board(board.scores).rows_of(Block("kanji", "vgg"))
    assert {row.key for row in rows} == {row.key for row in board.rows}
