"""Errors of plugins: one line that names the hook."""

from __future__ import annotations

import pytest

from legible.bench.errors import UserError
from legible.bench.plugins.faults import HOOKS, PluginFault, fault_text
from legible.methods.base import Method


class Faulty(Method):
    """Raises in two hooks."""

    name = "faulty"

    def penalty(self, step):
        return self.helper()

    def helper(self):
        raise OSError("no\nfile")

    def used_concepts(self):
        raise KeyboardInterrupt


class FaultyAtOnce(Method):
    """Raises when it is made."""

    name = "faulty_at_once"

    def __init__(self):
        raise RuntimeError("x" * 10_000_000)


def text_of(call):
    """The text of the error that a function raises."""
    try:
        call()
    except BaseException as error:
        return fault_text(error)
    raise AssertionError


def test_the_hooks_are_those_of_methods():
    assert {"__init__", "attach", "penalty", "partition", "used_concepts"} <= set(HOOKS)


def test_the_hook_is_named():
    assert text_of(lambda: Faulty().penalty(None)) == (
        "in penalty of method 'faulty': OSError: no file"
    )
    assert text_of(Faulty().used_concepts) == (
        "in used_concepts of method 'faulty': KeyboardInterrupt"
    )


class Wrong(Method):
    """Returns nothing."""

    name = "wrong"

    def penalty(self, step):
        return None


def test_a_hook_that_returns_the_wrong_thing_is_named(tmp_path):
    code = "def step(method, terms):\n    terms |= method.penalty(None)\n"
    (tmp_path / "loop.py").write_text(code)
    names: dict[str, object] = {}
    exec(compile(code, str(tmp_path / "loop.py"), "exec"), names)
    text = text_of(lambda: names["step"](Wrong(), {}))
    assert text.startswith("in penalty of method 'wrong': TypeError: ")


def test_a_long_text_is_cut():
    text = text_of(FaultyAtOnce)
    assert text.startswith("in the constructor of method 'faulty_at_once': RuntimeError: xxx")
    assert len(text) < 700


def test_errors_of_other_code_have_no_place():
    assert text_of(lambda: int("a")).startswith("ValueError: invalid literal")
    assert text_of(lambda: (_ for _ in ()).throw(PluginFault("it hangs"))) == "it hangs"


def test_a_fault_is_an_error_of_one_line_for_the_user():
    with pytest.raises(UserError, match=r"^a b$"):
        raise PluginFault("a\nb")
