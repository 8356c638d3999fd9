"""Comparisons with training images and between seeds, from the suite to the score table."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_suites import specs_of, work

from legible.bench.execution.pairs import scorable, unscored
from legible.bench.execution.schedule import attempt, lacks_pair, plan_runs, run_all
from legible.bench.execution.workspace import probe_key
from legible.bench.scores.collect import score_table
from legible.bench.scoring.score import MISSING, stale_metrics

PAIRS = """
title = "Pairs"
seeds = [0, 1, 2]
probe = 100
layers = ["parts"]
aspects = ["consistency"]
methods = ["untrained", "plain"]
[recipe]
epochs = 0
[[blocks]]
dataset = "planted"
data = {parts = 4, noise = 16}
backbone = "planted_blocks"
methods = ["untrained"]
"""


def seeds(text: str) -> str:
    """The suite with other seeds."""
    return PAIRS.replace("[0, 1, 2]", text)


def values(workspace, specs, metric):
    table = score_table(workspace, specs)
    return table[table["metric"] == metric].sort_values("seed")["value"].tolist()


def scores_of(workspace, spec):
    return workspace.run_of(spec).scores(probe_key(workspace, spec))


def test_comparisons_are_scored_once_both_runs_are_there(workspace, tmp_path):
    specs = specs_of(tmp_path, PAIRS)
    run_all(workspace, specs, 1, [])
    for name in ("ari", "ari_splits", "ari_seeds", "matched_correlation"):
        assert values(workspace, specs, name) == pytest.approx([1, 1, 1]), name
    assert all(item.status == "done" for item in plan_runs(workspace, specs))


def test_a_comparison_of_seeds_waits_and_nothing_is_scored_twice(workspace, tmp_path):
    first, second, _ = specs = specs_of(tmp_path, PAIRS)
    work(workspace, [first])
    before = scores_of(workspace, first)
    assert "ari_splits" in before and "ari_seeds" not in before
    assert not unscored(workspace, first) and not lacks_pair(workspace, first)
    work(workspace, [second])
    assert lacks_pair(workspace, first)
    run_all(workspace, specs, 1, [])
    after = scores_of(workspace, first)
    assert {name: after[name].to_json() for name in before} == {
        name: scores.to_json() for name, scores in before.items()
    }
    assert "ari_seeds" in after


def test_another_partner_makes_comparisons_of_seeds_stale_and_no_others(workspace, tmp_path):
    first, *_ = specs = specs_of(tmp_path, PAIRS)
    run_all(workspace, specs, 1, [])
    scores = scores_of(workspace, first)
    moved = scorable(workspace, dataclasses.replace(first, partner=2))
    assert moved.partner == workspace.run_of(specs[2]).name
    keys = {name: entry.key for name, entry in scores.items()}
    stale = stale_metrics(keys, moved.metrics, moved.partner)
    assert "ari_seeds" in stale and "ari_splits" not in stale and "ari" not in stale


def test_a_suite_of_one_seed_says_why_there_is_no_comparison(workspace, tmp_path):
    specs = specs_of(tmp_path, seeds("[0]"))
    assert scorable(workspace, specs[0]).partner == ""
    run_all(workspace, specs, 1, [])
    table = score_table(workspace, specs)
    (reason,) = table.loc[table["metric"] == "ari_seeds", "reason"]
    assert reason == MISSING["seeds"]


def test_suites_with_other_seeds_keep_their_own_comparisons(workspace, tmp_path):
    """Seed 1 is compared with 0 if it is the last, and else with 2."""
    short = specs_of(tmp_path, seeds("[0, 1]"))
    attempt(workspace, short, 1, [])
    before = scores_of(workspace, short[1])["ari_seeds"].to_json()
    longer = specs_of(tmp_path, PAIRS)
    attempt(workspace, longer, 1, [])
    assert scores_of(workspace, short[1])["ari_seeds"].to_json() == before
    assert probe_key(workspace, short[1]) != probe_key(workspace, longer[1])
    assert probe_key(workspace, short[0]) == probe_key(workspace, longer[0])
    for specs in (short, longer):
        assert plan_runs(workspace, specs)[1].status == "done"
