"""Table cells of differences to plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.tables.differences import (
    FOLLOWS,
    NO_TEST,
    SAME,
    TOO_WIDE,
    TWO_SEEDS,
    aspect_cell,
    block_difference,
    column_digits,
    is_too_wide,
    seeds_text,
    what_would_decide,
)
from legible.bench.leaderboard.tables.table import Notes
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.suites.run_spec import Block


def test_a_block_s_difference_is_in_the_direction_of_the_metric(board):
    part = Standings(board).headline_columns[Block("kanji", "vgg")]["focus"]
    i = [row.key for row in board.rows].index(("sync", "{}"))
    assert part.contrast.difference[i] > 0  # turned: better
    estimate = block_difference(part, i, 3)
    assert str(estimate).startswith("▲ −0.05") and estimate.half > 0
    assert block_difference(part, board.rows.index(board.baseline), 3) is None
    assert block_difference(None, i, 3) is None


def test_undecided_differences_have_no_sign_in_details(three_seeds):
    part = Standings(three_seeds).headline_columns[Block("kanji", "vgg")]["focus"]
    i = [row.key for row in three_seeds.rows].index(("sync", "{}"))
    assert part.symbol(i) == "?" and block_difference(part, i, 3).sign == ""


def test_a_row_without_spread_or_on_fewer_blocks_has_a_footnote(board):
    scores = board.scores.copy()
    flat = (scores["method"] == "sync") & (scores["params"] == "{}") & (scores["metric"] == "iou")
    scores.loc[flat & scores["value"].notna(), "value"] = 0.5
    column = Standings(replace(board, scores=scores)).columns["semantics"]
    keys, notes = [row.key for row in board.rows], Notes()
    assert aspect_cell(column, keys.index(("sync", "{}")), 3, notes).notes == (1,)
    assert aspect_cell(column, keys.index(("bean", "{}")), 3, notes).notes == (2,)
    assert notes.texts == [NO_TEST["no spread"], "on 2 of 3 blocks"]


def test_of_two_seeds_a_row_may_follow_plain_exactly(board):
    """The row whose slope on plain is the median has no spread left; its values do differ."""
    scores = board.scores[(board.scores["seed"] < 2) & (board.scores["dataset"] == "kanji")].copy()
    strong = '{"strength": 2.0}'
    steps = {("plain", "{}"): 10, ("sync", "{}"): 2, ("sync", strong): 5, ("bean", "{}"): 8}
    for (method, params), step in steps.items():
        row = (scores["method"] == method) & (scores["params"] == params)
        row &= scores["metric"] == "iou"
        scores.loc[row, "value"] = 0.9 + step / 1000 * scores.loc[row, "seed"]
    two = replace(board, scores=scores)
    column, notes = Standings(two).columns["semantics"], Notes()
    for key in steps:
        aspect_cell(column, [row.key for row in two.rows].index(key), 3, notes)
    assert sorted(notes.texts) == sorted([FOLLOWS, TWO_SEEDS])
    assert column.reason([row.key for row in two.rows].index(("sync", strong))) == "no spread"


def test_an_interval_wider_than_the_range_of_the_metric_is_not_shown(board):
    """Three seeds of a share that differ widely: t with two degrees of freedom."""
    scores = board.scores[board.scores["seed"] < 3].copy()
    wild = (scores["method"] == "bean") & (scores["metric"] == "iou")
    scores.loc[wild, "value"] = np.where(scores.loc[wild, "seed"] == 0, 0.0, 1.0)
    one = replace(board, scores=scores[scores["dataset"] == "kanji"])
    column, notes = Standings(one).columns["semantics"], Notes()
    i = [row.method for row in one.rows].index("bean")
    assert column.interval.half[i] > 1 and is_too_wide(
        float(column.interval.half[i]), column.metric
    )
    cell = aspect_cell(column, i, 2, notes)
    assert "±" not in cell.text and notes.texts == [TOO_WIDE]


def test_two_seeds_have_a_mean_and_no_interval(board):
    two = replace(board, scores=board.scores[board.scores["seed"] < 2])
    column, notes = Standings(two).columns["semantics"], Notes()
    i = [row.key for row in two.rows].index(("sync", '{"strength": 2.0}'))
    cell = aspect_cell(column, i, 3, notes)
    assert "±" not in cell.text and np.isfinite(column.interval.mean[i])
    assert notes.texts == [TWO_SEEDS]
    values = two.seed_values(two.blocks[0], two.rows[i], column.parts[0].column)
    assert np.isnan(values.half) and np.isfinite(values.interval.half)


def test_a_row_without_some_values_says_how_many_it_has(board):
    """More seeds of which some are undefined do not decide at eight."""
    scores = board.scores.copy()
    gone = (scores["method"] == "sync") & (scores["params"] == "{}") & (scores["metric"] == "iou")
    scores.loc[gone & (scores["seed"] < 4), "value"] = np.nan
    column = Standings(replace(board, scores=scores)).columns["semantics"]
    keys = [row.key for row in board.rows]
    i, whole = keys.index(("sync", "{}")), keys.index(("atoms", "{}"))
    own, most = int(column.contrast.seeds[i]), int(column.contrast.seeds[whole])
    assert own < 8 <= most == column.most_seeds
    assert what_would_decide(column, i) == f"{own} of {most} seeds have a value"
    assert np.isnan(column.seeds_needed[i])
    assert not column.lacks_values[whole]


def test_a_row_with_fewer_runs_says_how_many_seeds_would_decide(board):
    """As a row for which the suite asks for fewer seeds."""
    scores = board.scores
    own = (scores["method"] == "sync") & (scores["params"] == "{}")
    few = Standings(replace(board, scores=scores[~own | (scores["seed"] < 5)]))
    column = few.columns["semantics"]
    i = [row.key for row in few.board.rows].index(("sync", "{}"))
    assert column.symbol(i) == "?" and not column.lacks_values[i]
    assert what_would_decide(column, i) == f"{column.seeds_needed[i]:.0f} seeds"
    assert column.seeds_needed[i] >= 8


def test_a_row_that_equals_plain_in_every_seed_says_so(board):
    plain = board.scores[(board.scores["method"] == "plain") & (board.scores["seed"] < 9)]
    copy = plain.assign(method="coded", label="coded", kind="null")
    both = replace(board, scores=pd.concat([board.scores, copy]), derived=["coded"])
    column, notes = Standings(both).columns["semantics"], Notes()
    aspect_cell(column, [row.method for row in both.rows].index("coded"), 3, notes)
    assert notes.texts == [SAME]


def test_a_row_whose_blocks_differ_is_not_decided_by_more_seeds(board):
    """Better on one block and worse on the others by the same, each far beyond chance."""
    scores = board.scores.copy()
    row = (scores["method"] == "atoms") & (scores["metric"] == "iou")
    plain = scores[(scores["method"] == "plain") & (scores["metric"] == "iou")]
    for (dataset, backbone), base in plain.groupby(["dataset", "backbone"]):
        one = row & (scores["dataset"] == dataset) & (scores["backbone"] == backbone)
        shift = 0.3 if dataset == "kanji" else -0.05
        noise = np.random.default_rng(0).normal(0, 0.002, one.sum())
        scores.loc[one, "value"] = base["value"].mean() + shift + noise
    column = Standings(replace(board, scores=scores)).columns["semantics"]
    i = [r.method for r in board.rows].index("atoms")
    assert column.symbol(i) == "?" and column.contrast.seeds[i] >= 8
    assert what_would_decide(column, i) == "the blocks differ"
    assert np.isnan(column.seeds_needed[i])


def test_digits_follow_the_typical_interval_and_not_the_widest(board):
    """Failing to do so printed -0.2 ± 3.1 for shares."""
    standings = Standings(board)
    before = column_digits(standings.columns["semantics"])
    scores = board.scores.copy()
    wild = (scores["method"] == "bean") & (scores["metric"] == "iou") & scores["value"].notna()
    scores.loc[wild, "value"] += 50 * np.where(scores.loc[wild, "seed"] % 2, 1, -1)
    assert (
        column_digits(Standings(replace(board, scores=scores)).columns["semantics"]) == before == 3
    )


@pytest.mark.parametrize(
    ("seeds", "text"), [(12.0, "12 seeds"), (np.inf, "> 1000 seeds"), (np.nan, "")]
)
def test_seeds_that_would_decide(seeds, text):
    assert seeds_text(seeds) == text
