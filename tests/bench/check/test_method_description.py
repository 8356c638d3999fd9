"""Laws about a method's file and class."""

from __future__ import annotations

from typing import Any

import pytest
from broken_plugins import (
    HEAD,
    L1,
    BrokenMethods,
    all_others,
    failures,
    first_of_each,
    laws_in,
    outcome_of,
)

from legible.bench.check import method_description
from legible.bench.check.laws import Violation
from legible.bench.check.method_description import registers
from legible.bench.check.method_subject import MethodSubject
from legible.methods.base import Method

#: Law -> name of a method -> the class's body, which breaks this law.
BROKEN: BrokenMethods = {
    "declarations_are_valid": {
        "refused_search": L1 + "search = {'strength': (1.0, -1.0)}",
        "unknown_parent": L1 + "parent = 'plane'",
        "unknown_metric": L1 + "trains_on = frozenset({'order_parametre'})",
    },
    "treatment_is_declared": {
        "no_target": L1 + "target_reason = ''",
        "unknown_target": L1 + "target = Target('order_parametre', 'higher')",
        "no_direction": L1 + "target = Target('order_parameter', 'more')",
    },
    "parameters_are_checked": {
        "negative_strength": """
            def __init__(self, strength: float = 1.0):
                super().__init__(1.0)
                self.strength = strength

            def penalty(self, step):
                return {"l1": self.strength * step.activations[self.taps[0]].abs().mean()}
        """,
        "any_parameter": """
            def __init__(self, strength: float = 1.0, **rest):
                super().__init__(strength)
        """,
        "untyped": """
            def __init__(self, strength: float = 1.0, gamma=2):
                super().__init__(strength)
        """,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("law", "name"), first_of_each(BROKEN))
def test_only_the_broken_law_fails(law: str, name: str, write_method: Any) -> None:
    reasons = failures(write_method(name, BROKEN[law][name]))
    assert set(reasons) == {law}, reasons


@pytest.mark.slow
@pytest.mark.parametrize(("law", "name"), all_others(BROKEN))
def test_the_law_fails_when_broken_in_other_ways(law: str, name: str, write_method: Any) -> None:
    outcome = outcome_of(law, write_method(name, BROKEN[law][name]))
    assert outcome.status == "fail"
    assert len(outcome.reason) > 20  # says what to do


def test_every_law_is_broken_by_a_method() -> None:
    others = {"docstring_is_complete", "registers"}  # tested below
    assert set(BROKEN) | others == laws_in(method_description)


@pytest.mark.parametrize(
    ("name", "bases", "origin", "reason"),
    [
        ("mine", (object,), "/x/mine.py", "from legible import Method"),
        ("mine", (Method,), "/x/__init__.py", "is defined in __init__.py: define it in mine.py"),
    ],
)
def test_a_method_is_a_method_in_a_file_of_its_name(
    name: str, bases: tuple[type, ...], origin: str, reason: str
) -> None:
    """An entry point can register such a class; a plugin file cannot."""
    cls = type("Mine", bases, {"name": name, "origin": origin})
    subject = object.__new__(MethodSubject)
    subject.cls = cls
    with pytest.raises(Violation, match=reason):
        registers(subject)


@pytest.mark.parametrize("part", ["Equation", "Paper", "Repository", "Differences"])
def test_the_docstring_needs_every_part(part: str, write_method: Any) -> None:
    head = HEAD.replace(f"{part}:", "Something:")
    path = write_method(f"without_{part.lower()}", L1, head)
    assert f"lacks '{part}: ...'" in outcome_of("docstring_is_complete", path).reason


def test_a_method_needs_a_docstring(write_method: Any) -> None:
    head = "from legible import Method, register\n@register\nclass Silent(Method):\n    pass\n"
    path = write_method("silent", "", head)
    assert "no docstring" in outcome_of("docstring_is_complete", path).reason
