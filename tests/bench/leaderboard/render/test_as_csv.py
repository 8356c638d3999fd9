"""Tables of numbers as CSV."""

import io

import pandas as pd

from legible.bench.leaderboard.render.as_csv import (
    attributions_csv,
    cost_csv,
    scores_csv,
    verdicts_csv,
)
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.scores.score_table import scores_text


def test_scores_are_the_bytes_of_the_score_file(board, tmp_path):
    (tmp_path / "scores.csv").write_text(scores_text(board.scores))
    assert scores_csv(board).encode() == (tmp_path / "scores.csv").read_bytes()


def test_verdicts_are_a_line_for_each_row_aspect_and_block(board):
    table = pd.read_csv(io.StringIO(verdicts_csv(Standings(board))), keep_default_na=False)
    sync = table[(table["method"] == "sync") & (table["params"] == "{}") & (table["dataset"] == "")]
    assert dict(zip(sync["aspect"], sync["sign"], strict=True)) == {
        "task": "worse", "focus": "better", "semantics": "better", "structure": "untested",
    }  # fmt: skip


def test_costs_have_four_and_attributions_six_digits():
    table = pd.DataFrame({"method": ["plain"], "value": [1.23456789]})
    assert cost_csv(table) == "method,value\nplain,1.235\n"
    assert attributions_csv(table) == "method,value\nplain,1.23457\n"
