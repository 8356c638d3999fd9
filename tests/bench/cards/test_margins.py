"""Margins from the distance between plain and the oracle."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_suites import toy_suite, write_suite

from legible.bench.cards import margins
from legible.bench.cards.margins import oracle_margins, source_block, with_margins, with_reason
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.suites.run_spec import Block
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
    assert oracle_margins(scores) == {BLOCK: {"concept_auc": 0.0087}}


def test_the_distance_follows_the_metric_s_direction():
    lower = table(("plain", "focus_dispersion", 0.7), ("oracle", "focus_dispersion", 0.2))
    assert oracle_margins(lower) == {BLOCK: {"focus_dispersion": 0.05}}
    worse = table(("plain", "focus_dispersion", 0.2), ("oracle", "focus_dispersion", 0.7))
    assert oracle_margins(worse) == {}


def test_without_an_oracle_or_a_value_there_is_no_margin():
    assert oracle_margins(table(("plain", "concept_auc", 0.9))) == {}
    undefined = table(("plain", "concept_auc", 0.9), ("oracle", "concept_auc", float("nan")))
    assert oracle_margins(undefined) == {}


def test_a_block_with_other_parameters_has_the_margins_of_its_dataset(tmp_path):
    suite = read_suite(write_suite(tmp_path, toy_suite(block="data = {classes = 6}")))
    kanji, toy = Block("kanji", "vgg"), Block("toy(images=9)", "vgg")
    assert source_block(suite.blocks[0], {kanji: {}, toy: {}}) == toy
    assert source_block(suite.blocks[0], {kanji: {}, Block("toy", "mlp"): {}}) is None


def test_they_are_written_into_the_suite_file(tmp_path):
    """Headline metrics of the suite's aspects alone; the rest of the file stays."""
    block = "[blocks.margins]  # by the cards\nconcept_auc = {value = 9.0, reason = 'old'}"
    text = toy_suite(aspects='"semantics"', block=f"{block}\n\n[[blocks]]\ndataset = 'kanji'\n"
                     "backbone = 'vgg'")  # fmt: skip
    path = write_suite(tmp_path, text)
    scores = {"concept_localisation": 0.04, "concept_auc": 0.1, "own_unit_share": 0.2}
    path.write_text(with_margins(text, read_suite(path), {BLOCK: scores}))
    suite = read_suite(path)
    assert list(with_reason(suite)) == [(suite.blocks[0], "concept_localisation", 0.04)]
    assert list(suite.blocks[0].margins) == ["concept_localisation"]
    assert path.read_text().partition("[blocks.margins]")[0] in text
    assert path.read_text().endswith(text.partition("\n\n[[blocks]]\ndataset = 'kanji'")[2])


def test_the_margins_of_built_in_suites_are_those_of_the_published_cards():
    computed = oracle_margins(read_scores(margins.TABLE))
    suites: list[Path] = sorted(SUITES.glob("*.toml"))
    written = [item for path in suites for item in with_reason(read_suite(path))]
    assert written
    for block, name, value in written:
        source = source_block(block, computed)
        assert source is not None and value == computed[source][name], (block.dataset, name)
