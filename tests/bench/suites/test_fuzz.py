"""Suite files that were mutated: each is taken, or refused in one line of at most 600 letters.

``LEGIBLE_FUZZ`` is the number of cases; the default is a short form.
"""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_suites import toy_suite

from legible.bench.errors import UserError
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import read_suite

INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
CASES = int(os.environ.get("LEGIBLE_FUZZ", "300"))
FUZZ = settings(
    max_examples=CASES, deadline=None, derandomize=CASES <= 300, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

WHOLE = toy_suite(
    '"plain", {name = "sync", focus = 0.5, taps = ["conv1"]}', [0, 1], recipe="lr = 1e-2",
    top='headline = {task = "accuracy"}\nplugins = []', block="shots = 3\ndata = {images = 96}",
)  # fmt: skip
LINES = WHOLE.splitlines()
VALUES = [
    "[]", "{}", "true", '""', "nan", "inf", "-inf", "-1", "0", "1e308", "-0.0", "9" * 30,
    "9" * 5000, str(2**63), str(2**63 - 1), str(-(2**63)), "20240131123456", "[" * 2000,
    "[" * 300 + "]" * 300, "{a = " * 200 + "1" + "}" * 200, '"\\u0000"', '"a\\nb"', '"\\u202e[/x]"',
    '"../escape"', '"/absolute"', '"' + "x" * 10_000 + '"', "1979-05-27", "9999-99-99", "07:32:00",
    "[[]]", "[0, 0]", "[true]", "[-1]", "[0.5]", '["plain", "plain"]', "[{}]", "0x7fffffffffffffff",
    '{stages = 30}', '{width = 4000000000}', '{width = -1}', '{depth = 999999999999}',
]  # fmt: skip
KEYS = ["name", "seeds", "layers", "version", "title", "probe", "aspects", "methods", "recipe",
        "epochs", "batch", "lr", "net", "data", "tune", "plugins", "clip", "watch", "x" * 300,
        '"[/x]"', '"a\\nb"', "a.b.c.d.e.f.g.h.i.j.k"]  # fmt: skip


def with_value(line: int, value: str) -> str:
    """The suite with another value in a line."""
    lines = [*LINES]
    key, equals, _ = lines[line].partition("=")
    lines[line] = f"{key}{equals or '='} {value}"
    return "\n".join(lines)


def with_line(line: int, key: str, value: str) -> str:
    """The suite with one more line."""
    return "\n".join([*LINES[:line], f"{key} = {value}", *LINES[line:]])


def with_text(start: int, length: int, text: str) -> str:
    """The suite with another text in a place."""
    return WHOLE[:start] + text + WHOLE[start + length :]


def twice(first: int, last: int) -> str:
    """The suite with some lines that stand there twice."""
    return "\n".join([*LINES[:last], *LINES[first:last], *LINES[last:]])


number = st.integers(0, len(LINES) - 1)
some_value = st.sampled_from(VALUES) | st.integers().map(str) | st.floats().map(str)
MUTATED = st.one_of(
    st.builds(with_value, number, some_value),
    st.builds(with_line, number, st.sampled_from(KEYS), some_value),
    st.builds(with_text, st.integers(0, len(WHOLE)), st.integers(0, 20), st.text(max_size=8)),
    st.builds(twice, number, number),
    st.text(max_size=200),
)  # fmt: skip
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])


@pytest.mark.usefixtures("toy_plugin")
@FUZZ
@given(text=MUTATED, encoding=ENCODINGS, windows=st.booleans())
@example(text=WHOLE, encoding="utf-8-sig", windows=True)
def test_a_mutated_suite_is_taken_or_refused_in_one_line(tmp_path, text, encoding, windows):
    path = tmp_path / "größe [1].toml"
    text = text.replace("\n", "\r\n") if windows else text
    path.write_bytes(text.encode(encoding, "backslashreplace"))
    try:
        assert expand(read_suite(path))
    except UserError as error:
        message = f"legible: {error}"
        assert len(message) <= 600
        assert not any(unicodedata.category(c) in INVISIBLE for c in message)


def test_the_whole_suite_is_taken(tmp_path, toy_plugin):
    path = tmp_path / "größe [1].toml"
    path.write_bytes(WHOLE.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_suite(path).name == "größe [1]" and len(expand(read_suite(path))) == 4
