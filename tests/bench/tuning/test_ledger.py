"""Choosing from made-up ledgers with known answers, and reading hostile ones."""

from __future__ import annotations

import math

import pytest

from legible.bench.errors import UserError
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning.ledger import Ledger, Outcome, Trial, choose, outcomes, read, to_text

NAN = math.nan


def results(*pairs):
    """Outcomes from (accuracy, metric) pairs."""
    return [Outcome(i, f'{{"strength": {i}}}', a, v) for i, (a, v) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "better", "number", "within"),
    [
        ([(0.90, 0.1), (0.90, 0.3), (0.90, 0.2)], "higher", 1, True),
        ([(0.90, 0.1), (0.90, 0.3), (0.90, 0.2)], "lower", 0, True),
        # the best metric costs too much
        ([(0.90, 0.1), (0.80, 0.9)], "higher", 0, True),
        # exactly at the tolerance counts as within, just below does not
        ([(0.90, 0.1), (0.89, 0.2)], "higher", 1, True),
        ([(0.90, 0.1), (0.8899, 0.2)], "higher", 0, True),
        # more accurate than plain is no cost
        ([(0.99, 0.2), (0.90, 0.1)], "higher", 0, True),
        # ties: the more accurate, then the first
        ([(0.90, 0.2), (0.91, 0.2)], "higher", 1, True),
        ([(0.90, 0.2), (0.90, 0.2)], "higher", 0, True),
        # none within: the most accurate, whatever its metric
        ([(0.70, 0.9), (0.80, 0.1), (0.75, 0.5)], "higher", 1, False),
        # failed and unmeasurable settings are never the best
        ([(NAN, NAN), (0.90, NAN), (0.895, 0.01)], "higher", 2, True),
        ([(NAN, NAN), (0.90, NAN)], "higher", 1, False),
        ([(NAN, NAN), (NAN, NAN)], "higher", 0, False),
    ],
)
def test_the_choice_is_the_one_that_can_be_worked_out_by_hand(pairs, better, number, within):
    choice = choose(results(*pairs), 0.90, better, 0.01)
    assert (choice.outcome.number, choice.within) == (number, within)
    assert choice.reason


def trial(method, number, setting, seed, accuracy, value, **more):
    return Trial.model_validate(
        {
            "dataset": "toy", "backbone": "vgg", "method": method, "declared": "{}",
            "number": number, "setting": setting, "seed": seed, "metric": "iou", "layer": "conv2",
            "value": value, "accuracy": accuracy, "problem": "", "chosen": False, "reason": "",
            "setup": "0123456789ab",
        } | more
    )  # fmt: skip


PLAIN = [trial("plain", 0, "{}", 100, 0.92, 0.1), trial("plain", 0, "{}", 101, 0.88, 0.1)]
BEAN = [
    trial("bean", 0, '{"strength": 0.1}', 100, 0.91, 0.11),
    trial("bean", 0, '{"strength": 0.1}', 101, 0.89, 0.13),
    trial("bean", 1, '{"strength": 1.0}', 100, 0.95, 0.20),
    trial("bean", 1, '{"strength": 1.0}', 101, 0.82, 0.22),
    trial("bean", 2, '{"strength": 9.0}', 100, 0.95, 0.90),
    trial("bean", 2, '{"strength": 9.0}', 101, None, None, problem="failed: diverged"),
]
FIXED = {("toy", "vgg", "plain", "{}")}


def made(trials=(*PLAIN, *BEAN), **more):
    return Ledger(trials, "iou", "higher", 0.01, more.pop("fixed", FIXED), **more)


def test_a_setting_is_its_mean_over_tuning_seeds_and_lost_where_one_failed():
    means = {o.number: (o.accuracy, o.value) for o in outcomes(BEAN)}
    assert means[0] == pytest.approx((0.90, 0.12)) and means[1] == pytest.approx((0.885, 0.21))
    assert all(map(math.isnan, means[2]))


def test_every_line_says_whether_it_was_chosen_and_why():
    marked = made().with_choices()
    assert [t.chosen for t in marked] == [True] * 4 + [False] * 4
    assert [t.reason for t in marked[::2]] == [
        "the reference; no search space", "best within the tolerance", "not within the tolerance",
        "not trained on every seed",
    ]  # fmt: skip
    assert made(marked).with_choices() == marked


def test_the_standard_error_of_a_difference_to_plain_is_the_median_over_settings():
    # gaps to plain (.92, .88): -.01, .01; .03, -.06; the third setting has one seed alone
    assert made().error(("toy", "vgg")) == pytest.approx((0.01 + 0.045) / 2)
    one_seed = [t for t in (*PLAIN, *BEAN) if t.seed == 100]
    assert math.isnan(made(one_seed).error(("toy", "vgg")))
    assert math.isnan(made().error(("other", "vgg")))


