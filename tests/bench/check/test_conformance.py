"""The check of whole files and names, its order, and its table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from broken_plugins import HEAD, L1, failures

from legible.bench.check.conformance import check, checks, failed, render
from legible.bench.check.laws import LawOutcome
from legible.bench.errors import UserError


def test_a_file_that_cannot_be_imported_fails_with_the_reason(write_method: Any) -> None:
    (outcome,) = check(write_method("not_there", "import no_such_module"))
    assert (outcome.law, outcome.status) == ("registers", "fail")
    assert "No module named 'no_such_module'" in outcome.reason


def test_a_file_that_registers_nothing_fails(write_method: Any) -> None:
    (outcome,) = check(write_method("nothing", "", "x = 1\n"))
    assert outcome.status == "fail"
    assert "registers nothing: decorate a class with @register" in outcome.reason


def test_two_methods_in_one_file_are_refused(write_method: Any) -> None:
    second = HEAD.replace("class Broken", "class Second")
    (outcome,) = check(write_method("two", L1, HEAD + second))
    assert (outcome.law, outcome.status) == ("registers", "fail")
    assert "registers two methods, Broken and Second" in outcome.reason


def test_unknown_names_and_files_are_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no method 'snyc'; did you mean 'sync'"):
        check("snyc")
    with pytest.raises(UserError, match="no plugin file"):
        check(tmp_path / "none.py")


def test_a_law_that_depends_on_a_broken_one_is_skipped(write_method: Any) -> None:
    body = 'def penalty(self, step): return {"x": step.activation.mean()}'
    outcomes = {o.law: o for o in check(write_method("misspelt", body))}
    assert outcomes["trains"].status == "fail"
    later = outcomes["resume_is_exact"]
    assert (later.status, later.reason) == ("skip", "skipped until `trains` passes")
    assert later.blocked_by == "trains"


def test_laws_of_methods_go_from_the_description_to_the_evaluation() -> None:
    names = [case.name for case in checks("plain")]
    assert names[0] == "registers"
    order = ["attaches", "trains", "changes_nothing_in_place", "evaluation_changes_nothing"]
    assert sorted(order, key=names.index) == order


def test_parameters_replace_the_defaults() -> None:
    assert "p must be in [0, 1)" in failures("dropout", p=2.0)["parameters_are_checked"]


def test_a_check_leaves_the_callers_random_state_alone(write_method: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    body = (
        L1 + "\ndef start_epoch(self, network, data, epoch):\n    torch.rand(3), np.random.rand()"
    )
    for case in checks(write_method("draws", body)):
        if case.name == "trains":
            assert case.outcome().status == "pass"
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_the_table() -> None:
    reason = "skipped until `same seed same weights` passes"
    outcomes = [
        LawOutcome("method m", "trains", "pass", "loss 1.0 to 0.5"),
        LawOutcome("method m", "same_seed_same_weights", "fail", "use self.generator " * 4),
        LawOutcome("method m", "resume_is_exact", "skip", reason, "same_seed_same_weights"),
        LawOutcome("method m", "trains_in_bfloat16", "skip", reason, "same_seed_same_weights"),
        LawOutcome("metric n", "changes_nothing", "skip"),
    ]
    assert (
        render(outcomes, 96)
        == """\
method m
  pass  trains                                      (loss 1.0 to 0.5)
  fail  same seed same weights                      use self.generator use self.generator use
                                                    self.generator use self.generator
  skip  2 more laws                                 (until `same seed same weights` passes)

metric n
  skip  changes nothing

1 pass, 1 fail, 3 skip"""
    )
    assert failed(outcomes)
    assert not failed(outcomes[:1])


@pytest.mark.slow
def test_a_whole_check_takes_well_under_a_minute() -> None:
    start = time.process_time()
    assert not failed(check("sync"))
    assert time.process_time() - start < 40


@pytest.mark.parametrize(
    ("body", "law", "reason"),
    [
        ("def penalty(self, step): import os; os._exit(0)", "trains", "left with exit code 0"),
        ("def penalty(self, step): import sys; sys.exit(0)", "trains", "SystemExit"),
    ],
)
def test_a_law_that_ends_the_process_fails(
    write_method: Any, body: str, law: str, reason: str
) -> None:
    outcomes = {outcome.law: outcome for outcome in check(write_method("leaves", body))}
    assert outcomes["registers"].status == "pass"
    assert outcomes[law].status == "fail" and reason in outcomes[law].reason
    assert outcomes["resume_is_exact"].blocked_by == law
