"""Correlations over seeds and between metrics."""

from __future__ import annotations

from legible.bench.leaderboard.standings import Standings
from legible.bench.leaderboard.tables.correlations import agreement_table, pairing_table


def test_pairing_has_the_ranked_rows_without_plain(board):
    table = pairing_table(Standings(board))
    assert [row.title for row in table.rows] == ["bean"] + ["sync (reconstruction)"] * 2
    assert [column.metric for column in table.columns] == list(board.headlines.values())
    assert table.rows[0].cells[0].text == "−0.72 (−0.98 to 0.44)"


def test_agreement_is_a_lower_triangle(board):
    table = agreement_table(Standings(board))
    texts = [[cell.text for cell in row.cells] for row in table.rows]
    assert [row.title for row in table.rows] == ["dispersion", "iou", "rank"]
    assert texts == [["−0.88", "", ""], ["−0.94", "0.97", ""], ["0.17", "−0.27", "−0.24"]]


def test_one_seed_or_one_metric_has_no_correlation(board, one_seed):
    assert pairing_table(Standings(one_seed)) is None
    one = type(board)(board.scores[board.scores["metric"] == "accuracy"], metrics=board.metrics)
    assert agreement_table(Standings(one)) is None
