"""What a plugin says of itself, checked when it is loaded: before anything runs."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from legible.bench.errors import nearest
from legible.methods.base import NEEDS
from legible.metrics.base import scope

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
LONGEST_LABEL = 60
METHOD_KINDS = ("method", "null", "control")
FORMULA = tuple("=+-@")  # what a spreadsheet that opens scores.csv would execute


def refuse_declaration(kind: str, name: str, item: Any) -> None:
    """ValueError, in one line, for a plugin that could run but not be published.

    ``kind`` is "methods", "metrics", "datasets" or "backbones".
    """
    singular = kind.removesuffix("s")
    if not NAME.fullmatch(name):
        text = ascii(name[:60])
        raise ValueError(
            f"{singular} {text}: a name has at most 60 letters, digits and _, and starts with a "
            "letter (a method is named like its file)"
        )
    if kind == "methods":
        _refuse_method(name, item)
    if kind == "metrics":
        _refuse_metric(name, item)


def _refuse_metric(name: str, item: Any) -> None:
    if problem := label_problem(item.title):
        raise ValueError(f"metric '{name}': title {problem}")
    signature = inspect.signature(item.function)
    count = (
        3 if scope(item.function) in ("seeds", "splits") and len(signature.parameters) == 3 else 2
    )
    try:
        signature.bind(*[None] * count)
    except TypeError:
        raise ValueError(
            f"metric '{name}': its arguments are {signature}, but a metric is called with two, "
            "like (layer, probe)"
        ) from None


def _refuse_method(name: str, cls: Any) -> None:
    if problem := label_problem(cls.label):
        raise ValueError(f"method '{name}': label {problem}")
    if cls.kind not in METHOD_KINDS:
        raise ValueError(_unknown(name, "kind", cls.kind, METHOD_KINDS))
    for need in cls.needs:
        if need not in NEEDS:
            raise ValueError(_unknown(name, "need", need, NEEDS))
    if cls.parent == name:
        raise ValueError(f"method '{name}': its parent is itself")


def _unknown(name: str, what: str, value: Any, valid: Iterable[str]) -> str:
    names = list(valid)
    hint = nearest(str(value), names) or f" (one of: {', '.join(names)})"
    return f"method '{name}': no {what} {ascii(value)[:60]}{hint}"


def label_problem(label: Any) -> str:
    """Why a text cannot be shown in a table; empty if it can."""
    if not isinstance(label, str):
        return f"is a {type(label).__name__}: use text"
    if len(label) > LONGEST_LABEL:
        return f"has {len(label)} characters: use at most {LONGEST_LABEL}"
    if any(unicodedata.category(letter)[0] == "C" for letter in label):
        return "has control characters or line breaks: use one line of text"
    if label.startswith(FORMULA):
        return f"starts with '{label[0]}', which a spreadsheet would execute: use another letter"
    return ""
