"""docs/metrics.md is up to date, and a card says what its metric's scores show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from legible.bench.cards.metric_cards import (
    card,
    laws_text,
    planted_text,
    scores_text,
)
from legible.bench.leaderboard.null_networks import network_scores, published_cards
from legible.bench.plugins import registry
from legible.metrics.base import METRICS

registry.load(["metrics"])
ROOT = Path(__file__).resolve().parents[3]


def test_the_document_is_what_the_command_prints():
    command = [sys.executable, "-m", "legible", "list", "metrics", "--cards"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert text == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_a_card_has_the_docstring_the_facts_and_the_numbers():
    text = card(METRICS["concept_auc"], published_cards())
    assert text.startswith('### <a id="concept_auc"></a>concept_auc (headline)\n\nhigher is better')
    assert "defined in `metrics/semantics.py`" in text
    assert "| kanji · vgg · conv6 | 1.000" in text and "**+0." in text
    assert "Separates plain from untrained and rotated." in text


def test_without_scores_there_is_no_table():
    metric = METRICS["concept_auc"]
    assert scores_text(metric, network_scores(metric, None)) == ""
    assert "| " not in card(metric)


def test_the_planted_answer_stands_beside_what_was_measured():
    text = planted_text(METRICS["detectors"], published_cards())
    assert text.startswith("Planted: expected 12 on planted parts (12 units); measured 12.0 on")
    assert planted_text(METRICS["detectors"], None).endswith("(12 units).")


def test_a_broken_law_stands_on_the_card_with_its_reason():
    metric = METRICS["focus_distance"]
    assert f"**breaks scale** ({metric.breaks['scale']})" in laws_text(metric)
    assert "obeys known, order" in laws_text(METRICS["accuracy"])
    assert "rotation (the function does not change)" in laws_text(METRICS["accuracy"])
