"""The figures that can be drawn from a leaderboard's numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.forest import draw_forest, forest_columns
from legible.bench.leaderboard.figures.front import draw_front
from legible.bench.leaderboard.figures.training_curves import draw_training_curves
from legible.bench.leaderboard.figures.tuning_trials import (
    DOSES,
    FRONTS,
    draw_doses,
    draw_fronts,
    searched_trials,
)
from legible.bench.leaderboard.verdicts import TASK, Standings

FOREST = (
    "Differences to plain, better to the right, with 95 % intervals over seeds. Up: better, down: "
    "worse, square: shown equal, circle: undecided; hollow: smaller than the margin, which is the "
    "grey band. Arrows: outside the axis"
)
FRONT = (
    "Accuracy against each aspect, as differences to plain, both better when larger, with 95 % "
    "intervals over seeds. The line joins the methods that no other beats in both. Hollow or grey: "
    "rows that are not trained by a method, drawn at the edge if they lie outside"
)
TRAINING = (
    "metrics of validation images by epoch: the mean over seeds, in a band from the lowest to the "
    "highest seed"
)


class TableFigure(NamedTuple):
    """A figure of the leaderboard: the stem of its file name, its caption, and how to draw it."""

    stem: str
    caption: str
    draw: Callable[[], Figure]


def available_figures(standings: Standings) -> list[TableFigure]:
    """Every figure that the board has the numbers for."""
    board, figures = standings.board, []
    if forest_columns(standings) and len(board.rows) > 1:
        figures.append(TableFigure("forest", FOREST, partial(draw_forest, standings)))
    if TASK in standings.columns and standings.signed:
        figures.append(TableFigure("front", FRONT, partial(draw_front, standings)))
    for number, block in enumerate(board.blocks):
        if block in board.dynamics:
            stem = "dynamics" if len(board.dynamics) == 1 else f"dynamics-{number}"
            draw = partial(draw_training_curves, board, block)
            figures.append(TableFigure(stem, f"{board.block_title(block)}: {TRAINING}", draw))
    return figures + _tuning_figures(board)


def _tuning_figures(board: Board) -> list[TableFigure]:
    """Two figures for every block in which settings were searched."""
    figures: list[TableFigure] = []
    ledger = board.ledger
    for number, block in enumerate(board.blocks):
        if ledger is None or not searched_trials(ledger, block):
            continue
        title = board.block_title(block)
        doses = f"{title}: {ledger.metric} and accuracy by strength (validation). {DOSES}"
        fronts = f"{title}: accuracy against {ledger.metric} (validation). {FRONTS}"
        figures += [
            TableFigure(f"doses-{number}", doses, partial(draw_doses, ledger, block)),
            TableFigure(f"fronts-{number}", fronts, partial(draw_fronts, ledger, block)),
        ]
    return figures
