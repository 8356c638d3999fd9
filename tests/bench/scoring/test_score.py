"""Scores of metrics on a probe, and their keys."""

import math

import numpy as np
import pytest
import torch
from planted_probes import random_probe

from legible.bench.scoring.score import (
    MISSING,
    MetricScores,
    errors,
    metric_keys,
    score_all,
    score_metric,
    stale_metrics,
)
from legible.metrics.base import METRICS, Score, metric


@pytest.fixture
def failing(kept_registry):
    """A metric that raises an error."""

    @metric(aspect="task", better="higher", per="network")
    def failing(network, probe):
        raise RuntimeError("two\nlines")


@pytest.fixture
def probe(kept_registry):
    return random_probe()[1]


def test_scores_survive_json():
    values = np.array([0.1, np.nan, 2.0])
    scores = MetricScores("k", (Score("focus", "conv1", values, null=0.5, seconds=1.23456),))
    (layer,) = MetricScores.from_json("focus", scores.to_json()).layers
    np.testing.assert_array_equal(layer.values, values)
    assert (layer.metric, layer.layer, layer.null, layer.seconds) == ("focus", "conv1", 0.5, 1.2346)
    without_null = MetricScores("k", (Score("focus", "", values),)).to_json()
    assert without_null["layers"][0]["null"] is None
    assert math.isnan(MetricScores.from_json("focus", without_null).layers[0].null)


@pytest.mark.parametrize(
    "value", [None, 3, [], {}, {"key": "k"}, {"key": "k", "layers": [3]}, {"layers": []}]
)
def test_other_json_is_an_error(value):
    with pytest.raises(ValueError, match="not the scores of a metric"):
        MetricScores.from_json("focus", value)


def test_only_comparisons_of_seeds_depend_on_the_partner(kept_registry):
    names = ["accuracy", "ari", "ari_splits", "ari_seeds"]
    first, second = metric_keys(names, "run-a"), metric_keys(names, "run-b")
    assert [name for name in names if first[name] != second[name]] == ["ari_seeds"]
    assert len(set(first.values())) == 4


def test_scores_with_the_same_key_are_not_computed_again(probe, monkeypatch):
    before = score_all(probe, ["accuracy", "focus_spread"])
    again = score_all(probe, ["accuracy", "focus_spread"], earlier=before)
    assert all(again[name] is before[name] for name in before)
    old = MetricScores("other", before["accuracy"].layers)
    assert score_all(probe, ["accuracy"], earlier={"accuracy": old})["accuracy"] is not old
    assert stale_metrics({"accuracy": old}, ["accuracy", "focus_spread"]) == [
        "accuracy", "focus_spread",
    ]  # fmt: skip
    assert stale_metrics(before, ["accuracy", "focus_spread"]) == []


class TestFewerImages:
    def test_an_aspect_is_scored_on_the_first_images_alone(self, probe):
        names = ["accuracy", "focus_spread", "matched_correlation"]
        others = {"seeds": lambda: probe}
        whole = score_all(probe, names, None, others)
        few = score_all(probe, names, None, others, images={"task": 10, "consistency": 10})
        (accuracy,) = few["accuracy"].layers
        correct = (probe.logits[:10].argmax(1) == probe.labels[:10]).double().mean()
        assert accuracy.value == pytest.approx(float(correct))
        (matched,) = few["matched_correlation"].layers
        assert not matched.reason and matched.value == pytest.approx(1.0)
        spread = [s["focus_spread"].layers[0].values for s in (few, whole)]
        np.testing.assert_array_equal(*spread)

    def test_as_many_images_as_there_are_change_nothing(self, probe):
        count = len(probe.labels)
        scores = [
            score_all(probe, ["accuracy"], images=images) for images in (None, {"task": count})
        ]
        assert scores[0]["accuracy"].layers[0].value == scores[1]["accuracy"].layers[0].value

    def test_the_number_is_part_of_the_key_of_that_aspect_alone(self, kept_registry):
        names = ["accuracy", "ari"]
        whole, few = metric_keys(names), metric_keys(names, images={"task": 10})
        assert [name for name in names if whole[name] != few[name]] == ["accuracy"]
        assert few != metric_keys(names, images={"task": 20})


def test_a_metric_that_raises_does_not_stop_the_others(probe, failing):
    scores = score_all(probe, ["failing", "accuracy"])
    assert errors(scores) == {"failing": "error: RuntimeError: two lines"}
    assert "Traceback" in scores["failing"].trace and scores["failing"].layers[0].undefined == 1
    assert scores["accuracy"].layers[0].value > 0
    assert stale_metrics(scores, ["failing", "accuracy"]) == ["failing"]


def test_values_outside_the_limits_are_an_error(probe):
    @metric(aspect="task", better="higher", per="network", limits=(0.0, 1.0))
    def percent(network, probe):
        return 50.0

    with pytest.raises(ValueError, match=r"metric 'percent' gave 50\.0 to 50\.0, outside"):
        score_metric(METRICS["percent"], probe)


def test_needs_that_are_not_met_give_a_reason(probe):
    probe.concepts = None
    (score,) = score_metric(METRICS["concept_auc"], probe)
    assert score.reason == "needs concept masks" and math.isnan(score.value)


def test_without_the_other_probe_a_comparison_has_a_reason(probe):
    for name, kind in (("consistency_coverage_splits", "splits"), ("matched_correlation", "seeds")):
        (score,) = score_metric(METRICS[name], probe)
        assert score.reason == MISSING[kind]
        (score,) = score_metric(METRICS[name], probe, {kind: lambda: "not trained yet"})
        assert score.reason == "not trained yet"
        (score,) = score_metric(METRICS[name], probe, {kind: lambda: probe})
        assert not score.reason and 0 < score.value <= 1


def test_logits_that_are_not_finite_give_a_reason(probe):
    probe.logits = torch.full_like(probe.logits, math.nan)
    (score,) = score_metric(METRICS["modularity"], probe)
    assert score.reason == "the network's outputs are not finite"
