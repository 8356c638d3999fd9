"""Laws, and how one is checked for one plugin.

A law is a function of a plugin (the *subject*) with the decorator `law`. It raises `Violation` if
the plugin breaks it and `NotApplicable` if it does not apply; it may return a remark.
"""

from __future__ import annotations

import traceback
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from legible.bench.check.global_state import one_thread, restored_generators
from legible.bench.errors import one_line

Status = Literal["pass", "fail", "skip"]


class Violation(Exception):
    """The plugin breaks the law; the message says what to change."""


class NotApplicable(Exception):
    """The law does not apply to the plugin; the message says why."""


@dataclass(frozen=True)
class LawOutcome:
    """The result of checking one law for one plugin.

    reason: why the law fails or is skipped; if it passes, a remark or nothing.
    blocked_by: the failed law because of which this one was not checked.
    """

    subject: str
    law: str
    status: Status
    reason: str = ""
    blocked_by: str = ""


@runtime_checkable
class Subject(Protocol):
    """A plugin under check.

    label: its kind and name, for example "method sync".
    origin: the file that defines it.
    outcomes: the outcomes so far, by law.
    """

    label: str
    origin: str
    outcomes: dict[str, LawOutcome]


@dataclass(frozen=True)
class Law:
    """A named law.

    ``after`` lists laws that must pass first; if one of them fails, this law is skipped.
    """

    name: str
    check: Callable[[Any], str | None]
    after: tuple[str, ...]


#: All laws by kind of plugin and name.
LAWS: dict[str, dict[str, Law]] = {"methods": {}, "metrics": {}, "datasets": {}, "backbones": {}}


def law(kind: str, *after: str) -> Callable[[Callable[[Any], str | None]], Any]:
    """Decorator: registers a function as a law for one kind of plugin, under its own name.

    ``after`` lists laws that must pass first; if one of them fails, this law is skipped.
    """

    def add(check: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        LAWS[kind][check.__name__] = Law(check.__name__, check, after)
        return check

    return add


@dataclass(frozen=True)
class Case:
    """One law for one plugin. Call it in a test, or ask for its `outcome`."""

    kind: str
    subject: Subject
    name: str

    def __str__(self) -> str:
        return f"{self.subject.label.replace(' ', '-')}-{self.name}"

    def outcome(self) -> LawOutcome:
        """Checks the law, after the laws that it depends on; each is checked only once."""
        outcomes = self.subject.outcomes
        if self.name not in outcomes:
            outcomes[self.name] = self._check()
        return outcomes[self.name]

    def _check(self) -> LawOutcome:
        if blocked_by := self._failed_before():
            reason = f"skipped until `{spoken(blocked_by)}` passes"
            return LawOutcome(self.subject.label, self.name, "skip", reason, blocked_by)
        status, reason = self._run()
        return LawOutcome(self.subject.label, self.name, status, reason)

    def _run(self) -> tuple[Status, str]:
        try:
            with one_thread(), restored_generators():
                return "pass", LAWS[self.kind][self.name].check(self.subject) or ""
        except NotApplicable as reason:
            return "skip", _text(reason)
        except Violation as reason:
            return "fail", _text(reason)
        except Exception as error:
            return "fail", describe_exception(error, self.subject.origin)

    def _failed_before(self) -> str:
        """The first failed law among those that this one depends on, or ""."""
        for earlier in LAWS[self.kind][self.name].after:
            case = Case(self.kind, self.subject, earlier)
            outcome = case.outcome()
            if outcome.status == "fail":
                return earlier
            if law_name := case._failed_before():
                return law_name
        return ""

    def __call__(self) -> None:
        """For tests: raises AssertionError if the law fails and SkipTest if it is skipped."""
        __tracebackhide__ = True  # pytest then shows the test, not this function
        outcome = self.outcome()
        if outcome.status == "skip":
            raise unittest.SkipTest(outcome.reason)
        if outcome.status == "fail":
            raise AssertionError(f"{outcome.subject}, {spoken(outcome.law)}: {outcome.reason}")


def spoken(name: str) -> str:
    """A law's name with spaces instead of underscores."""
    return name.replace("_", " ")


def describe_exception(error: Exception, origin: str) -> str:
    """One line about an unexpected exception, with the plugin's line that raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == origin]
    where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    text = f"raised {one_line(error)}"[:500]
    hint = ""
    if "inplace operation" in text:
        hint = "; an activation was changed in place: work on a copy"
    return text + where + hint


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
