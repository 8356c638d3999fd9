"""docs/metrics.md is up to date, and a card says what its metric's scores show."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd

from legible.bench.cards.metric_cards import (
    all_cards,
    card,
    conditions_text,
    headline_text,
    impostors_text,
    laws_text,
    null_of,
    planted_text,
    scores_text,
)
from legible.bench.leaderboard.null_networks import network_scores, published_cards
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import IMPOSTOR, Condition
from legible.metrics.base import METRICS

registry.load(["metrics"])
ROOT = Path(__file__).resolve().parents[3]


def test_the_document_is_what_the_command_prints():
    command = [sys.executable, "-m", "legible", "list", "metrics", "--cards"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert text == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_a_card_has_the_docstring_the_facts_and_the_numbers():
    text = card(METRICS["concept_auc"], published_cards())
    assert text.startswith('### <a id="concept_auc"></a>concept_auc\n\nhigher is better')
    assert "kanji" in text and "**+0." in text
    localisation = card(METRICS["concept_localisation"], published_cards())
    assert "concept_localisation (headline)" in localisation and "part localisation" in localisation


# ----------------------------------------------------------------- impostors and conditions


def test_impostors_stand_on_the_card_with_the_cheats_in_bold():
    metric = METRICS["concept_localisation"]
    table = pd.DataFrame({
        "dataset": "kanji", "backbone": "vgg", "layer": "conv6", "metric": metric.name,
        "method": [IMPOSTOR + name for name in ("label", "energy")], "value": [0.25, math.nan],
    })  # fmt: skip
    lines = impostors_text(metric, table).splitlines()
    assert lines[0] == "| impostors | **label** | **energy** | copies | two concepts | **noise** |"
    assert lines[2].startswith("| kanji · vgg · conv6 | 0.250 | undefined |")
    assert impostors_text(metric, table.iloc[:0]) == ""
    assert "Impostors: no impostor can be scored" in card(METRICS["own_unit_share"])


def test_impostors_text_of_a_table_made_by_hand():
    rows = [
        ("scenes", "vgg", IMPOSTOR + "label", "conv", "concept_auc", 0.25 + seed / 2)
        for seed in (0, 1)
    ]
    table = pd.DataFrame(
        rows, columns=["dataset", "backbone", "method", "layer", "metric", "value"]
    )
    last = impostors_text(METRICS["concept_auc"], table).splitlines()[-1]
    assert last.split(" | ")[:2] == ["| scenes · vgg · conv", "0.500"]
    assert last.count("undefined") == 4


def test_the_conditions_are_said_in_one_sentence():
    base = Condition("localisation", "concept_auc", False, "scenes", "vgg", "conv", "oracle")
    text = conditions_text(
        METRICS["concept_auc"],
        [base._replace(ours=0.5, theirs=0.4, holds="no"), base._replace(condition="reliability",
                                                                       note="later")],
    )  # fmt: skip
    assert text == ("Conditions of a headline: fails oracle on scenes (0.5 against 0.4). "
                    "not evaluated: reliability (later).")  # fmt: skip
    assert conditions_text(METRICS["concept_auc"], [base._replace(holds="yes")]).endswith(
        "fails none."
    )


def test_an_aspect_says_which_of_its_parts_has_no_headline():
    text = headline_text("semantics")
    assert "`concept_localisation` is the headline of localisation." in text
    assert "**No metric qualifies as the headline of exclusivity.**" in text
    assert headline_text("structure").startswith("`modularity_excess` describes structure")


def test_permutation_nulls_stand_on_the_card_of_their_metric():
    assert null_of("ari_null_low_seeds") == "ari_seeds" and null_of("ami_null") == "ami"
    assert null_of("matched_correlation_null") == "matched_correlation"
    assert null_of("ari") == null_of("conductance_agreement") == ""
    text = card(METRICS["ari"], published_cards())
    assert '<a id="ari"></a><a id="ari_null"></a><a id="ari_null_low"></a>' in text
    assert "`ari_null_high`: Upper end of the 95 % range of the ARI" in text
    assert "### <a" in all_cards() and '### <a id="ari_null"' not in all_cards()


def test_without_scores_there_is_no_table():
    metric = METRICS["concept_auc"]
    assert scores_text(metric, network_scores(metric, None)) == ""
    assert "| plain |" not in card(metric)  # that of the impostors is published


def test_the_planted_answer_stands_beside_what_was_measured():
    text = planted_text(METRICS["detectors"], published_cards())
    assert text.startswith("Planted: expected 12 on planted parts (12 units); measured 12.0 on")
    assert planted_text(METRICS["detectors"], None).endswith("(12 units).")


def test_a_broken_law_stands_on_the_card_with_its_reason():
    metric = METRICS["focus_distance"]
    assert f"**breaks scale** ({metric.breaks['scale']})" in laws_text(metric)
    assert "obeys known, order" in laws_text(METRICS["accuracy"])
    assert "rotation (the function does not change)" in laws_text(METRICS["accuracy"])
