"""Ranks, differences to plain and best tiers of the synthetic board."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legible.bench.leaderboard.standings import Standings, best_tier, block_differences
from legible.bench.suites.run_spec import Block

SYNC, STRONG_SYNC = ("sync", "{}"), ("sync", '{"strength": 2.0}')


@pytest.fixture
def standings(board):
    return Standings(board)


def test_only_methods_are_ranked(standings):
    assert {row.kind for row in standings.rows} == {"method"}


def test_the_better_method_leads_and_an_incomplete_one_is_unranked(standings):
    keys = [row.key for row in standings.by_overall_rank]
    assert keys == [STRONG_SYNC, SYNC, ("plain", "{}"), ("bean", "{}")]
    tiers = zip(standings.rows, standings.overall.tier, strict=True)
    assert {row.key: int(tier) for row, tier in tiers}["bean", "{}"] == 0


def test_a_failed_seed_counts_as_the_worst_and_a_skipped_block_does_not(board, standings):
    keys = [row.key for row in standings.rows]
    worst = standings.count_as_worst(["iou"])[..., 0]
    assert worst.sum() == 1
    block = [b.dataset for b in board.blocks].index("shapes")
    assert worst[block, 2, keys.index(STRONG_SYNC)]
    values = standings.orient(["iou"])[block, 2, :, 0]
    assert values[keys.index(STRONG_SYNC)] == np.nanmin(values)


def test_an_undefined_headline_is_ranked_last(board, standings):
    dead = (board.scores["method"] == "sync") & (board.scores["metric"] == "dispersion")
    dead &= (board.scores["backbone"] == "lenet5") & (board.scores["params"] == "{}")
    scores = board.scores.copy()
    scores.loc[dead, ["value", "live"]] = np.nan
    scores.loc[dead, "reason"] = "undefined on this network"
    after = Standings(replace(board, scores=scores)).aspects["focus"]
    i = [row.key for row in standings.rows].index(SYNC)
    assert after.tier[i] > 0
    assert after.score[i] < standings.aspects["focus"].score[i]


def test_a_metric_without_a_direction_and_accuracy_are_not_ranked(standings):
    assert set(standings.aspects) == {"focus", "semantics"}


def test_differences_in_a_block_are_paired_by_seed_and_signed(board, scores):
    block = Block("kanji", "vgg")
    columns = board.columns(block, ["dispersion"])
    differences = block_differences(board, block, board.rows, columns)
    here = scores[(scores.dataset == "kanji") & (scores.metric == "dispersion")]
    here = here[(here.params == "{}") & (here.layer == "stage2")]
    by_method = here.pivot(index="seed", columns="method", values="value")
    i = [row.key for row in differences.rows].index(SYNC)
    expected = (by_method["sync"] - by_method["plain"]).mean()
    assert differences.interval.mean[i, 0] == pytest.approx(expected)
    assert differences.sign(i, 0) == "▲"
    untrained = [row.method for row in differences.rows].index("untrained")
    assert np.isnan(differences.adjusted[untrained, 0]) and differences.sign(untrained, 0) == ""


def test_a_sign_follows_the_direction_of_the_metric(standings):
    pooled = standings.headline_pooled
    i = [row.key for row in pooled.rows].index(STRONG_SYNC)
    signs = {metric.name: pooled.sign(i, c) for c, metric in enumerate(pooled.metrics)}
    assert signs == {"accuracy": "▼", "dispersion": "▲", "iou": "▲", "rank": ""}


def test_there_are_no_differences_without_plain(board):
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    standings = Standings(rest)
    assert standings.headline_pooled is None and standings.pairing is None
    assert set(standings.headline_differences.values()) == {None}
    assert standings.bootstrap_differences(standings.rows, ["iou"]) is None


def test_the_best_tier_holds_ranked_rows_only_and_needs_a_direction(board):
    block = Block("kanji", "vgg")
    best = best_tier(board, block, board.rows, board.columns(block, ["dispersion", "rank"]))
    assert [row.key for row, is_best in zip(board.rows, best[:, 0], strict=True) if is_best] == [
        STRONG_SYNC
    ]
    assert not best[:, 1].any()


def test_one_seed_gives_no_signs(one_seed):
    standings = Standings(one_seed)
    assert not standings.headline_pooled.significant.any()


def test_a_board_of_null_rows_alone_has_no_ranks(board):
    """Such a suite is published, without ranks."""
    nulls = board.scores["kind"] == "null"
    standings = Standings(replace(board, scores=board.scores[nulls].reset_index(drop=True)))
    assert standings.board.rows and not standings.rows
    assert standings.aspects == {} and standings.overall is None and standings.by_overall_rank == []
