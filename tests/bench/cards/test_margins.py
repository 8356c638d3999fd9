"""Margins from the distance between plain and the oracle."""

from __future__ import annotations

import tomllib

import pandas as pd
import pytest

from legible.bench.cards import margins
from legible.bench.cards.margins import OracleMargin, as_toml, oracle_margins
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.suites.run_spec import Block, label
from legible.bench.suites.schema import SUITES, read_suite

BLOCK = Block("toy", "vgg")


def table(*rows):
    """A score table of (method, metric, value) on one layer, each row a seed of its own."""
    return pd.DataFrame(
        [
            {"dataset": "toy", "backbone": "vgg", "method": method, "metric": metric,
             "layer": "conv4", "seed": seed, "value": value}
            for seed, (method, metric, value) in enumerate(rows)
        ]
    )  # fmt: skip


@pytest.fixture(autouse=True)
def loaded():
    registry.load()


def test_a_margin_is_a_tenth_of_the_distance_with_two_digits():
    scores = table(("plain", "concept_auc", 0.90), ("plain", "concept_auc", 0.926),
                   ("oracle", "concept_auc", 1.0), ("sync", "concept_auc", 0.2))  # fmt: skip
    assert list(oracle_margins(scores)) == [OracleMargin(BLOCK, "concept_auc", 0.0087)]


def test_the_distance_follows_the_metric_s_direction():
    lower = table(("plain", "focus_dispersion", 0.7), ("oracle", "focus_dispersion", 0.2))
    assert list(oracle_margins(lower)) == [OracleMargin(BLOCK, "focus_dispersion", 0.05)]
    worse = table(("plain", "focus_dispersion", 0.2), ("oracle", "focus_dispersion", 0.7))
    assert list(oracle_margins(worse)) == []


def test_without_an_oracle_or_a_value_there_is_no_margin():
    assert list(oracle_margins(table(("plain", "concept_auc", 0.9)))) == []
    undefined = table(("plain", "concept_auc", 0.9), ("oracle", "concept_auc", float("nan")))
    assert list(oracle_margins(undefined)) == []


def test_the_lines_are_toml_of_a_suite_file():
    text = as_toml([OracleMargin(BLOCK, "concept_auc", 0.0087)])
    (block,) = tomllib.loads(f"[[blocks]]\n{text}")["blocks"]
    assert block["margins"] == {"concept_auc": {"value": 0.0087, "reason": margins.REASON}}


def test_the_margins_of_built_in_suites_are_those_of_the_published_cards():
    computed = {(m.block, m.metric): m.value for m in oracle_margins(read_scores(margins.TABLE))}
    known = {block for block, _ in computed}
    compared = 0
    for path in SUITES.glob("*.toml"):
        for block in read_suite(path).blocks:
            key = Block(label("datasets", block.dataset, block.data), block.backbone)
            for name, entry in block.margins.items():
                if entry.reason == margins.REASON and key in known:
                    assert entry.value == computed[key, name], (path.stem, name)
                    compared += 1
    assert compared
