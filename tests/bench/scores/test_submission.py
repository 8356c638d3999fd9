"""Submissions: packed, read back, merged with their origin; everything hostile is refused."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.documents import documents
from legible.bench.leaderboard.html import render_html
from legible.bench.leaderboard.markdown import render
from legible.bench.scores import submission as submissions
from legible.bench.scores.score_table import COLUMNS
from legible.bench.scores.submission import (
    SubmissionError,
    check,
    disagreements,
    merge,
    pack,
    read,
    to_text,
    verdict,
)
from legible.metrics.base import Metric


def describe(name, aspect, limits):
    return Metric(name, lambda: None, aspect, "higher", "unit", None, frozenset(), True, name,
                  limits, "")  # fmt: skip


METRICS = {
    "accuracy": describe("accuracy", "task", (0.0, 1.0)),
    "iou": describe("iou", "semantics", (0.0, 1.0)),
}
EXPECTED = submissions.Expected(
    "quick", 1, {"kanji": "f00d" * 4}, frozenset({("kanji", "vgg")}), frozenset({0, 1, 2}),
    METRICS, {"accuracy": "key a", "iou": "key b"},
)  # fmt: skip
PLUGIN = {"mine.py": "raise SystemExit('executed')\n"}


def scores(method="mine", shift=0.0):
    rows = []
    for seed in range(3):
        for metric in METRICS.values():
            value = 0.5 + 0.1 * seed + shift
            layer = "" if metric.name == "accuracy" else "stage2"
            rows.append(
                ("kanji", "vgg", method, method, "method", "{}", seed, layer, metric.name,
                 metric.aspect, value, value, 0, 8, "ok", "", f"kanji-vgg-{method}-s{seed}-0f")
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def runs(method="mine"):
    return {f"kanji-vgg-{method}-s{seed}-0f": {"status": "done"} for seed in range(3)}


@pytest.fixture
def submission():
    return pack(scores(), runs(), PLUGIN, EXPECTED, "Lab X")


@pytest.fixture
def write(tmp_path):
    def to(content, name="s.json"):
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    return to


def test_a_submission_survives_the_trip(submission, write):
    back = read(write(to_text(submission)))
    assert back == submission
    assert to_text(back) == to_text(submission)
    check(back, EXPECTED)


def test_merging_marks_the_origin_and_never_replaces_our_rows(submission):
    table, marks = merge(scores(), [submission])
    assert set(table["method"]) == {"mine", "mine@Lab X"}
    assert marks == {"mine@Lab X": "submitted by Lab X; not rerun here"}
    ours = table[table["method"] == "mine"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, submissions.tidy(scores()))
    text = render(Board(table, marks=marks, metrics=METRICS))
    assert "submitted by Lab X; not rerun here" in text


def test_the_committed_schema_is_the_code_s():
    path = Path(__file__).parents[2] / "bench" / "schema" / "submission.json"
    assert json.loads(path.read_text()) == submissions.schema()


def test_two_submissions_from_one_origin_are_refused(submission):
    with pytest.raises(SubmissionError, match="two submissions"):
        merge(scores(), [submission, submission])


def test_a_rerun_that_agrees_or_not_is_told(submission):
    same = scores()[lambda t: t["seed"] == 0]
    assert disagreements(submission, same) == []
    other = scores(shift=0.01)[lambda t: t["seed"] == 0]
    lines = disagreements(submission, other)
    assert len(lines) == 2
    said = {submission.sha256: verdict(lines, 0)}
    _, marks = merge(scores(), [submission], said)
    assert "FLAGGED: a rerun of seed 0 disagrees in 2 values" in marks["mine@Lab X"]
    assert verdict([], 1) == "a rerun of seed 1 agrees"


def test_scores_held_back_are_told():
    held_back = scores()[lambda t: t["metric"] == "iou"]
    found = pack(held_back, runs(), {}, EXPECTED, "Lab X")
    lines = disagreements(found, scores()[lambda t: t["seed"] == 0])
    assert lines == ["kanji/vgg/mine/{}/0//accuracy: measured in the rerun, not submitted"]


def test_a_rerun_of_something_else_proves_nothing(submission):
    with pytest.raises(SubmissionError, match="no cell in common"):
        disagreements(submission, scores("other"))


def edited(submission, **changes):
    """The submission's content with changes and a hash that fits."""
    content = json.loads(to_text(submission)) | changes
    content["sha256"] = "0" * 64
    with contextlib.suppress(SubmissionError):
        content["sha256"] = submissions._validated(content).digest()
    return content


def changed_row(submission, **changes):
    rows = json.loads(to_text(submission))["scores"]
    return edited(submission, scores=[rows[0] | changes, *rows[1:]])


