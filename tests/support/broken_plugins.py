"""Text of plugin files that break a law, and what the tests of laws ask of a check."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from legible.bench.check.conformance import check, checks
from legible.bench.check.laws import LAWS, LawOutcome

#: A method's file up to the class's body.
HEAD = '''
import random
import typing
import numpy as np
import torch
from torch import nn
from legible import Method, Target, register

@register
class Broken(Method):
    """Breaks one law.

    Equation: L = CE + s * mean |a|.
    Paper: none. Repository: none. Differences: none.
    """

    acts_on = "last"
    target_reason = "has no metric"
'''

#: A valid penalty.
L1 = """
def penalty(self, step):
    return {"l1": self.strength * step.activations[self.taps[0]].abs().mean()}
"""

#: The head of an attach hook.
ATTACH = "def attach(self, network, data):\n    super().attach(network, data)\n"

#: Law -> name of a method -> the class's body, which breaks this law.
BrokenMethods = dict[str, dict[str, str]]


def first_of_each(table: BrokenMethods) -> list[tuple[str, str]]:
    """Law and name of the first broken plugin of each law: they must break no other law."""
    return [(law, next(iter(plugins))) for law, plugins in table.items()]


def all_others(table: BrokenMethods) -> list[tuple[str, str]]:
    """Law and name of the other broken plugins."""
    return [(law, name) for law, plugins in table.items() for name in list(plugins)[1:]]


def failures(target: str | Path, **params: object) -> dict[str, str]:
    """The reasons of all laws that fail, by law."""
    outcomes = outcomes_of(target, **params).values()
    return {outcome.law: outcome.reason for outcome in outcomes if outcome.status == "fail"}


def outcomes_of(target: str | Path, **params: object) -> dict[str, LawOutcome]:
    """All outcomes by law."""
    return {outcome.law: outcome for outcome in check(target, **params)}


def outcome_of(law: str, target: str | Path) -> LawOutcome:
    """The outcome of a single law."""
    (case,) = (case for case in checks(target) if case.name == law)
    return case.outcome()


def laws_in(module: ModuleType, kind: str = "methods") -> set[str]:
    """The names of the laws that a module defines."""
    laws = LAWS[kind].values()
    return {law.name for law in laws if law.check.__module__ == module.__name__}
