"""Tables of numbers as CSV."""

import pandas as pd

from legible.bench.leaderboard.render.as_csv import attributions_csv, cost_csv, scores_csv
from legible.bench.scores.score_table import scores_text


def test_scores_are_the_bytes_of_the_score_file(board, tmp_path):
    (tmp_path / "scores.csv").write_text(scores_text(board.scores))
    assert scores_csv(board).encode() == (tmp_path / "scores.csv").read_bytes()


def test_costs_have_four_and_attributions_six_digits():
    table = pd.DataFrame({"method": ["plain"], "value": [1.23456789]})
    assert cost_csv(table) == "method,value\nplain,1.235\n"
    assert attributions_csv(table) == "method,value\nplain,1.23457\n"
