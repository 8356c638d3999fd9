"""Which figures a board has the numbers for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legible.bench.leaderboard.figures.style import save
from legible.bench.leaderboard.figures.table_figures import available_figures
from legible.bench.leaderboard.verdicts import Standings


def stems(board):
    return [figure.stem for figure in available_figures(Standings(board))]


def test_one_forest_plot_and_one_front(board):
    assert stems(board) == ["forest", "front"]


def test_a_tuned_suite_has_two_more(tuned):
    assert stems(tuned)[-2:] == ["doses-0", "fronts-0"]


def test_watched_metrics_have_a_figure(board):
    block, row = board.blocks[0], board.rows[0]
    histories = {row.key: {"watch.iou": np.array([[0.1, 0.2]])}}
    assert "dynamics" in stems(replace(board, dynamics={block: histories}))
    both = {block: histories, board.blocks[2]: histories}
    assert {"dynamics-0", "dynamics-2"} <= set(stems(replace(board, dynamics=both)))


def test_accuracy_alone_has_no_front(board):
    task = replace(board, scores=board.scores[board.scores["metric"] == "accuracy"])
    assert stems(task) == ["forest"]
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    assert stems(rest) == []


@pytest.mark.parametrize("number", range(2))
def test_a_figure_is_the_same_twice(board, number):
    figure = available_figures(Standings(board))[number]
    data = save(figure.draw)
    assert data.startswith(b"<?xml") and save(figure.draw) == data
