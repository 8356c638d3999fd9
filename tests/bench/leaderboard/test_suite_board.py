"""A board from a score table and its suite."""

from __future__ import annotations

import pandas as pd
import pytest

from legible.bench.leaderboard.suite_board import (
    board_of_suite,
    headlines,
    left_out,
    targets,
)
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import Condition
from legible.bench.suites.run_spec import Block, RowKey, suite_margins
from legible.bench.suites.schema import Suite
from legible.methods.base import Target
from legible.metrics.base import METRICS

SUITE = {
    "name": "tiny", "title": "Tiny", "seeds": [0, 1],
    "blocks": [
        {"dataset": "kanji", "backbone": "lenet5", "data": {"size": 28}, "shots": 5,
         "margins": {"accuracy": {"value": 0.02, "reason": "few images"}}},
        {"dataset": "shapes", "backbone": "vgg"},
    ],
    "methods": ["plain", "bean", {"name": "bean", "strength": 2.0}],
    "headline": {"focus": "focus_dispersion"},
    "contrasts": [["bean(strength=2.0)", "bean"]],
    "margins": {"accuracy": {"value": 0.01, "reason": "a point"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def suite():
    registry.load()
    return Suite(**SUITE)


def test_margins_are_those_of_each_block(suite):
    assert suite_margins(suite) == {
        Block("kanji(size=28,shots=5)", "lenet5"): {"accuracy": 0.02},
        Block("shapes", "vgg"): {"accuracy": 0.01},
    }


def test_what_a_selection_leaves_out_is_named(suite):
    names = ["method", "params", "dataset", "backbone"]
    some = [("plain", "{}", "shapes", "vgg"), ("bean", "{}", "shapes", "vgg")]
    assert left_out(suite, pd.DataFrame(some, columns=names)) == [
        "bean(strength=2.0): all seeds", "kanji(size=28,shots=5) · lenet5: all rows",
    ]  # fmt: skip
    strong = ("bean", '{"strength": 2.0}', "kanji(size=28,shots=5)", "lenet5")
    assert left_out(suite, pd.DataFrame([*some, strong], columns=names)) == []


def test_a_metric_that_fails_a_condition_heads_nothing_on_blocks_like_that(suite):
    metric = next(m for m in METRICS.values() if m.headline and m.heads == "task")
    condition = Condition("task", metric.name, True, "kanji", "lenet5", "", "untrained",
                          ours=0.5, theirs=0.6, holds="no")  # fmt: skip
    headless, reasons = headlines(suite, [condition, condition._replace(dataset="x")])
    block = Block("kanji(size=28,shots=5)", "lenet5")
    assert headless == {block: {"task": ""}}
    assert reasons == {(block, "task"): "no headline qualifies: accuracy fails untrained on kanji "
                                        "(0.5 against 0.6)"}  # fmt: skip
    assert headlines(suite, [condition._replace(holds="yes")]) == ({}, {})


def test_what_suite_and_methods_declare_is_on_the_board(suite, board):
    scores = board.scores[board.scores["method"].isin(["plain", "sync"])]
    described = board_of_suite(suite, scores, cost=pd.DataFrame(), marks={"sync": "submitted"})
    assert described.title == "Tiny leaderboard" and described.headline == suite.headline
    assert described.contrasts == [(RowKey("bean", '{"strength": 2.0}'), RowKey("bean", "{}"))]
    assert {"posthoc_nmf", "plain_rotated"} <= set(described.derived)
    assert "sync" not in described.derived and described.marks["sync"] == "submitted"
    assert set(described.targets) == {row.key for row in described.rows}


def test_targets_depend_on_parameters_and_need_a_registered_method(monkeypatch):
    registry.load()
    bean = registry.METHODS["bean"]
    monkeypatch.setattr(bean, "target", Target("dispersion", "lower"))
    by_row = targets([
        RowKey("bean", "{}"), RowKey("bean", '{"strength": 0.0}'), RowKey("bean", '{"other": 1}'),
        RowKey("bean@Lab X", "{}"), RowKey("plain_rotated", "{}"),
    ])  # fmt: skip
    assert by_row == {
        RowKey("bean", "{}"): Target("dispersion", "lower"),
        RowKey("bean", '{"strength": 0.0}'): "has strength 0, which is plain training",
        RowKey("bean", '{"other": 1}'): "these parameters are not accepted by the present code",
        RowKey("plain_rotated", "{}"): "trains nothing",
    }
