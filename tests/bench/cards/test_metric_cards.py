"""Cards: the generated document, and the verdict on tables made by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legible.bench.cards.metric_cards import card, laws
from legible.bench.leaderboard import null_networks as measured
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.null_networks import aspect_verdict, remarks, separates, verdict
from legible.bench.plugins import registry
from legible.bench.scores.score_table import COLUMNS
from legible.metrics.base import METRICS

registry.load(["metrics"])
ROOT = Path(__file__).resolve().parents[2]
SEEDS = 8


def board(means: dict[str, dict[str, float]], spread: float = 0.01) -> Board:
    """A board of one dataset: each metric's mean by method, with a little noise by seed."""
    generator = np.random.default_rng(0)
    rows = []
    for name, by_method in means.items():
        for method, mean in by_method.items():
            for seed in range(SEEDS):
                value = mean + spread * generator.standard_normal()
                layer = "" if METRICS[name].per == "network" else "conv"
                told = ("noise", "vgg", method, method, "null", "{}", seed, layer, name)
                aspect = METRICS[name].aspect
                rows.append((*told, aspect, value, value, 0, 1, "ok", "", "run"))
    return Board(pd.DataFrame(rows, columns=COLUMNS))


def networks(plain: float, untrained: float, rotated: float) -> dict[str, float]:
    return {"plain": plain, "untrained": untrained, "plain_rotated": rotated}


def test_the_document_is_what_the_command_prints():
    command = [sys.executable, "-m", "legible", "list", "metrics", "--cards"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_a_metric_that_tells_all_networks_apart_separates():
    table = board({"netdissect_iou": networks(0.5, 0.1, 0.3)})
    item = METRICS["netdissect_iou"]
    assert separates(item, table)
    told = verdict(item, measured.measured(item, table))
    assert told == "separates plain from untrained and rotated"
    assert "**+0.2" in card(item, table) and "Separates plain" in card(item, table)


def test_what_lies_within_the_interval_does_not():
    table = board({"netdissect_iou": networks(0.5, 0.1, 0.5)})
    item = METRICS["netdissect_iou"]
    assert not separates(item, table)
    assert "plain from rotated on noise" in verdict(item, measured.measured(item, table))


@pytest.mark.parametrize(
    ("name", "values"),
    [("netdissect_iou", (0.2, 0.5, 0.1)), ("location_instability", (0.5, 0.2, 0.9))],
)
def test_a_metric_that_prefers_untrained_networks_is_no_headline(name, values):
    table = board({name: networks(*values)})
    assert not separates(METRICS[name], table)
    found = verdict(METRICS[name], measured.measured(METRICS[name], table))
    assert "untrained networks score better than plain ones" in found


def test_answers_are_not_asked_to_change_under_rotation():
    table = board({"accuracy": networks(0.9, 0.1, 0.9)})
    assert separates(METRICS["accuracy"], table)


def test_intervals_of_comparisons_between_seeds_are_wider():
    name = "matched_correlation_excess"
    table = board({name: networks(0.5, 0.1, 0.3)})
    (found,) = measured.measured(METRICS[name], table)
    spec = table.spec(found.block, table.rows[0], table.columns(found.block, [name])[0])
    assert float(found.values[table.rows[0].method].half) == pytest.approx(2**0.5 * spec.half)


def test_an_aspect_whose_headline_fails_is_marked_with_what_does_better():
    headline = next(m.name for m in METRICS.values() if m.aspect == "semantics" and m.headline)
    other = "concept_purity"
    both = {headline: networks(0.5, 0.1, 0.5), other: networks(0.5, 0.1, 0.3)}
    told = aspect_verdict("semantics", board(both))
    assert "does not separate plain from rotated" in told and f"these do: {other}" in told
    alone = board({headline: networks(0.5, 0.1, 0.5)})
    assert "no metric of this aspect does" in remarks(alone)[headline]
    assert aspect_verdict("semantics", board({headline: networks(0.5, 0.1, 0.3)})) == ""


def test_laws_that_are_broken_stand_on_the_card_and_in_the_leaderboard():
    item = METRICS["focus_distance"]
    assert f"**breaks scale** ({item.breaks['scale']})" in laws(item)
    assert item.breaks["scale"] in remarks(None)["focus_distance"]
    assert "focus_dispersion" not in remarks(None)
