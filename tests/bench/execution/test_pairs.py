"""Comparisons with training images and between seeds, from the suite to the score table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.pairs import due
from legible.bench.execution.store import Store
from legible.bench.execution.worker import work_through as worker
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import registry
from legible.bench.scores.collect import score_table
from legible.bench.scoring.score import MISSING, stale
from legible.bench.suites import run_spec, schema

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
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Store(tmp_path / "runs"))


def specs(folder: Path, text: str = SUITE, **chosen: list) -> list[suites.RunSpec]:
    path = folder / "partners.toml"
    path.write_text(text)
    return run_spec.expand(schema.read_suite(path), **chosen)


def values(workspace: Workspace, made: list[suites.RunSpec], metric: str) -> list[float]:
    table = score_table(workspace, made)
    return table[table["metric"] == metric].sort_values("seed")["value"].tolist()


def test_each_seed_is_compared_with_the_next_of_the_suite(tmp_path):
    made = specs(tmp_path)
    assert [(c.method, c.seed, c.partner) for c in made] == [
        ("untrained", 0, 1), ("untrained", 1, 2), ("untrained", 2, 0),
    ]  # fmt: skip
    assert [c.partner for c in specs(tmp_path, seeds=[1])] == [2]
    assert [c.partner for c in specs(tmp_path, seeds=[7, 8])] == [8, 7]
    assert [c.partner for c in specs(tmp_path, SUITE.replace("[0, 1, 2]", "[3]"))] == [None]


def test_a_block_may_name_its_methods(tmp_path):
    with pytest.raises(UserError, match="no method 'untraned'; did you mean 'untrained'"):
        specs(tmp_path, SUITE.replace('methods = ["untrained"]', 'methods = ["untraned"]'))


def test_comparisons_are_scored_once_both_runs_are_there(workspace, tmp_path):
    made = specs(tmp_path)
    schedule.run_all(workspace, made, 1, [])
    for name in ("ari", "ari_splits", "ari_seeds", "matched_correlation"):
        assert values(workspace, made, name) == pytest.approx([1, 1, 1]), name
    assert all(status == "done" for _, status, _ in schedule.plan(workspace, made))


def test_a_comparison_of_seeds_waits_and_nothing_is_scored_twice(workspace, tmp_path):
    first, second, _ = made = specs(tmp_path)
    worker(workspace, [first], lambda event: None)
    run, key = workspace.run_of(first), probe_key(workspace, first)
    before = run.scores(key)
    assert "ari_splits" in before and "ari_seeds" not in before
    assert not due(workspace, first).stale(run, key) and not schedule.waits(workspace, first)
    worker(workspace, [second], lambda event: None)
    assert schedule.waits(workspace, first)
    schedule.run_all(workspace, made, 1, [])
    after = run.scores(key)
    assert {name: after[name].to_json() for name in before} == {
        name: scores.to_json() for name, scores in before.items()
    }
    assert "ari_seeds" in after


def test_another_partner_makes_comparisons_of_seeds_stale_and_no_others(workspace, tmp_path):
    made = specs(tmp_path)
    schedule.run_all(workspace, made, 1, [])
    moved = dataclasses.replace(made[0], partner=2)
    names = due(workspace, moved).stale(workspace.run_of(moved), probe_key(workspace, made[0]))
    assert "ari_seeds" in names and "ari_splits" not in names and "ari" not in names
    scores = workspace.run_of(moved).scores(probe_key(workspace, made[0]))
    assert stale(scores, ["ari", "ari_splits"]) == []


def test_a_suite_of_one_seed_says_why_there_is_no_comparison(workspace, tmp_path):
    made = specs(tmp_path, SUITE.replace("[0, 1, 2]", "[0]"))
    schedule.run_all(workspace, made, 1, [])
    table = score_table(workspace, made)
    (row,) = table[table["metric"] == "ari_seeds"].to_dict("records")
    assert row["reason"] == MISSING["seeds"]


def test_suites_with_other_seeds_keep_their_own_comparisons(workspace, tmp_path):
    """Seed 1 is compared with 0 where it is the last, and with 2 where it is not."""
    short = specs(tmp_path, SUITE.replace("[0, 1, 2]", "[0, 1]"))
    schedule.attempt(workspace, short, 1, [])
    run, key = workspace.run_of(short[1]), probe_key(workspace, short[1])
    before = (run.folder / f"scores-{key}.json").read_bytes()
    longer = specs(tmp_path)
    schedule.attempt(workspace, longer, 1, [])
    assert (run.folder / f"scores-{key}.json").read_bytes() == before
    assert probe_key(workspace, short[1]) != probe_key(workspace, longer[1])
    assert probe_key(workspace, short[0]) == probe_key(workspace, longer[0])
    assert schedule.plan(workspace, short)[1][1] == schedule.plan(workspace, longer)[1][1] == "done"
