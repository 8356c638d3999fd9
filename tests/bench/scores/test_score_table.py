"""The score table: written and read as it was, and what its schema refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records import score_row

from legible.bench.scores import score_table
from legible.bench.scores.score_table import (
    COLUMNS,
    SCHEMA_VERSION,
    read_scores,
    schema,
    scores_text,
    tidy,
    to_table,
)


def table(rows):
    """A table of plain's accuracy with changes."""
    return pd.DataFrame([score_row(**row).model_dump() for row in rows], columns=COLUMNS)


def test_scores_survive_the_round_trip_byte_for_byte(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"seed": s, "value": v} for s, v in enumerate(rng.normal(size=20))]
    rows.append({"seed": 99, "value": np.nan, "reason": 'a "quoted", odd\nreason'})
    (tmp_path / "a.csv").write_text(scores_text(table(rows[::-1])))
    (tmp_path / "b.csv").write_text(scores_text(read_scores(tmp_path / "a.csv")))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_a_row_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the same row twice: kanji/vgg/plain"):
        (tmp_path / "x.csv").write_text(scores_text(table([{}, {}])))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"value": np.inf}, "value"),
        ({"kind": "best"}, "kind"),
        ({"params": "[1]"}, "JSON object"),
        ({"params": r'{"a": "\ud800"}'}, "half a character"),
        ({"params": "{"}, "params"),
        ({"params": "[" * 1990}, "params"),
        ({"method": ""}, "method"),
        ({"dataset": "a\nb"}, "dataset"),
        ({"seed": -2}, "seed"),
        ({"undefined": -1}, "undefined"),
        ({"status": "great"}, "status"),
        ({"method": "m" * 500}, "method"),
    ],
)
def test_what_breaks_the_schema_is_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        (tmp_path / "x.csv").write_text(scores_text(table([{}, {"seed": 1, **change}])))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.csv").exists()


def test_missing_and_unknown_columns_are_named(tmp_path):
    with pytest.raises(ValueError, match="missing run; unknown ran"):
        (tmp_path / "x.csv").write_text(scores_text(table([{}]).rename(columns={"run": "ran"})))


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n", "\x00\x01", "a,b\n1,2\n"])
def test_a_file_that_is_no_score_table_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=r"x\.csv") as caught:
        read_scores(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


def test_the_committed_schema_is_the_code_s():
    file = Path(score_table.__file__).with_name("schema") / "scores.json"
    assert json.loads(file.read_text()) == schema()
    assert schema()["version"] == SCHEMA_VERSION


def test_rows_become_a_table_with_nan_for_what_is_undefined():
    made = to_table([score_row(seed=1), score_row(value=None, live=None)])
    assert list(made.columns) == COLUMNS and made["value"].isna().tolist() == [False, True]
    assert tidy(made)["seed"].tolist() == [0, 1]
    assert list(to_table([]).columns) == COLUMNS and len(to_table([])) == 0
