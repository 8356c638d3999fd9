"""Fidelity cards hold the results of results/standard."""

import pkgutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from legible import methods
from legible.bench.cards import fidelity
from legible.bench.leaderboard.board import Board
from legible.bench.plugins import registry
from legible.bench.scores.score_table import COLUMNS
from legible.metrics.base import METRICS

NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules(methods.__path__)
    if module.name != "base" and not module.name.startswith("_")
)


@pytest.fixture(scope="module", autouse=True)
def known():
    registry.load(["methods", "metrics"])


@pytest.fixture(scope="module")
def committed():
    return fidelity.published_board()


@pytest.mark.parametrize("name", NAMES)
def test_each_method_has_a_card_that_says_what_was_measured(name, committed):
    """Update it with `python -m legible.bench.cards.fidelity`."""
    text = (fidelity.CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert fidelity.with_results(text, name, committed) == text
    for part in (f"# {name}: fidelity card", "**Deviations**", "**What the paper reports.**",
                 "**How fidelity is tested.**", "**What we measure.**"):  # fmt: skip
        assert part in text


def scores(values, status="ok"):
    """A board with these values: method, parameters, layer, metric, a number for each seed."""
    lines = [
        {"dataset": "d", "backbone": "b", "method": method, "label": method, "kind": "method",
         "params": params, "seed": seed, "layer": layer, "metric": metric,
         "aspect": METRICS[metric].aspect, "value": value, "live": value, "undefined": 0,
         "count": 1, "status": status, "reason": "", "run": "r"}
        for method, params, layer, metric, numbers in values
        for seed, value in enumerate(numbers)
    ]  # fmt: skip
    return Board(pd.DataFrame(lines, columns=COLUMNS))


def test_differences_are_paired_and_have_an_interval_from_three_seeds():
    table = scores([
        ("plain", "{}", "", "accuracy", [0.1, 0.5, 0.9]),
        ("icnn", "{}", "", "accuracy", [0.2, 0.7, 1.2]),
        ("icnn", '{"strength": 2}', "", "accuracy", [9.0, 9.0, 9.0]),
    ])  # fmt: skip
    # differences .1, .2, .3: mean .2, deviation .1, half = 4.3027 x .1 / sqrt 3 = .248
    assert "| d · b | accuracy ↑ | 0.500 | +0.200 ± 0.248 | 3 |" in fidelity.results("icnn", table)
    two = replace(table, scores=table.scores[table.scores["seed"] < 2])
    assert "| d · b | accuracy ↑ | 0.300 | +0.150 | 2 |" in fidelity.results("icnn", two)


def test_accuracy_has_one_line_also_if_it_is_claimed():
    table = scores([("plain", "{}", "", "accuracy", [0.1, 0.5]),
                    ("weight_decay", "{}", "", "accuracy", [0.2, 0.7])])  # fmt: skip
    text = fidelity.results("weight_decay", table)
    assert text.count("| accuracy") == 1 and "| accuracy ↑ * |" in text


def test_signs_are_those_of_the_leaderboard():
    seeds = np.random.default_rng(0).normal(0, 0.01, (2, 9))
    table = scores([("plain", "{}", "", "accuracy", 0.5 + seeds[0]),
                    ("icnn", "{}", "", "accuracy", 0.6 + seeds[1])])  # fmt: skip
    assert "| ▲ +0.09" in fidelity.results("icnn", table)


def test_claims_are_marked_by_layer():
    table = scores([
        (method, "{}", layer, "location_instability", [value])
        for method, value in (("plain", 0.04), ("icnn", 0.01))
        for layer in ("conv1", "conv2")
    ])  # fmt: skip
    text = fidelity.results("icnn", table)
    for layer in ("conv1", "conv2"):
        assert f"| d · b · {layer} | location_instability ↓ * | 0.040 | −0.030 | 1 |" in text


def test_undefined_absent_and_failed_rows_say_so():
    nan = float("nan")
    table = scores([
        ("plain", "{}", "c", "claimed_within_between", [nan]),
        ("iccnn", "{}", "c", "claimed_within_between", [1.5]),
        ("plain", "{}", "", "accuracy", [0.5]),
        ("iccnn", "{}", "", "accuracy", [nan]),
    ])  # fmt: skip
    text = fidelity.results("iccnn", table)
    assert "| undefined | (1.500, plain has no value) |" in text
    assert "| accuracy ↑ | 0.500 | undefined |" in text
    assert fidelity.results("icnn", table) == "No row in results/standard."
    failed = table.scores.iloc[:1].assign(
        method="icnn", metric="", aspect="", value=nan, status="failed", reason="loss is nan"
    )
    assert fidelity.results("icnn", Board(failed)) == (
        "No scores in results/standard: failed: loss is nan (seed 0)."
    )


def test_before_anything_is_published_a_card_says_so():
    empty = Board(pd.DataFrame(columns=COLUMNS))
    assert fidelity.results("icnn", empty) == "No results yet: results/standard is not published."


def test_a_table_is_put_between_the_markers_and_nothing_else_changes():
    table = scores([("plain", "{}", "", "accuracy", [0.5])])
    once = fidelity.with_results("# card\n\ntext\n", "plain", table)
    assert once.startswith("# card\n\ntext\n\n<!--") and once.count(fidelity.BEGIN) == 1
    assert fidelity.with_results(once, "plain", table) == once
    more = once + "\nafter\n"
    other = scores([("plain", "{}", "", "accuracy", [0.7])])
    assert fidelity.with_results(more, "plain", other) == more.replace("0.500", "0.700")


def test_every_claim_is_a_metric():
    for name in NAMES:
        assert registry.METHODS[name].claims <= set(registry.METRICS)
