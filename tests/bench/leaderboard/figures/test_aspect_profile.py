"""The aspect profile: rows, panels and directions."""

import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.aspect_profile import draw_profile
from legible.bench.leaderboard.figures.style import row_label


def test_it_has_a_row_for_every_method_and_grows_with_them(board, with_many_methods):
    large = with_many_methods(23)
    figure = draw_profile(large)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [row_label(row) for row in large.rows if row.method != "plain"]
    assert figure.get_figheight() > draw_profile(board).get_figheight() + 4
    assert len(figure.axes) == 3  # accuracy, dispersion, iou: rank has no direction


def test_better_is_to_the_right(board):
    """The fixture's sync lowers dispersion, which is better."""
    axis = draw_profile(board).axes[1]
    assert axis.get_title().startswith("focus")
    left, right = axis.get_xlim()
    assert left > right
    filled = [line for line in axis.lines if line.get_markerfacecolor() == "#0072B2"]
    assert len(filled) >= 2
    assert all(line.get_xdata()[0] < 0 for line in filled if line.get_marker() == "o")


def test_without_plain_there_is_nothing_to_draw(board):
    rest = Board(board.scores[board.scores["method"] != "plain"], metrics=board.metrics)
    with pytest.raises(ValueError, match="needs plain"):
        draw_profile(rest)
