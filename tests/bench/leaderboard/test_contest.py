"""The headline of a tuned suite: order, footnotes, figures, all from made-up ledgers."""

from __future__ import annotations

import dataclasses
import json

import pytest

from legible.bench.leaderboard import contest
from legible.bench.leaderboard.contest_entries import contest_tables
from legible.bench.leaderboard.documents import documents
from legible.bench.leaderboard.figures import tuning as contest_figures
from legible.bench.leaderboard.figures.drawing import save
from legible.bench.leaderboard.formats import as_json
from legible.bench.leaderboard.markdown import render
from legible.bench.suites.run_spec import Block
from legible.bench.tuning.ledger import Ledger, Outcome, Trial

BLOCK = Block("kanji", "vgg")
SYNC = [(0.90, 0.50), (0.895, 0.60), (0.5, 0.9)]
HARSH = [(0.7, 0.8), (0.8, 0.7)]


def trials(method, pairs, declared="{}", dose="strength"):
    for number, (accuracy, value) in enumerate(pairs):
        for seed in (100, 101):
            setting = json.dumps(json.loads(declared) | {dose: float(number)})
            yield Trial(
                dataset=BLOCK.dataset, backbone=BLOCK.backbone, method=method, declared=declared,
                number=number, setting="{}" if method == "plain" else setting, seed=seed,
                metric="iou", layer="stage2", value=value, accuracy=accuracy, problem="",
                chosen=False, reason="", setup="0" * 12,
            )  # fmt: skip


@pytest.fixture(scope="session")
def ledger():
    """sync tried at defaults and beside it at strength 2 as another row; greedy costs too much."""
    lines = [
        *trials("plain", [(0.9, 0.4)]), *trials("sync", SYNC),
        *trials("sync", [(0.9, 0.41), (0.9, 0.42)], '{"strength": 2.0}', "gamma"),
        *trials("greedy", HARSH),
    ]  # fmt: skip
    return Ledger(lines, "iou", "higher", 0.01, {(*BLOCK, "plain", "{}")})


@pytest.fixture(scope="session")
def tuned(board, ledger):
    return dataclasses.replace(board, ledger=ledger)


def test_rows_are_ordered_by_gain_and_the_dear_ones_stand_last(tuned):
    found = contest.entrants(tuned, BLOCK)
    assert [e.row.key for e in found] == [
        ("sync", '{"strength": 2.0}'), ("sync", "{}"), ("greedy", "{}"),
    ]  # fmt: skip
    assert found[0].value[0] > found[1].value[0] and found[2].value[0] > found[0].value[0]
    assert found[2].remarks == [contest.TOO_DEAR] and not found[0].remarks
    assert [e.choice.trials for e in found] == [4, 6, 4]
    assert found[1].cost == pytest.approx(-0.005)


def test_the_difference_is_the_paired_one(tuned, scores):
    here = scores[
        (scores.dataset == "kanji") & (scores.metric == "iou") & (scores.layer == "stage2")
    ]
    here = here[here.params == "{}"].pivot(index="seed", columns="method", values="value")
    entrant = next(e for e in contest.entrants(tuned, BLOCK) if e.row.key == ("sync", "{}"))
    assert entrant.value[0] == pytest.approx((here["sync"] - here["plain"]).mean())


def test_the_table_stands_first_with_trials_and_settings(tuned):
    text = render(tuned)
    head, _, rest = text.partition("## Interpretability at a cost of at most 1 point of accuracy")
    assert "## " not in head and "## Overall" in rest
    table = [line for line in rest.partition("## ")[0].splitlines() if line.startswith("|")]
    (line,) = [x for x in table if x.startswith("| sync (reconstruction) ")]
    assert "strength=1.0" in line and "| 6 " in line
    assert "no setting within the tolerance" in rest
    assert "[iou]: " in text


def test_without_a_ledger_there_is_no_word_of_it(board):
    assert "at a cost of" not in render(board) and contest_tables(board) == []
    assert contest_figures.contest_figures(board) == []
    assert "trials" not in json.loads(as_json(board))


def test_json_and_report_tell_the_same(tuned):
    assert len(json.loads(as_json(tuned))["trials"]) == 16
    (table,) = contest_tables(tuned)
    assert [line.entries[3].text for line in table.lines] == ["4", "6", "4"]
    assert table.lines[2].note == "1" and table.notes == [contest.TOO_DEAR]
    files = documents(tuned)
    assert {"figures/doses-0.svg", "figures/fronts-0.svg"} <= set(files)
    assert b"at most 1 point of accuracy" in files["report.html"]
    assert files == documents(tuned)


def test_less_is_better_turns_the_order_and_the_front(board, ledger):
    lower = dataclasses.replace(ledger, better="lower")
    found = contest.entrants(dataclasses.replace(board, ledger=lower), BLOCK)
    assert [e.row.key for e in found][:2] == [("sync", "{}"), ("sync", '{"strength": 2.0}')]
    figure = contest_figures.draw_fronts(lower, BLOCK)
    low, high = figure.axes[0].get_ylim()
    assert low > high


@pytest.mark.parametrize("percent", [(0.01, "1 point"), (0.02, "2 points"), (0.005, "0.5 points")])
def test_tolerances_are_told_in_points(ledger, percent):
    assert contest.points(dataclasses.replace(ledger, tolerance=percent[0])) == percent[1]


def test_the_dose_is_what_was_varied_most_and_other_settings_stand_apart(ledger):
    group = ledger.groups[(*BLOCK, "sync", "{}")]
    assert contest_figures.dose(group) == "strength"
    assert contest_figures.dose(ledger.groups[(*BLOCK, "sync", '{"strength": 2.0}')]) == "gamma"
    settings = ['{"strength": 10}', '{"strength": 2}', '{"strength": 2, "order": 2}']
    tried = [Outcome(i, s, 0.9, 0.1) for i, s in enumerate(settings)]
    assert [o.number for o in contest_figures.alone(tried, "strength")] == [1, 0]


def test_curves_hold_the_means_and_the_ring_the_choice(ledger):
    figure = contest_figures.draw_doses(ledger, BLOCK)
    axis = next(a for a in figure.axes if a.get_title() == "sync")
    line = next(x for x in axis.lines if len(x.get_xdata()) == 3)
    assert list(line.get_ydata()) == pytest.approx([0.5, 0.6, 0.9])
    ring = axis.lines[-1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, pytest.approx(0.6))


@pytest.mark.parametrize("draw", [contest_figures.draw_doses, contest_figures.draw_fronts])
def test_a_failed_trial_leaves_a_gap_and_no_error(ledger, draw):
    lost = {"accuracy": None, "value": None, "problem": "failed: diverged"}
    cut = [t.model_copy(update=lost) if t.number == 1 else t for t in ledger.trials]
    assert save(lambda: draw(dataclasses.replace(ledger, trials=cut), BLOCK)).startswith(b"<?xml")
