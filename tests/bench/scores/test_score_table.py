"""The score table: round trip, and what its schema refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legible.bench.scores.score_table import (
    COLUMNS,
    SCHEMA_VERSION,
    read_scores,
    schema,
    write_scores,
)


def table(rows):
    return pd.DataFrame([{**EMPTY, **row} for row in rows], columns=COLUMNS)


ROW = ("kanji", "vgg", "plain", "plain", "method", "{}", 0, "", "accuracy", "task", 0.5, 0.5, 0, 1)
EMPTY = dict(zip(COLUMNS, (*ROW, "ok", "", "r"), strict=True))


def test_scores_survive_the_round_trip_byte_for_byte(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"seed": s, "value": v} for s, v in enumerate(rng.normal(size=20))]
    rows.append({"seed": 99, "value": np.nan, "reason": 'a "quoted", odd\nreason'})
    write_scores(table(rows[::-1]), tmp_path / "a.csv")
    write_scores(read_scores(tmp_path / "a.csv"), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_a_row_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="twice the same row"):
        write_scores(table([{}, {}]), tmp_path / "x.csv")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"value": np.inf}, "value"),
        ({"kind": "best"}, "kind"),
        ({"params": "[1]"}, "JSON object"),
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
        write_scores(table([{}, {"seed": 1, **change}]), tmp_path / "x.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.csv").exists()


def test_missing_and_unknown_columns_are_named(tmp_path):
    with pytest.raises(ValueError, match="missing run; unknown ran"):
        write_scores(table([{}]).rename(columns={"run": "ran"}), tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n", "\x00\x01", "a,b\n1,2\n"])
def test_a_file_that_is_no_score_table_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=r"x\.csv") as caught:
        read_scores(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


def test_the_committed_schema_is_the_code_s():
    path = Path(__file__).parents[3] / "bench" / "schema" / "scores.json"
    assert json.loads(path.read_text()) == schema()
    assert schema()["version"] == SCHEMA_VERSION
