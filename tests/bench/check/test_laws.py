"""Laws and outcomes, on laws made for these tests."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from unittest import SkipTest

import pytest
import torch

from legible.bench.check.laws import (
    LAWS,
    Case,
    NotApplicable,
    Violation,
    describe_exception,
    law,
    spoken,
)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Case]:
    """``case(name, check, *after)`` registers a law and returns it as a case for one subject."""
    monkeypatch.setitem(LAWS, "methods", {})
    subject = SimpleNamespace(label="method m", origin=__file__, outcomes={})

    def make(name: str, check: Callable, *after: str) -> Case:
        check.__name__ = name
        law("methods", *after)(check)
        return Case("methods", subject, name)

    return make


def raising(error: Exception) -> Callable:
    def check(subject: object) -> None:
        raise error

    return check


def test_a_law_passes_with_its_remark(case: Callable[..., Case]) -> None:
    outcome = case("is_good", lambda subject: f"remark on {subject.label}").outcome()
    assert (outcome.status, outcome.reason) == ("pass", "remark on method m")
    assert case("is_quiet", lambda subject: None).outcome().reason == ""


def test_a_law_that_does_not_apply_skips_the_test(case: Callable[..., Case]) -> None:
    skipped = case("does_not_apply", raising(NotApplicable("has no\n  options")))
    assert skipped.outcome().status == "skip"
    with pytest.raises(SkipTest, match="has no options"):
        skipped()


def test_a_violation_fails_the_test_with_subject_law_and_reason(case: Callable[..., Case]) -> None:
    broken = case("is_good", raising(Violation("be better")))
    assert broken.outcome().status == "fail"
    with pytest.raises(AssertionError, match=r"^method m, is good: be better$"):
        broken()


def test_an_unexpected_exception_is_a_failure_with_its_line(case: Callable[..., Case]) -> None:
    outcome = case("is_good", raising(ZeroDivisionError("by 0"))).outcome()
    assert outcome.status == "fail"
    assert outcome.reason.startswith("raised ZeroDivisionError: by 0 (line ")
    assert "raise error" in outcome.reason


def test_a_law_waits_for_those_before_it_however_far(case: Callable[..., Case]) -> None:
    case("first", raising(Violation("no")))
    case("second", lambda subject: None, "first")
    third = case("third", lambda subject: None, "second")
    outcome = third.outcome()
    assert (outcome.status, outcome.blocked_by) == ("skip", "first")
    assert outcome.reason == "skipped until `first` passes"


def test_a_law_does_not_wait_for_one_that_does_not_apply(case: Callable[..., Case]) -> None:
    case("first", raising(NotApplicable("no")))
    assert case("second", lambda subject: None, "first").outcome().status == "pass"


def test_a_law_is_checked_once(case: Callable[..., Case]) -> None:
    calls: list[int] = []
    single = case("counts", lambda subject: calls.append(1))
    assert single.outcome() is single.outcome()
    assert calls == [1]


def test_a_law_runs_on_one_thread_and_restores_random_states(case: Callable[..., Case]) -> None:
    before = torch.get_rng_state()
    outcome = case("draws", lambda subject: f"{torch.rand(2).ndim} {torch.get_num_threads()}")
    assert outcome.outcome().reason == "1 1"
    assert torch.equal(before, torch.get_rng_state())


def test_names_are_shown_as_words(case: Callable[..., Case]) -> None:
    assert spoken("resume_is_exact") == "resume is exact"
    assert str(case("is_good", lambda subject: None)) == "method-m-is_good"


def test_changes_in_place_get_a_hint() -> None:
    text = "one of the variables has been modified by an inplace operation"
    assert describe_exception(RuntimeError(text), "").endswith("work on a copy")
