"""Score tables that were mutated: each is read, or refused in one line of at most 600 letters.

``LEGIBLE_FUZZ`` is the number of cases; the default is a short form.
"""

from __future__ import annotations

import os
import unicodedata

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from submitted import scores

from legible.bench.scores.score_table import read_scores, scores_text

INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
CASES = int(os.environ.get("LEGIBLE_FUZZ", "200"))
FUZZ = settings(
    max_examples=CASES, deadline=None, derandomize=CASES <= 200, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
WHOLE = scores_text(scores())
LINES = [line.split(",") for line in WHOLE.splitlines()]
CELLS = [
    "", "nan", "inf", "-inf", "1e999", "-1", "1.5", "9" * 30, "9" * 5000, str(2**63), str(2**53),
    "true", '"a', '"a""b"', '"a\nb"', "a\x00b", "\u202e[/x]", "=1+1", "x" * 5000, "{}", "[" * 2000,
    '"{""a"": 1}"', "ok", "failed", "٣", "1_000", " 1", "0x10", "\ud800", "\ufeff",
]  # fmt: skip
SEPARATORS = [",", ";", "\t", "\x1c", "|"]


def with_cell(line: int, column: int, text: str) -> str:
    """The table with another text in a cell."""
    lines = [[*cells] for cells in LINES]
    lines[line % len(lines)][column % len(LINES[0])] = text
    return "\n".join(",".join(cells) for cells in lines)


def with_text(start: int, length: int, text: str) -> str:
    """The table with another text in a place."""
    return WHOLE[:start] + text + WHOLE[start + length :]


def repeated(line: int) -> str:
    """The table with a line that is there twice."""
    lines = WHOLE.splitlines()
    return "\n".join([*lines, lines[line % len(lines)]])


def without_column(column: int) -> str:
    """The table without a column."""
    number = column % len(LINES[0])
    return "\n".join(",".join(cells[:number] + cells[number + 1 :]) for cells in LINES)


def separated(text: str) -> str:
    """The table with another separator."""
    return WHOLE.replace(",", text)


number = st.integers(0, 100)
cell = st.sampled_from(CELLS) | st.text(max_size=20) | st.floats().map(str) | st.integers().map(str)
MUTATED = st.one_of(
    st.builds(with_cell, number, number, cell),
    st.builds(with_text, st.integers(0, len(WHOLE)), st.integers(0, 20), st.text(max_size=8)),
    st.builds(repeated, number),
    st.builds(without_column, number),
    st.builds(separated, st.sampled_from(SEPARATORS)),
    st.text(max_size=200),
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])


@FUZZ
@given(text=MUTATED, encoding=ENCODINGS, windows=st.booleans())
@example(text=WHOLE, encoding="utf-8-sig", windows=True)
@example(text="", encoding="utf-8", windows=False)
def test_a_mutated_table_is_read_or_refused_in_one_line(tmp_path, text, encoding, windows):
    path = tmp_path / "größe [1].csv"
    text = text.replace("\n", "\r\n") if windows else text
    path.write_bytes(text.encode(encoding, "backslashreplace"))
    try:
        table = read_scores(path)
    except ValueError as error:
        message = f"legible: {error}"
        assert len(message) <= 600
        assert not any(unicodedata.category(c) in INVISIBLE for c in message), repr(message)
    else:
        again = scores_text(table)
        path.write_text(again)
        assert scores_text(read_scores(path)) == again  # what is read can be written


def test_the_whole_table_is_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(WHOLE.replace("\n", "\r\n").encode("utf-8-sig"))
    assert len(read_scores(path)) == len(scores())
