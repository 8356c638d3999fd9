"""Comparisons with training images and between seeds, from the suite to the score table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench import registry, session
from bench import suite as suites
from bench.execute import Bench, probe_key, worker
from bench.partners import due
from bench.registry import UserError
from bench.score import MISSING, stale
from bench.store import Store
from bench.table import score_table

SUITE = """
title = "Partners"
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

registry.load()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "runs"))


def cells(folder: Path, text: str = SUITE, **chosen: list) -> list[suites.Cell]:
    path = folder / "partners.toml"
    path.write_text(text)
    return suites.cells(suites.read(path), **chosen)


def values(bench: Bench, made: list[suites.Cell], metric: str) -> list[float]:
    table = score_table(bench, made)
    return table[table["metric"] == metric].sort_values("seed")["value"].tolist()


def test_each_seed_is_compared_with_the_next_of_the_suite(tmp_path):
    made = cells(tmp_path)
    assert [(c.method, c.seed, c.partner) for c in made] == [
        ("untrained", 0, 1), ("untrained", 1, 2), ("untrained", 2, 0),
    ]  # fmt: skip
    assert [c.partner for c in cells(tmp_path, seeds=[1])] == [2]
    assert [c.partner for c in cells(tmp_path, seeds=[7, 8])] == [8, 7]
    assert [c.partner for c in cells(tmp_path, SUITE.replace("[0, 1, 2]", "[3]"))] == [None]


def test_a_block_may_name_its_methods(tmp_path):
    with pytest.raises(UserError, match="no method 'untraned'; did you mean 'untrained'"):
        cells(tmp_path, SUITE.replace('methods = ["untrained"]', 'methods = ["untraned"]'))


def test_comparisons_are_scored_once_both_runs_are_there(bench, tmp_path):
    made = cells(tmp_path)
    session.run(bench, made, 1, [])
    for name in ("ari", "ari_splits", "ari_seeds", "matched_correlation"):
        assert values(bench, made, name) == pytest.approx([1, 1, 1]), name
    assert all(status == "done" for _, status, _ in session.plan(bench, made))


def test_a_comparison_of_seeds_waits_and_nothing_is_scored_twice(bench, tmp_path):
    first, second, _ = made = cells(tmp_path)
    worker(bench, [first], lambda event: None)
    run, key = bench.run_of(first), probe_key(first)
    before = run.scores(key)
    assert "ari_splits" in before and "ari_seeds" not in before
    assert not due(bench, first).stale(run, key) and not session.waits(bench, first)
    worker(bench, [second], lambda event: None)
    assert session.waits(bench, first)
    session.run(bench, made, 1, [])
    after = run.scores(key)
    assert {name: after[name] for name in before} == before
    assert "ari_seeds" in after


def test_another_partner_makes_comparisons_of_seeds_stale_and_no_others(bench, tmp_path):
    made = cells(tmp_path)
    session.run(bench, made, 1, [])
    moved = dataclasses.replace(made[0], partner=2)
    names = due(bench, moved).stale(bench.run_of(moved), probe_key(made[0]))
    assert "ari_seeds" in names and "ari_splits" not in names and "ari" not in names
    scores = bench.run_of(moved).scores(probe_key(made[0]))
    assert stale(scores, ["ari", "ari_splits"]) == []


def test_a_suite_of_one_seed_says_why_there_is_no_comparison(bench, tmp_path):
    made = cells(tmp_path, SUITE.replace("[0, 1, 2]", "[0]"))
    session.run(bench, made, 1, [])
    table = score_table(bench, made)
    (row,) = table[table["metric"] == "ari_seeds"].to_dict("records")
    assert row["reason"] == MISSING["seeds"]


def test_suites_with_other_seeds_keep_their_own_comparisons(bench, tmp_path):
    """Seed 1 is compared with 0 where it is the last, and with 2 where it is not."""
    short = cells(tmp_path, SUITE.replace("[0, 1, 2]", "[0, 1]"))
    session.attempt(bench, short, 1, [])
    kept = bench.run_of(short[1]).scores(probe_key(short[1]))
    longer = cells(tmp_path)
    session.attempt(bench, longer, 1, [])
    assert bench.run_of(short[1]).scores(probe_key(short[1])) == kept
    assert probe_key(short[1]) != probe_key(longer[1])
    assert probe_key(short[0]) == probe_key(longer[0])
    assert session.plan(bench, short)[1][1] == session.plan(bench, longer)[1][1] == "done"
