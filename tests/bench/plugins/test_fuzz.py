"""Declarations of plugins that were mutated: what is taken can be published, the rest is refused in
one line of at most 600 letters.

``LEGIBLE_FUZZ`` is the number of cases; the default is a short form.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from records import score_row

from legible.bench.errors import UserError, one_line
from legible.bench.plugins import registry
from legible.bench.plugins.declarations import refuse_declaration
from legible.bench.scores.score_table import check_rows
from legible.methods.base import NEEDS, Method

INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
CASES = int(os.environ.get("LEGIBLE_FUZZ", "200"))


def fuzz(cases: int) -> settings:
    return settings(
        max_examples=cases, deadline=None, derandomize=CASES <= 200, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


TEXT = st.text(max_size=80) | st.sampled_from(
    ["", "plain", "method", "null", "control", "a\nb", "\ud800", "=1+1", "@x", "[/x]", "\u202ex",
     "x" * 300, "../x", "norm", "concepts", "a" * 60]
)  # fmt: skip
ANYTHING = st.one_of(TEXT, st.none(), st.booleans(), st.integers(), st.floats(),
                     st.frozensets(TEXT, max_size=2), st.lists(TEXT, max_size=2),
                     st.sampled_from([frozenset([need]) for need in NEEDS]))  # fmt: skip
ATTRIBUTES = ("label", "kind", "needs", "trains", "parent", "fixed", "replaces", "trains_on",
              "claims", "target")  # fmt: skip


def assert_one_line(message: str) -> None:
    assert len(message) <= 600
    assert not any(unicodedata.category(c) in INVISIBLE for c in message), repr(message)


@fuzz(CASES)
@given(name=TEXT, attributes=st.dictionaries(st.sampled_from(ATTRIBUTES), ANYTHING, max_size=3))
@example(name="mine", attributes={"label": "Mine"})
def test_a_method_that_is_taken_can_stand_in_a_table(name, attributes):
    cls = type("Mutated", (Method,), {"label": "mutated", **attributes})
    try:
        refuse_declaration("methods", name, cls)
    except Exception as error:  # as a plugin file's loading catches it
        assert_one_line(f"legible: plugin x.py: {one_line(error)}")
    else:
        row = score_row(method=name, label=cls.label, kind=cls.kind)
        check_rows([row.model_dump()])


SOURCE = '''
from legible import Method, Step, register


@register
class Mine(Method):
    """Keeps activations small."""

    label = "mine"
    kind = "method"
    needs = frozenset({"spatial"})
    acts_on = "last"

    def __init__(self, strength: float = 1.0, size: int = 3, name: str = "x"):
        super().__init__(strength)
        self.size = size

    def penalty(self, step: Step):
        return {"size": self.strength * step.activations[self.taps[0]].square().mean()}
'''
LINES = SOURCE.splitlines()
INSERTS = ["@register", "x = 1 / 0", "    kind = 3", "    label = '=1'", "import nothing_there",
           "    parent = 'mine'", "    parent = 'plain'", "raise SystemExit(3)", "    def (",
           "\x00", "class Mine2(Method): pass", "def __init__(self, *args): pass",
           "from __future__ import", "# coding: utf-7", "    needs = ('nothing',)",
           "raise KeyboardInterrupt", "    " * 300 + "x",
           "(" * 300]  # fmt: skip


def with_line(number: int, text: str) -> str:
    """The source with one more line."""
    return "\n".join([*LINES[:number], text, *LINES[number:]])


def with_text(start: int, length: int, text: str) -> str:
    """The source with another text in a place."""
    return SOURCE[:start] + text + SOURCE[start + length :]


MUTATED = st.one_of(
    st.builds(with_line, st.integers(0, len(LINES)), st.sampled_from(INSERTS)),
    st.builds(with_text, st.integers(0, len(SOURCE)), st.integers(0, 30), st.text(max_size=8)),
)


@fuzz(max(20, CASES // 50))  # each is loaded in a process of its own first
@given(text=MUTATED, encoding=st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
@example(text=SOURCE, encoding="utf-8-sig")
def test_a_mutated_plugin_file_is_taken_or_refused_in_one_line(
    tmp_path_factory, kept_registry, text: str, encoding: str
):
    path = tmp_path_factory.mktemp("plugins") / "mutated.py"
    path.write_bytes(text.encode(encoding, "backslashreplace"))
    try:
        names: Any = registry.load_plugin(path)
    except UserError as error:
        assert_one_line(f"legible: {error}")
        assert "mutated" not in registry.METHODS
    else:
        for kind, name in names:
            refuse_declaration(kind, name, registry.KINDS[kind][name])
        registry.METHODS.pop("mutated", None)
