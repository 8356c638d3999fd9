"""Laws on what a method says of itself: its name, docstring, declarations and parameters."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from legible.bench.check.law import Broken, law
from legible.bench.check.subject import MethodSubject
from legible.bench.errors import UserError, nearest
from legible.bench.plugins import registry
from legible.methods.base import METHODS, NEEDS, Method

#: What a docstring must tell, each as "Word: ...".
PARTS = ("Equation", "Paper", "Repository", "Differences")


@law("methods")
def registers(subject: MethodSubject) -> None:
    """The class is a Method, alone in its file under the file's name."""
    cls = subject.cls
    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise Broken("register a class that inherits from methods.base.Method")
    if cls.name != Path(cls.origin).stem:
        raise Broken(f"'{cls.name}' stands in {Path(cls.origin).name}: @register it there itself")
    module = sys.modules.get(cls.__module__)
    registered = [
        item for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, Method)
        and item.__module__ == cls.__module__ and "name" in vars(item)
    ]  # fmt: skip
    if len({id(item) for item in registered}) > 1:
        names = ", ".join(item.__name__ for item in registered)
        raise Broken(f"{names} are registered in one file: give each method a file of its own")


@law("methods")
def docstring_says_what_it_is(subject: MethodSubject) -> None:
    """A sentence, then equation, paper, repository and differences."""
    text = inspect.cleandoc(subject.cls.__doc__ or "")
    if not text:
        raise Broken(f"the class has no docstring: add a sentence, then {', '.join(PARTS)}")
    missing = [part for part in PARTS if not re.search(rf"\b{part}\w*:\s*\S", text)]
    if missing:
        raise Broken(f"the docstring lacks '{missing[0]}: ...' (needs {', '.join(PARTS)})")
    if re.match(rf"({'|'.join(PARTS)})\b", text):
        raise Broken("the docstring must start with a sentence on what the method does")


@law("methods")
def declarations_hold(subject: MethodSubject) -> None:
    """needs, kind, parent, trains_on and search name things that exist."""
    cls = subject.cls
    for need in cls.needs:
        if need not in NEEDS:
            raise Broken(f"needs: no '{need}'{nearest(need, NEEDS) or ': ' + ', '.join(NEEDS)}")
    if cls.kind not in ("method", "null", "control"):
        raise Broken(f"kind is '{cls.kind}': use method, null or control")
    if cls.parent and cls.parent not in METHODS:
        raise Broken(f"parent: no method '{cls.parent}'{nearest(cls.parent, METHODS)}")
    for name in cls.trains_on:
        if name not in registry.KINDS["metrics"] and not registry.FAILED:
            raise Broken(f"trains_on: no metric '{name}'{nearest(name, registry.KINDS['metrics'])}")
    for name, values in cls.search.items():
        for value in values:
            _made(subject, {name: value}, f"search tries {name} = {value!r}, which is refused: ")


@law("methods")
def parameters_are_checked(subject: MethodSubject) -> None:
    """Defaults and types for all, unknown names and impossible values refused."""
    _made(subject, {}, "the parameters are refused: ")
    signature = inspect.signature(subject.cls).parameters.values()
    for parameter in signature:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Broken(f"__init__ takes *{parameter.name}: name every parameter, so that a "
                         "misspelt one in a suite file is refused")  # fmt: skip
        if parameter.default is parameter.empty:
            raise Broken(f"parameter '{parameter.name}' needs a default")
        if parameter.annotation is parameter.empty:
            raise Broken(f"parameter '{parameter.name}' needs a type, so that suite files are "
                         "checked")  # fmt: skip
    if not _refused(subject, {"strenght": 1.0}):
        raise Broken("an unknown parameter is accepted: name every parameter of __init__")
    if "strength" in [p.name for p in signature]:
        _strength_is_checked(subject)
    elif subject.cls.trains and not subject.cls.parent:
        raise Broken("__init__ needs a parameter 'strength' that scales all the method adds")


def _strength_is_checked(subject: MethodSubject) -> None:
    for value in (-1.0, float("nan")):
        if not _refused(subject, {"strength": value}):
            raise Broken(f"strength = {value} is accepted: pass strength to super().__init__()")
    if not _refused(subject, {"strength": "much"}):
        raise Broken("strength = 'much' is accepted: annotate strength as a float")
    if subject.make(strength=0.25).strength != 0.25:
        raise Broken("self.strength is not what was given: pass strength to super().__init__()")


def _made(subject: MethodSubject, params: dict[str, Any], prefix: str) -> None:
    try:
        subject.make(**params)
    except UserError as error:
        raise Broken(prefix + str(error)) from error


def _refused(subject: MethodSubject, params: dict[str, Any]) -> bool:
    try:
        subject.make(**params)
    except UserError:
        return True
    return False