FORM = [
    ({"origin": "../../etc"}, "origin"),
    ({"origin": "<script>"}, "origin"),
    ({"origin": ""}, "origin"),
    ({"version": 2}, "version"),
    ({"format": "zip"}, "format"),
    ({"scores": []}, "scores"),
    ({"scores": "all"}, "scores"),
    ({"scores": [[1, 2]]}, "scores"),
    ({"extra": 1}, "extra"),
    ({"suite_version": "1"}, "suite_version"),
    ({"suite_version": True}, "suite_version"),
    ({"data": {"kanji": 3}}, "data"),
    ({"runs": {"../../run": {}}}, "runs"),
    ({"runs": {"a/b": {}}}, "runs"),
    ({"plugins": [{"name": "../x.py", "sha256": "0" * 64, "source": ""}]}, "plugins"),
    ({"plugins": [{"name": "/x.py", "sha256": "0" * 64, "source": ""}]}, "plugins"),
    ({"plugins": [{"name": "x.py\n", "sha256": "0" * 64, "source": ""}]}, "plugins"),
    ({"plugins": [{"name": "x.py", "sha256": "0" * 64, "source": "1"}]}, "x.py"),
]


@pytest.mark.parametrize("changes, message", FORM)
def test_a_wrong_form_is_refused_in_one_line(submission, write, changes, message):
    refused(lambda: read(write(edited(submission, **changes))), message)


ROWS = [
    ({"value": 1.5}, "outside 0 to 1"),
    ({"live": -3.0}, "outside 0 to 1"),
    ({"value": None}, "no value and no reason"),
    ({"undefined": 9}, "9 of 8"),
    ({"dataset": "mnist"}, "not a block"),
    ({"backbone": "other"}, "not a block"),
    ({"seed": 7}, "seed 7"),
    ({"metric": "made_up"}, "not known"),
    ({"metric": ""}, "without a metric"),
    ({"aspect": "focus"}, "aspect"),
    ({"run": "nowhere"}, "not in the submission"),
    ({"label": "=cmd|' /C calc'!A0"}, "formula"),
    ({"method": "@SUM(1)"}, "formula"),
    ({"reason": "-2+3"}, "formula"),
]


@pytest.mark.parametrize("changes, message", ROWS)
def test_a_row_that_cannot_be_true_is_refused(submission, write, changes, message):
    found = read(write(changed_row(submission, **changes)))
    refused(lambda: check(found, EXPECTED), message)


@pytest.mark.parametrize(
    "changes",
    [{"value": "0.5"}, {"value": True}, {"value": "NaN"}, {"seed": 1.5}, {"seed": "0"},
     {"method": "m\nn"}, {"method": "m" * 300}, {"kind": "winner"}, {"params": "]["},
     {"params": "[" * 1900}, {"count": -1}],
)  # fmt: skip
def test_a_row_of_wrong_types_is_refused(submission, write, changes):
    refused(lambda: read(write(changed_row(submission, **changes))), "scores.0")


TEXTS = {
    "empty": "",
    "not json": "PK\x03\x04",
    "null": "null",
    "a list": "[]",
    "deep": "[" * 100_000,
    "NaN": '{"origin": NaN}',
    "infinity": '{"origin": -Infinity}',
    "twice": '{"origin": "a", "origin": "b"}',
    "huge number": '{"suite_version": ' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_no_submission_is_refused(write, name):
    refused(lambda: read(write(TEXTS[name])), "s.json")


def test_numbers_beyond_floats_are_refused(submission, write):
    text = json.dumps(changed_row(submission, value=0.123456)).replace("0.123456", "1e999")
    refused(lambda: read(write(text)), "finite")


def test_files_that_are_no_files_or_too_large_are_refused(tmp_path, submission, write, monkeypatch):
    refused(lambda: read(tmp_path), "not a file")
    refused(lambda: read(tmp_path / "none.json"), "cannot be read")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read(tmp_path / "pipe"), "not a file")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    refused(lambda: read(tmp_path / "bytes"), "cannot be read")
    monkeypatch.setattr(submissions, "LARGEST", 10)
    refused(lambda: read(write(to_text(submission))), "larger than")


def test_damage_shows(submission, write):
    text = to_text(submission).replace("0.5", "0.6", 1)
    refused(lambda: read(write(text)), "does not fit its sha256")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"suite_version": 2}, "quick version 2"),
        ({"suite": "standard"}, "suite standard"),
        ({"data": {"kanji": "beef"}}, "data 'kanji'"),
        ({"data": {}}, "no data fingerprint"),
        ({"metrics": {"accuracy": "key z", "iou": "key b"}}, "metric 'accuracy'"),
        ({"metrics": {}}, "source is not named"),
    ],
)
def test_what_cannot_be_compared_is_refused(submission, write, changes, message):
    found = read(write(edited(submission, **changes)))
    refused(lambda: check(found, EXPECTED), message)


