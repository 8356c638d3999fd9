"""Accuracy and calibration error on logits whose answer is known."""

import math
from dataclasses import replace

import pytest
import torch
from planted_probes import random_probe

from legible.metrics.base import METRICS, Probe, unmet
from legible.metrics.task import accuracy, expected_calibration_error, selected_accuracy


def probe_of(logits: torch.Tensor, labels: list[int]) -> Probe:
    _, probe = random_probe(images=len(labels))
    return replace(probe, labels=torch.tensor(labels).long(), logits=logits)


def logits_of(confidence: list[float], answers: list[int]) -> torch.Tensor:
    """Two-class logits that answer so with that confidence."""
    p = torch.tensor(confidence, dtype=torch.float64)
    right = torch.nn.functional.one_hot(torch.tensor(answers), 2).bool()
    return torch.where(right, p[:, None], 1 - p[:, None]).log().float()


def test_accuracy_counts_the_largest_logit():
    probe = probe_of(logits_of([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 0]), [0, 1, 0, 1])
    assert accuracy(probe.network, probe) == 0.5


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy():
    # .9 twice, right once: gap .4 in their bin; .7 once, right: gap .3 in its bin
    probe = probe_of(logits_of([0.9, 0.9, 0.7], [0, 0, 1]), [0, 1, 1])
    expected = (2 * 0.4 + 0.3) / 3
    assert expected_calibration_error(probe.network, probe) == pytest.approx(expected, abs=1e-6)


def test_a_calibrated_network_has_no_calibration_error():
    probe = probe_of(logits_of([0.75] * 4, [0] * 4), [0, 0, 0, 1])
    assert expected_calibration_error(probe.network, probe) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("metric", [accuracy, expected_calibration_error])
@pytest.mark.parametrize("broken", ["nan", "empty"])
def test_undefined_without_finite_answers(metric, broken):
    logits = torch.zeros(0, 2) if broken == "empty" else torch.tensor([[0.0, math.nan], [1, 0]])
    probe = probe_of(logits, [0] * len(logits))
    assert math.isnan(metric(probe.network, probe))


def recorded(*pairs):
    """A history whose epochs have these validation and test accuracies; None: not looked at."""
    names = ("validation_accuracy", "test_accuracy")
    return [{"epoch": 1, **dict(zip(names, pair or (), strict=False))} for pair in pairs]


def test_validation_images_choose_the_epoch_the_first_of_equal_ones():
    probe = probe_of(logits_of([0.9], [0]), [0])
    history = recorded((0.5, 0.9), None, (0.7, 0.6), (0.7, 0.8), (0.6, 1.0))
    assert selected_accuracy(probe.network, replace(probe, history=history)) == 0.6


def test_without_validations_nothing_is_selected():
    probe = probe_of(logits_of([0.9], [0]), [0])
    item = METRICS["selected_accuracy"]
    for history in ([], recorded(None, None)):
        there = replace(probe, history=history)
        assert math.isnan(selected_accuracy(probe.network, there))
        assert unmet(item, None, there) == "no validation was recorded while training"
    assert unmet(item, None, replace(probe, history=recorded((0.5, 0.5)))) == ""