def test_a_chosen_strength_at_the_edge_of_those_tried_is_known():
    bean, plain = ("toy", "vgg", "bean", "{}"), ("toy", "vgg", "plain", "{}")
    assert made().at_edge(bean)  # 0.1, the smallest
    smaller = [trial("bean", 3, '{"strength": 0.03}', seed, 0.9, 0.1) for seed in (100, 101)]
    assert not made([*PLAIN, *BEAN, *smaller]).at_edge(bean)
    assert not made().at_edge(plain)  # nothing to search
    assert not made([*PLAIN, *BEAN[:2]]).at_edge(bean)  # one strength


def test_a_method_without_search_space_is_flagged_where_it_costs_too_much():
    poor = trial("untrained", 0, "{}", 100, 0.1, 0.5)
    ledger = made([*PLAIN, poor], fixed={*FIXED, ("toy", "vgg", "untrained", "{}")})
    choice = ledger.choices["toy", "vgg", "untrained", "{}"]
    assert not choice.within and choice.trials == 1
    assert choice.reason == "no search space; not within the tolerance"


def test_blocks_are_judged_each_by_its_own_plain():
    other = [t.model_copy(update={"dataset": "other"}) for t in BEAN[:4]]
    weak = trial("plain", 0, "{}", 100, 0.5, 0.1, dataset="other")
    ledger = made([*PLAIN, *BEAN[:4], weak, *other])
    chosen = {key[0]: c.outcome.number for key, c in ledger.choices.items() if key[2] == "bean"}
    assert chosen == {"toy": 0, "other": 1}


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (BEAN, "no trial of plain on toy, vgg"),
        ([trial("plain", 0, "{}", 1, None, None, problem="failed: x")], "plain has no iou .*: x"),
        ([trial("plain", 0, "{}", 1, 0.9, None, problem="too coarse")], "too coarse"),
    ],
)
def test_without_plains_value_there_is_nothing_to_choose_by(trials, message):
    with pytest.raises(UserError, match=message):
        made(trials).with_choices()


def test_a_ledger_is_read_as_it_was_written(tmp_path):
    marked = made().with_choices()
    path = tmp_path / ledgers.FILE
    path.write_text(to_text(marked), encoding="utf-8")
    assert read(path) == marked
    assert to_text(read(path)).encode() == path.read_bytes()


LINE = "toy,vgg,plain,{},0,{},100,iou,conv2,0.1,0.9,,yes,why,0123456789ab"
HEAD = ",".join(Trial.model_fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns are not"),
        ("a,b\n1,2\n", "the columns are not"),
        (f"{HEAD}\ntoy,vgg\n", "line 2 does not have 15 columns"),
        (f"{HEAD}\n{LINE},more\n", "line 2 does not have 15 columns"),
        (f"{HEAD}\n{LINE}\n{LINE.replace('0.9', 'nan')}\n", "line 3: accuracy"),
        (f"{HEAD}\n{LINE.replace('0.9', '1.5')}\n", "line 2: accuracy"),
        (f"{HEAD}\n{LINE.replace('0.1,', '1e999,')}\n", "line 2: value"),
        (f"{HEAD}\n{LINE.replace('yes', 'true')}\n", "chosen must be 'yes' or empty"),
        (f"{HEAD}\n{LINE.replace('{}', '[]')}\n", "declared: .*JSON object"),
        (f"{HEAD}\n{LINE.replace('{}', '[' * 1500)}\n", "declared"),
        (f"{HEAD}\n{LINE.replace('0,{}', '-1,{}')}\n", "number"),
        (f"{HEAD}\n{LINE.replace('why', chr(27) + '[31m')}\n", "reason"),
        (f"{HEAD}\n{LINE.replace('0123456789ab', '../../etc')}\n", "setup"),
        (f'{HEAD}\n"{LINE}\n', "cannot be read"),
        (f"{HEAD}\n{LINE}{'x' * 200_000}\n", "cannot be read"),
    ],
)
def test_a_hostile_ledger_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / ledgers.FILE
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_what_is_no_text_or_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / ledgers.FILE
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
    monkeypatch.setattr(ledgers, "LARGEST", 2)
    with pytest.raises(UserError, match="larger than"):
        read(path)
    with pytest.raises(UserError, match="no ledger"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="cannot be read"):
        monkeypatch.undo()
        read(tmp_path)
