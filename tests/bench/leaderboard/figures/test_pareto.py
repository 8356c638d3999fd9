"""Accuracy against each aspect, with the front."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from legible.bench.leaderboard.figures.pareto import draw_pareto, pareto_front
from legible.bench.leaderboard.figures.style import row_label


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_the_front_holds_the_points_that_nothing_beats():
    points = np.array([[1, 5], [2, 4], [1.5, 3], [3, 1], [np.nan, 9], [2, 4]], dtype=float)
    assert pareto_front(points) == [0, 1, 5, 3]


def test_with_more_than_ten_rows_numbers_stand_for_methods(board, with_many_methods):
    few = texts(draw_pareto(board, board.blocks[0]))
    assert "plain" in few and "1" not in few
    large = with_many_methods(23)
    labels = texts(draw_pareto(large, large.blocks[0]))
    for i, row in enumerate(large.rows, 1):
        if row.method != "oracle" or f"{i}  oracle" in labels:
            assert str(i) in labels
            assert f"{i}  {row_label(row)}" in labels


def test_null_rows_far_away_do_not_squeeze_the_methods(board):
    """The fixture's oracle and untrained rows lie far outside the methods' scores."""
    axis = draw_pareto(board, board.blocks[0]).axes[0]
    low, high = sorted(axis.get_ylim())
    untrained = next(line for line in axis.lines if line.get_label() == "untrained")
    assert untrained.get_ydata()[0] in (low, high)
    plain = next(line for line in axis.lines if line.get_label() == "plain")
    assert low < plain.get_ydata()[0] < high


def test_the_axis_of_a_less_is_better_metric_is_turned(board):
    """The panels are dispersion and iou; rank has no direction."""
    axes = draw_pareto(board, board.blocks[0]).axes
    turned = [axis.get_ylim()[0] > axis.get_ylim()[1] for axis in axes]
    assert turned == [True, False]


def test_without_accuracy_there_is_nothing_to_draw(board):
    alone = replace(board, scores=board.scores[board.scores["metric"] == "iou"])
    with pytest.raises(ValueError, match="no accuracy"):
        draw_pareto(alone, alone.blocks[0])
