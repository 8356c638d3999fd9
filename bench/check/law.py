"""What a law is, and what comes of holding a plugin to it."""

from __future__ import annotations

import contextlib
import random
import traceback
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch

#: The reason of a law that is not tried because one it builds on is broken.
WAITING = "first mend: "
Status = Literal["pass", "fail", "skip"]


class Broken(Exception):
    """The plugin breaks the law; the message says what to change."""


class Skip(Exception):
    """The law does not apply here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What came of one law for one plugin; ``reason`` may hold a remark where it passed."""

    subject: str
    check: str
    status: Status
    reason: str = ""


@runtime_checkable
class Subject(Protocol):
    """A plugin as laws meet it: its name, its file, and what came of earlier laws."""

    label: str
    origin: str
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class Law:
    """``holds`` raises Broken or Skip, or returns a remark; ``after`` names laws it builds on."""

    name: str
    holds: Callable[[Any], str | None]
    after: tuple[str, ...]


#: All laws by kind of plugin, in the order they are shown.
LAWS: dict[str, dict[str, Law]] = {"methods": {}, "metrics": {}, "datasets": {}, "backbones": {}}


def law(kind: str, *after: str) -> Callable[[Callable[[Any], str | None]], Any]:
    """Adds a law under its function's name. It is skipped where one of ``after`` is broken."""

    def add(holds: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        LAWS[kind][holds.__name__] = Law(holds.__name__, holds, after)
        return holds

    return add


@dataclass(frozen=True)
class Case:
    """One law for one plugin, ready to be tried, also by pytest: call it."""

    kind: str
    subject: Subject
    name: str

    def __str__(self) -> str:
        return f"{self.subject.label.replace(' ', '-')}-{self.name}"

    def outcome(self) -> Outcome:
        """Tries the law, once for each subject; a law this one builds on is tried before."""
        known = self.subject.outcomes
        if self.name not in known:
            status, reason = self._try()
            known[self.name] = Outcome(self.subject.label, self.name, status, reason)
        return known[self.name]

    def _try(self) -> tuple[Status, str]:
        if earlier := self._broken_before():
            return "skip", WAITING + spoken(earlier)
        try:
            with one_thread(), random_state_kept():
                return "pass", LAWS[self.kind][self.name].holds(self.subject) or ""
        except Skip as reason:
            return "skip", one_line(reason)
        except Broken as reason:
            return "fail", one_line(reason)
        except Exception as error:
            return "fail", raised(error, self.subject.origin)

    def _broken_before(self) -> str:
        """The first broken one of the laws that this one builds on; empty where all hold."""
        for earlier in LAWS[self.kind][self.name].after:
            case = Case(self.kind, self.subject, earlier)
            if case.outcome().status == "fail":
                return earlier
            if broken := case._broken_before():
                return broken
        return ""

    def __call__(self) -> None:
        """For a test: AssertionError where the law is broken, SkipTest where it does not apply."""
        __tracebackhide__ = True  # pytest then shows the test, not this function
        found = self.outcome()
        if found.status == "skip":
            raise unittest.SkipTest(found.reason)
        if found.status == "fail":
            raise AssertionError(f"{found.subject}, {spoken(found.check)}: {found.reason}")


def spoken(name: str) -> str:
    """A law's name as words."""
    return name.replace("_", " ")


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def raised(error: Exception, origin: str) -> str:
    """An unexpected exception as a reason, with the line of the plugin it passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == origin]
    where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    text = f"raised {type(error).__name__}: {one_line(error)}"[:500]
    hint = ""
    if "inplace operation" in text:
        hint = "; an activation was changed in place: work on a copy"
    return text + where + hint


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As in a benchmark cell: results then do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def random_state() -> tuple[Any, ...]:
    """The state of the global generators of torch, NumPy and Python."""
    legacy = np.random.get_state()  # noqa: NPY002  (what plugins must not draw from)
    return torch.get_rng_state(), legacy, random.getstate()


def seed_globals(seed: int = 0) -> None:
    """Puts the global generators at a known place."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Leaves the caller's global generators as they were."""
    state, legacy, own = random_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(own)


def moved_generator(first: tuple[Any, ...], second: tuple[Any, ...]) -> str:
    """The first global generator, torch's or NumPy's, that moved; empty where neither did.

    Python's own is left out: type checkers draw from it.
    """
    if not torch.equal(first[0], second[0]):
        return "torch"
    same = np.array_equal(first[1][1], second[1][1]) and first[1][2] == second[1][2]
    return "" if same else "numpy.random"
