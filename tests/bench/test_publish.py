"""Published tables: schema, escaping, and rendered markdown against golden files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.publish import COLUMNS, leaderboard, read_scores, write_scores


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


def test_every_method_stands_in_the_leaderboard():
    failed = {"method": "bean", "label": "bean", "metric": "", "aspect": "", "value": np.nan}
    failed |= {"live": np.nan, "count": 0, "status": "failed", "reason": "loss | is <b>nan"}
    text = leaderboard(table([{}, failed]), pd.DataFrame(), {}, {}, "t")
    assert "bean" in text
    assert "loss &#124; is &lt;b&gt;nan" in text


def test_a_row_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="twice the same row"):
        write_scores(table([{}, {}]), tmp_path / "x.csv")
