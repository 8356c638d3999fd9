"""Submissions: packed, read back, merged with their origin; everything hostile is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitted import (
    ANYTHING,
    EXPECTED,
    FUZZ,
    PLUGIN,
    WHOLE,
    edited,
    edited_row,
    merged,
    packed,
    runs,
    scores,
    sign,
)

from legible.bench.scores import submission as submissions
from legible.bench.scores.submission import (
    SubmissionError,
    check,
    disagreements,
    first_runs,
    merge,
    not_rerun,
    pack,
    read,
    to_text,
    verdict,
)


@pytest.fixture
def submission():
    return packed()


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


def test_the_committed_schema_is_the_code_s():
    path = Path(submissions.__file__).with_name("schema") / "submission.json"
    assert json.loads(path.read_text()) == submissions.schema()


def test_two_submissions_from_one_origin_are_refused(submission):
    with pytest.raises(SubmissionError, match="two submissions"):
        merge(scores(), [submission, submission])


def test_a_rerun_agrees_or_flags_the_submission(submission):
    same = scores()[lambda t: t["seed"] == 0]
    assert disagreements(submission, same) == []
    other = scores(shift=0.01)[lambda t: t["seed"] == 0]
    lines = disagreements(submission, other)
    assert len(lines) == 2
    _, marks = merge(scores(), [submission], {submission.sha256: verdict(lines, [0])})
    assert "FLAGGED: a rerun of seed 0 disagrees in 2 values" in marks["mine@Lab X"]
    assert verdict([], [1]) == "a rerun of seed 1 agrees"
    assert verdict([], [1, 2], ["x" * 50, "y"]) == (
        f"a rerun of seeds 1, 2 agrees; not rerun: {'x' * 39}…, y"
    )
    assert verdict([], [1], list("abcde")).endswith("not rerun: a, b, c and 2 more")


def test_scores_that_were_not_submitted_are_named():
    held_back = scores()[lambda t: t["metric"] == "iou"]
    submitted = pack(held_back, runs(), {}, EXPECTED, "Lab X")
    lines = disagreements(submitted, scores()[lambda t: t["seed"] == 0])
    assert lines == ["kanji/vgg/mine/{}/0//accuracy: in the rerun, but not submitted"]


def test_values_that_a_rerun_does_not_have_are_named():
    forged = scores().assign(layer=lambda t: t["layer"].replace("stage2", "stage9"))
    submitted = pack(
        pd.concat([scores(), forged[forged["layer"] != ""]]), runs(), {}, EXPECTED, "X"
    )
    rerun = scores()[lambda t: t["seed"] == 0]
    lines = disagreements(submitted, rerun)
    assert lines == ["kanji/vgg/mine/{}/0/stage9/iou: submitted, but not in the rerun"]
    assert disagreements(submitted, rerun, other_seeds=["iou"]) == []


def test_rows_that_were_not_rerun_are_named_and_each_row_has_its_own_first_seed():
    other = scores("other")[lambda t: t["seed"] > 0]
    both = pack(pd.concat([scores(), other]), runs() | runs("other"), {}, EXPECTED, "X")
    assert not_rerun(both, scores()) == ["other"] and not_rerun(both, both.table()) == []
    first = first_runs(both)[["method", "seed"]].drop_duplicates().values.tolist()
    assert first == [["mine", 0], ["other", 1]]


def test_a_rerun_of_something_else_proves_nothing(submission):
    with pytest.raises(SubmissionError, match="no run in common"):
        disagreements(submission, scores("other"))


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
    refused(lambda: read(write(edited(**changes))), message)


ROWS = [
    ({"value": 1.5}, "outside 0 to 1"),
    ({"live": -3.0}, "outside 0 to 1"),
    ({"value": None}, "no value and no reason"),
    ({"undefined": 9}, "9 of 8"),
    ({"dataset": "mnist"}, "not a block"),
    ({"backbone": "other"}, "not a block"),
    ({"seed": 7}, "seed 7"),
    ({"metric": "made_up"}, "unknown metric"),
    ({"metric": ""}, "without a metric"),
    ({"aspect": "focus"}, "aspect"),
    ({"run": "nowhere"}, "not in the submission"),
    ({"label": "=cmd|' /C calc'!A0"}, "formula"),
    ({"method": "@SUM(1)"}, "formula"),
    ({"reason": "-2+3"}, "formula"),
]


@pytest.mark.parametrize("changes, message", ROWS)
def test_a_row_that_cannot_be_true_is_refused(submission, write, changes, message):
    submitted = read(write(edited_row(**changes)))
    refused(lambda: check(submitted, EXPECTED), message)


@pytest.mark.parametrize(
    "changes",
    [{"value": "0.5"}, {"value": True}, {"value": "NaN"}, {"seed": 1.5}, {"seed": "0"},
     {"method": "m\nn"}, {"method": "m" * 300}, {"kind": "winner"}, {"params": "]["},
     {"params": "[" * 1900}, {"count": -1}],
)  # fmt: skip
def test_a_row_of_wrong_types_is_refused(submission, write, changes):
    refused(lambda: read(write(edited_row(**changes))), "scores.0")


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
    text = json.dumps(edited_row(value=0.123456)).replace("0.123456", "1e999")
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
        ({"metrics": {}}, "without the hash of its code"),
    ],
)
def test_what_cannot_be_compared_is_refused(submission, write, changes, message):
    submitted = read(write(edited(**changes)))
    refused(lambda: check(submitted, EXPECTED), message)


def test_nothing_of_a_plugin_is_executed(submission, write):
    """The packed plugin would end this process."""
    submitted = read(write(to_text(submission)))
    check(submitted, EXPECTED)
    merge(scores(), [submitted])
    assert submitted.plugins[0].source == PLUGIN["mine.py"]


def test_a_module_of_a_package_may_be_a_plugin_source(write):
    source = {"my_package.methods.mine.py": "x = 1\n", "my_package.maths.py": "y = 2\n"}
    back = read(write(to_text(pack(scores(), runs(), source, EXPECTED, "Lab X"))))
    assert {plugin.name: plugin.source for plugin in back.plugins} == source


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


@FUZZ
@given(st.sampled_from(sorted(places(WHOLE), key=str)), ANYTHING, st.booleans())
def test_anything_anywhere_is_taken_or_refused_in_one_line(tmp_path, place, new, signed):
    content = put(WHOLE, place, new)
    if signed and isinstance(content, dict):
        content = sign(content)
    merged(tmp_path / "s.json", json.dumps(content).encode())


@FUZZ
@given(st.integers(0, len(json.dumps(WHOLE)) - 1), st.binary(min_size=1, max_size=6))
def test_damaged_bytes_are_refused(tmp_path, at, noise):
    data = json.dumps(WHOLE).encode()
    damaged = data[:at] + noise + data[at + len(noise) :]
    assert merged(tmp_path / "s.json", damaged) is None or json.loads(damaged) == WHOLE


def refused(call, message):
    with pytest.raises(SubmissionError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