def test_markup_in_names_is_shown_and_never_live(submission, write):
    evil = "<img src=x onerror=alert(1)>|`[a](javascript:b)"
    rows = [
        row | {"label": evil, "method": evil} for row in json.loads(to_text(submission))["scores"]
    ]
    found = read(write(edited(submission, scores=rows)))
    check(found, EXPECTED)
    table, marks = merge(scores(), [found])
    board = Board(table, marks=marks, metrics=METRICS)
    for text in (render(board), render_html(board)):
        assert "<img" not in text
    assert "](javascript" not in render(board)


def test_nothing_of_a_plugin_is_executed(submission, write):
    """The packed plugin would end this process."""
    found = read(write(to_text(submission)))
    check(found, EXPECTED)
    merge(scores(), [found])
    assert found.plugins[0].source == PLUGIN["mine.py"]


def test_packing_refuses_what_merging_would(submission):
    bad = scores().assign(value=np.linspace(0, 9, 6))
    refused(lambda: pack(bad, runs(), {}, EXPECTED, "Lab X"), "outside")
    refused(lambda: pack(scores(), {}, {}, EXPECTED, "Lab X"), "not in the submission")


# ------------------------------------------------------------- whatever comes


def places(value, path=()):
    """Paths to everything in a JSON-like value, the first two items of each list."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(
        value, list) else ()  # fmt: skip
    for key, item in inner:
        yield from places(item, (*path, key))


def put(value, path, new):
    """The value with something else in one place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


WHOLE = json.loads(to_text(pack(scores(), runs(), PLUGIN, EXPECTED, "Lab X")))
TEXT = st.text(max_size=40) | st.sampled_from(
    ["../../x", "<script>", "\ud800", "a\nb", "$x$|`", "{{7*7}}", "\u202ex", "[" * 500, "9" * 5000]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FUZZ = settings(max_examples=150, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


def taken(path, data):
    """Whether a file is accepted; where it is not, it is refused in one line."""
    path.write_bytes(data)
    try:
        found = read(path)
        check(found, EXPECTED)
        return merge(scores(), [found])
    except SubmissionError as error:
        assert "\n" not in str(error)
        assert len(str(error).encode()) < 1000
        return None


@FUZZ
@given(st.sampled_from(sorted(places(WHOLE), key=str)), ANYTHING, st.booleans())
def test_anything_anywhere_is_taken_or_refused_in_one_line(tmp_path, place, new, signed):
    content = put(WHOLE, place, new)
    if signed and isinstance(content, dict):
        content["sha256"] = "0" * 64
        with contextlib.suppress(SubmissionError):
            content["sha256"] = submissions._validated(content).digest()
    taken(tmp_path / "s.json", json.dumps(content).encode())


@FUZZ
@given(st.integers(0, len(json.dumps(WHOLE)) - 1), st.binary(min_size=1, max_size=6))
def test_damaged_bytes_are_refused(tmp_path, at, noise):
    data = json.dumps(WHOLE).encode()
    damaged = data[:at] + noise + data[at + len(noise) :]
    assert taken(tmp_path / "s.json", damaged) is None or json.loads(damaged) == WHOLE


NAME = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40).map(
    "<b>|`[x](javascript:1) $\\alpha$ {{{}}}".format
)


@settings(FUZZ, max_examples=15)
@given(NAME, NAME, st.dictionaries(NAME, ANYTHING, max_size=2), NAME, NAME)
def test_what_is_taken_can_be_published(tmp_path, method, label, params, layer, reason):
    row = {"method": method, "label": label, "params": json.dumps(params), "layer": layer,
           "reason": reason}  # fmt: skip
    content = edited_whole(scores=[line | row for line in WHOLE["scores"]])
    merged = taken(tmp_path / "s.json", json.dumps(content).encode())
    if merged is not None:
        files = documents(Board(merged[0], marks=merged[1], metrics=METRICS))
        for name in ("README.md", "details/kanji-vgg.md", "report.html"):
            assert b"<b>|" not in files[name]


def edited_whole(**changes):
    content = WHOLE | changes | {"sha256": "0" * 64}
    with contextlib.suppress(SubmissionError):
        content["sha256"] = submissions._validated(content).digest()
    return content


def refused(call, message):
    with pytest.raises(SubmissionError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
