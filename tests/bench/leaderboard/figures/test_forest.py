"""The forest plot: rows, panels, marks and edges."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import pytest

from legible.bench.leaderboard.figures.forest import MARKS, draw_forest
from legible.bench.leaderboard.figures.style import row_label
from legible.bench.leaderboard.verdicts import SYMBOLS, Standings


def markers(axis):
    """Row number -> marker, for the points of a panel."""
    return {round(line.get_ydata()[0]): line.get_marker() for line in axis.lines
            if line.get_marker() not in ("None", "") and len(line.get_ydata()) == 1}  # fmt: skip


def test_it_has_a_line_for_every_row_and_grows_with_them(board, with_many_methods):
    large = with_many_methods(23)
    figure = draw_forest(Standings(large))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [row_label(row) for row in large.rows if row.method != "plain"]
    assert figure.get_figheight() > draw_forest(Standings(board)).get_figheight() + 4
    assert len(figure.axes) == 3  # accuracy, dispersion, iou: rank has no direction


def test_marks_repeat_the_verdicts_and_better_is_to_the_right(board):
    standings = Standings(board)
    axis = draw_forest(standings).axes[1]  # focus; rows: bean, sync, sync, atoms, greedy, ...
    assert axis.get_title().startswith("focus")
    assert markers(axis)[1] == markers(axis)[2] == "^" and markers(axis)[0] == "."
    left, right = axis.get_xlim()
    assert left < 0 < right
    point = next(line for line in axis.lines if line.get_marker() == "^")
    assert point.get_xdata()[0] == pytest.approx(standings.columns["focus"].contrast.difference[2])
    assert set(MARKS) == set(SYMBOLS.values())


def test_rows_far_away_are_drawn_at_the_edge(board):
    """The fixture's greedy and oracle lie far outside the methods' differences."""
    axis = draw_forest(Standings(board)).axes[1]
    assert markers(axis)[4] == markers(axis)[5] == ">" and markers(axis)[6] == "<"


def test_the_margin_is_a_band(board):
    bands = [p for p in draw_forest(Standings(board)).axes[1].patches
             if isinstance(p, mpl.patches.Rectangle)]  # fmt: skip
    assert len(bands) == 1 and bands[0].get_x() + bands[0].get_width() == pytest.approx(0.02)
    none = draw_forest(Standings(replace(board, margins={})))
    assert not none.axes[1].patches


def test_without_plain_there_is_nothing_to_draw(board):
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    with pytest.raises(ValueError, match="needs plain"):
        draw_forest(Standings(rest))
