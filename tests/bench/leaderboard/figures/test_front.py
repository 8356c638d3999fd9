"""Accuracy against each aspect, with the front."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from legible.bench.leaderboard.figures.front import draw_front, front_of
from legible.bench.leaderboard.figures.style import row_label
from legible.bench.leaderboard.verdicts import Standings


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_the_front_holds_the_points_that_nothing_beats():
    points = np.array([[1, 5], [2, 4], [1.5, 3], [3, 1], [np.nan, 9], [2, 4]], dtype=float)
    assert front_of(points) == [0, 1, 5, 3]


def test_with_more_than_ten_rows_numbers_stand_for_methods(board, with_many_methods):
    few = texts(draw_front(Standings(board)))
    assert "plain" in few and "1" not in few
    large = with_many_methods(23)
    labels = texts(draw_front(Standings(large)))
    for i, row in enumerate(large.rows, 1):
        assert str(i) in labels and f"{i}  {row_label(row)}" in labels


def test_plain_is_the_origin_and_far_rows_are_at_the_edge(board):
    axis = draw_front(Standings(board)).axes[0]
    by_name = {line.get_label(): line for line in axis.lines}
    assert (by_name["plain"].get_xdata()[0], by_name["plain"].get_ydata()[0]) == (0, 0)
    assert by_name["untrained"].get_ydata()[0] == axis.get_ylim()[0]
    assert by_name["oracle"].get_ydata()[0] == axis.get_ylim()[1]


def test_up_is_better_in_every_panel(board):
    """Less dispersion is better: sync lies above plain all the same."""
    figure = draw_front(Standings(board))
    assert [axis.get_title() for axis in figure.axes] == ["focus", "semantics"]
    for axis in figure.axes:
        sync = next(line for line in axis.lines if line.get_label() == "sync (reconstruction)")
        assert sync.get_ydata()[0] > 0 and axis.get_ylim()[0] < axis.get_ylim()[1]


def test_without_accuracy_there_is_nothing_to_draw(board):
    alone = replace(board, scores=board.scores[board.scores["metric"] == "iou"])
    with pytest.raises(ValueError, match="no accuracy"):
        draw_front(Standings(alone))
