"""Figures of a tuned suite, from a made-up ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legible.bench.leaderboard.figures.style import save
from legible.bench.leaderboard.figures.tuning_trials import (
    dose,
    draw_doses,
    draw_fronts,
    searched_trials,
    settings_of_dose,
)
from legible.bench.suites.run_spec import Block
from legible.bench.tuning.ledger import Outcome

BLOCK = Block("kanji", "vgg")


def test_methods_without_a_search_space_are_left_out(ledger):
    methods = [key[2] for key in searched_trials(ledger, BLOCK)]
    assert methods == ["sync", "sync", "greedy"]


def test_the_dose_is_the_parameter_that_was_varied_most(ledger):
    assert dose(ledger.groups[(*BLOCK, "sync", "{}")]) == "strength"
    assert dose(ledger.groups[(*BLOCK, "sync", '{"strength": 2.0}')]) == "gamma"


def test_settings_that_change_more_than_the_dose_are_left_out():
    settings = ['{"strength": 10}', '{"strength": 2}', '{"strength": 2, "order": 2}']
    outcomes = [Outcome(i, s, 0.9, 0.1) for i, s in enumerate(settings)]
    assert [o.number for o in settings_of_dose(outcomes, "strength")] == [1, 0]


def test_curves_hold_the_means_and_the_ring_the_choice(ledger):
    figure = draw_doses(ledger, BLOCK)
    axis = next(a for a in figure.axes if a.get_title() == "sync")
    line = next(x for x in axis.lines if len(x.get_xdata()) == 3)
    assert list(line.get_ydata()) == pytest.approx([0.5, 0.6, 0.9])
    ring = axis.lines[-1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, pytest.approx(0.6))


def test_less_is_better_turns_the_front(ledger):
    low, high = draw_fronts(replace(ledger, better="lower"), BLOCK).axes[0].get_ylim()
    assert low > high


@pytest.mark.parametrize("draw", [draw_doses, draw_fronts])
def test_a_failed_trial_leaves_a_gap_and_no_error(ledger, draw):
    lost = {"accuracy": None, "value": None, "problem": "failed: diverged"}
    cut = [t.model_copy(update=lost) if t.number == 1 else t for t in ledger.trials]
    assert save(lambda: draw(replace(ledger, trials=cut), BLOCK)).startswith(b"<?xml")
