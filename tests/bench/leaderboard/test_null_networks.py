"""Whether metrics tell plain from null networks, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.null_networks import (
    TABLE,
    aspect_verdict,
    metric_remarks,
    network_scores,
    planted_means,
    published_cards,
    separates_plain,
    verdict,
)
from legible.bench.plugins import registry
from legible.bench.scores.score_table import COLUMNS
from legible.metrics.base import METRICS

registry.load(["metrics"])
SEEDS = 8


def board(means: dict[str, dict[str, float]], dataset: str = "noise") -> Board:
    """A board of one dataset: each metric's mean by method, with a little noise by seed."""
    generator = np.random.default_rng(0)
    rows = []
    for name, by_method in means.items():
        for method, mean in by_method.items():
            for seed in range(SEEDS):
                value = mean + 0.01 * generator.standard_normal()
                layer = "" if METRICS[name].per == "network" else "conv"
                place = (dataset, "vgg", method, method, "null", "{}", seed, layer, name)
                aspect = METRICS[name].aspect
                rows.append((*place, aspect, value, value, 0, 1, "ok", "", "run"))
    return Board(pd.DataFrame(rows, columns=COLUMNS))


def networks(plain: float, untrained: float, rotated: float) -> dict[str, float]:
    return {"plain": plain, "untrained": untrained, "plain_rotated": rotated}


def test_a_metric_that_tells_all_networks_apart_separates():
    table = board({"netdissect_iou": networks(0.5, 0.1, 0.3)})
    metric = METRICS["netdissect_iou"]
    assert separates_plain(metric, table)
    text = verdict(metric, network_scores(metric, table))
    assert text == "separates plain from untrained and rotated"


def test_a_difference_within_its_interval_does_not():
    table = board({"netdissect_iou": networks(0.5, 0.1, 0.5)})
    metric = METRICS["netdissect_iou"]
    assert not separates_plain(metric, table)
    assert "plain from rotated on noise" in verdict(metric, network_scores(metric, table))


@pytest.mark.parametrize(
    ("name", "values"),
    [("netdissect_iou", (0.2, 0.5, 0.1)), ("location_instability", (0.5, 0.2, 0.9))],
)
def test_a_metric_that_prefers_untrained_networks_does_not(name, values):
    table = board({name: networks(*values)})
    assert not separates_plain(METRICS[name], table)
    text = verdict(METRICS[name], network_scores(METRICS[name], table))
    assert "untrained networks score better than plain ones" in text


def test_a_metric_of_the_answers_need_not_change_under_rotation():
    table = board({"accuracy": networks(0.9, 0.1, 0.9)})
    assert separates_plain(METRICS["accuracy"], table)


def test_intervals_of_comparisons_between_seeds_are_wider():
    name = "matched_correlation_excess"
    table = board({name: networks(0.5, 0.1, 0.3)})
    (scores,) = network_scores(METRICS[name], table)
    column = table.columns(scores.block, [name])[0]
    narrow = table.seed_values(scores.block, table.rows[0], column).half
    half = float(scores.values[table.rows[0].method].half)
    assert half == pytest.approx(2**0.5 * narrow)


def test_planted_networks_stand_apart():
    name = "netdissect_iou"
    table = board({name: {"untrained": 0.8}}, "planted(parts=4)")
    assert network_scores(METRICS[name], table) == []
    assert planted_means(METRICS[name], table) == {"vgg": pytest.approx(0.8, abs=0.02)}


def test_a_headline_that_fails_is_remarked_with_the_metrics_that_do_better():
    headline = next(m.name for m in METRICS.values() if m.aspect == "semantics" and m.headline)
    other = "concept_purity"
    both = {headline: networks(0.5, 0.1, 0.5), other: networks(0.5, 0.1, 0.3)}
    text = aspect_verdict("semantics", board(both))
    assert "does not separate plain from rotated" in text and f"aspect that do: {other}" in text
    alone = board({headline: networks(0.5, 0.1, 0.5)})
    assert "metrics of this aspect that do: none" in metric_remarks(alone)[headline]
    assert aspect_verdict("semantics", board({headline: networks(0.5, 0.1, 0.3)})) == ""
    assert aspect_verdict("semantics", None) == ""


def test_a_broken_law_is_remarked():
    reason = METRICS["focus_distance"].breaks["scale"]
    assert metric_remarks(None)["focus_distance"] == f"breaks law 'scale': {reason}"
    assert "focus_dispersion" not in metric_remarks(None)


def test_the_published_scores_are_shipped_with_the_package():
    assert TABLE.resolve().parts[-3:] == ("results", "cards", "scores.csv")
    assert {row.method for row in published_cards().rows} >= {"plain", "untrained", "oracle"}
