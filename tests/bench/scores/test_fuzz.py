"""Submissions that were mutated: each is merged, or refused in one line of at most 600 letters.

``LEGIBLE_FUZZ`` is the number of cases; the default is a short form.
"""

from __future__ import annotations

import copy
import json
import os
import unicodedata
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from submitted import ANYTHING, EXPECTED, WHOLE, scores, sign

from legible.bench.scores.submission import SubmissionError, check, merge, read, to_text

INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
CASES = int(os.environ.get("LEGIBLE_FUZZ", "200"))
FUZZ = settings(
    max_examples=CASES, deadline=None, derandomize=CASES <= 200, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
HOSTILE = [
    2**63, -(2**63) - 1, 10**400, 2**53, -1, True, None, "\ud800", "\x00", "a\nb", "[/x]", "=1+1",
    "x" * 5000, [], {}, 1.5, "../escape", "verdicts", "20240131123456", [[[[[]]]]],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [(key, item) for key, item in items]
    return [p for key, item in inner for p in [(*path, key), *(
        places(item, (*path, key)) if isinstance(item, dict | list) else [])]]  # fmt: skip


PLACES = places(WHOLE)


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The submission with another value in a place."""
    whole = copy.deepcopy(WHOLE)
    inner: Any = whole
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return whole


def repeated(row: int) -> dict[str, Any]:
    """The submission with a row that is there twice."""
    rows = WHOLE["scores"]
    return WHOLE | {"scores": [*rows, rows[row % len(rows)]]}


CONTENT = st.one_of(
    st.builds(changed, st.sampled_from(PLACES), st.sampled_from(HOSTILE) | ANYTHING),
    st.builds(repeated, st.integers(0, 20)),
)
TEXTS = st.builds(
    lambda content, number: json.dumps(content).replace("0.5", number),
    CONTENT.map(sign), st.sampled_from(["0.5", "0.5", "1e999", "1e-400", "-0.0", "9" * 5000]),
)  # fmt: skip
DEEP = json.dumps(sign(WHOLE)).replace('"done"', "[" * 2000 + "]" * 2000, 1)


@FUZZ
@given(text=TEXTS, mark=st.booleans())
@example(text=DEEP, mark=True)
@example(text=json.dumps(sign(repeated(0))), mark=False)
def test_a_mutated_submission_is_merged_or_refused_in_one_line(tmp_path, text, mark):
    path = tmp_path / "größe [1].json"
    path.write_text(text.replace("{", "{\r\n"), encoding="utf-8-sig" if mark else "utf-8")
    try:
        submission = read(path)
        check(submission, EXPECTED)
        merge(scores(), [submission])
    except SubmissionError as error:
        message = f"legible: {error}"
        assert len(message) <= 600
        assert not any(unicodedata.category(c) in INVISIBLE for c in message)
    else:
        path.write_bytes(to_text(submission).encode())
        assert read(path) == submission  # what is merged can be read by `publish`


def test_the_whole_submission_is_merged(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(sign(WHOLE)), encoding="utf-8-sig")
    table, _ = merge(scores(), [read(path)])
    assert len(table) == 2 * len(scores())
