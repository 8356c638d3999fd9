"""The pages of a published score table, without runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from legible.bench.leaderboard.preview import preview_board, write_preview

RESULTS = Path(__file__).parents[3] / "results"


def test_the_published_table_of_a_suite_gives_its_pages(tmp_path):
    table = tmp_path / "results" / "bean_fewshot"
    table.mkdir(parents=True)
    shutil.copy(RESULTS / "bean_fewshot" / "scores.csv", table)
    readme = write_preview("bean_fewshot", tmp_path / "out", tmp_path / "results")
    assert readme.read_text().splitlines()[2].startswith("**")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.html", "leaderboard.json", "leaderboard.tex", "verdicts.csv"} <= names


def test_a_suite_without_a_table_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"scores\.csv"):
        preview_board("quick", tmp_path)
