"""Correlations between metrics."""

from __future__ import annotations

import numpy as np

from legible.bench.leaderboard.tables.correlations import agreement_table
from legible.bench.leaderboard.verdicts import Standings


def test_agreement_is_a_lower_triangle(board):
    table = agreement_table(Standings(board))
    texts = [[cell.text for cell in row.cells] for row in table.rows]
    assert [row.title for row in table.rows] == ["dispersion", "iou", "rank"]
    assert [len(t) for line in texts for t in line if not t] == [0, 0, 0]
    values = [float(t.replace("−", "-")) for line in texts for t in line if t]
    np.testing.assert_allclose(values[:3], [-0.91, -0.93, 0.98], atol=0.03)  # planted


def test_one_metric_has_no_correlation(board):
    one = type(board)(board.scores[board.scores["metric"] == "accuracy"], metrics=board.metrics)
    assert agreement_table(Standings(one)) is None
