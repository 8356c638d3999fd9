"""Laws about a method's file and class: name, docstring, declarations and parameters."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from legible.bench.check.laws import NotApplicable, Violation, law
from legible.bench.check.method_subject import MethodSubject
from legible.bench.errors import UserError, nearest
from legible.bench.plugins import registry
from legible.methods.base import METHODS, Method

#: What a docstring must contain, each as "Word: ...".
PARTS = ("Equation", "Paper", "Repository", "Differences")


@law("methods")
def registers(subject: MethodSubject) -> None:
    """The class is a Method and is defined in a file of its own name."""
    cls = subject.cls
    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise Violation("register a subclass of Method (from legible import Method)")
    if cls.name != Path(cls.origin).stem:
        raise Violation(f"'{cls.name}' is defined in {Path(cls.origin).name}: define it in "
                        f"{cls.name}.py")  # fmt: skip


@law("methods")
def docstring_is_complete(subject: MethodSubject) -> None:
    """The docstring has a first sentence, the equation, paper, repository and differences."""
    text = inspect.cleandoc(subject.cls.__doc__ or "")
    if not text:
        raise Violation(f"the class has no docstring: add a sentence, then {', '.join(PARTS)}")
    missing = [part for part in PARTS if not re.search(rf"\b{part}\w*:\s*\S", text)]
    if missing:
        raise Violation(f"the docstring lacks '{missing[0]}: ...' (it needs {', '.join(PARTS)})")
    if re.match(rf"({'|'.join(PARTS)})\b", text):
        raise Violation("the docstring must start with a sentence that says what the method does")


@law("methods")
def declarations_are_valid(subject: MethodSubject) -> None:
    """parent and trains_on name plugins that exist; search has only valid values."""
    cls = subject.cls
    if cls.parent and cls.parent not in METHODS:
        raise Violation(f"parent: no method '{cls.parent}'{nearest(cls.parent, METHODS)}")
    metrics = registry.KINDS["metrics"]
    for name in cls.trains_on:
        if name not in metrics and not registry.FAILED:
            raise Violation(f"trains_on: no metric '{name}'{nearest(name, metrics)}")
    for name, values in cls.search.items():
        for value in values:
            if reason := _refusal(subject, {name: value}):
                raise Violation(f"search: {name} = {value!r} is refused: {reason}")


@law("methods", "declarations_are_valid")
def treatment_is_declared(subject: MethodSubject) -> str:
    """The method names a target, a metric that should move, or the reason why it has none."""
    method = subject.make()
    if method.parent or not method.trains:
        raise NotApplicable("trains nothing")
    if method.target is None:
        if not method.target_reason.strip():
            raise Violation(
                "declare what it treats: target = Target('METRIC', 'lower') (from legible import "
                "Target), or target_reason = 'why nothing can be compared'"
            )
        return f"no target: {method.target_reason}"
    name, better = method.target
    metrics = registry.KINDS["metrics"]
    if name not in metrics:
        raise Violation(f"target: no metric '{name}'{nearest(name, metrics)}")
    if better not in ("higher", "lower"):
        raise Violation(f"target: better is '{better}': use 'higher' or 'lower'")
    return f"{name}, {better}"


@law("methods")
def parameters_are_checked(subject: MethodSubject) -> None:
    """Every parameter has a default and a type; unknown names and impossible values are refused."""
    if reason := _refusal(subject, {}):
        raise Violation(f"the parameters are refused: {reason}")
    signature = inspect.signature(subject.cls).parameters.values()
    for parameter in signature:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Violation(f"__init__ takes *{parameter.name}: name every parameter, so that "
                            "typing errors in suite files are refused")  # fmt: skip
        if parameter.default is parameter.empty:
            raise Violation(f"parameter '{parameter.name}' needs a default")
        if parameter.annotation is parameter.empty:
            raise Violation(f"parameter '{parameter.name}' needs a type, so that the values in "
                            "suite files are checked")  # fmt: skip
    if not _refusal(subject, {"strenght": 1.0}):
        raise Violation("an unknown parameter is accepted: name every parameter of __init__")
    if "strength" in [p.name for p in signature]:
        _check_strength(subject)
    elif subject.trains:
        raise Violation("__init__ needs a parameter 'strength' that scales all the method adds")


def _check_strength(subject: MethodSubject) -> None:
    for value in (-1.0, float("nan")):
        if not _refusal(subject, {"strength": value}):
            raise Violation(f"strength = {value} is accepted: pass strength to super().__init__()")
    if not _refusal(subject, {"strength": "much"}):
        raise Violation("strength = 'much' is accepted: annotate strength as a float")
    if subject.make(strength=0.25).strength != 0.25:
        raise Violation("self.strength is not the parameter's value: pass strength to "
                        "super().__init__()")  # fmt: skip


def _refusal(subject: MethodSubject, params: dict[str, Any]) -> str:
    """Why the method refuses its parameters with these changes; empty if it accepts them."""
    try:
        subject.make(**params)
    except UserError as error:
        return str(error)
    return ""
