"""The figures that can be drawn from a leaderboard's numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.aspect_profile import draw_profile
from legible.bench.leaderboard.figures.pareto import draw_pareto
from legible.bench.leaderboard.figures.training_curves import draw_training_curves
from legible.bench.leaderboard.figures.tuning_trials import (
    DOSES,
    FRONTS,
    draw_doses,
    draw_fronts,
    searched_trials,
)
from legible.bench.leaderboard.standings import TASK

PROFILE = (
    "Aspect profile: the difference to plain in each headline metric, in its own unit, averaged "
    "over blocks, better to the right, with 95 % intervals over seeds. Filled: significant after "
    "Holm's correction. Below the line: controls and null rows. Arrows: outside the axis"
)
PARETO = (
    "accuracy against the headline metric of each aspect, with 95 % intervals over seeds. The line "
    "joins the methods that no other beats in both. Hollow or grey: controls and null rows, drawn "
    "at the edge if they lie outside"
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


def available_figures(board: Board) -> list[TableFigure]:
    """Every figure that the board has the numbers for."""
    names = [n for n in board.headlines.values() if board.metric(n).better != "neither"]
    methods = [row for row in board.rows if row.ranked and row is not board.baseline]
    figures = []
    if board.baseline is not None and methods and names:
        figures.append(TableFigure("profile", PROFILE, partial(draw_profile, board)))
    for number, block in enumerate(board.blocks):
        title = " · ".join(block)
        columns = board.columns(block, names)
        aspects = {column.metric.aspect for column in columns}
        if TASK in aspects and len(aspects) > 1:
            draw = partial(draw_pareto, board, block)
            figures.append(TableFigure(f"pareto-{number}", f"{title}: {PARETO}", draw))
        if block in board.dynamics:
            stem = "dynamics" if len(board.dynamics) == 1 else f"dynamics-{number}"
            draw = partial(draw_training_curves, board, block)
            figures.append(TableFigure(stem, f"{title}: {TRAINING}", draw))
    return figures + _tuning_figures(board)


def _tuning_figures(board: Board) -> list[TableFigure]:
    """Two figures for every block in which settings were searched."""
    figures: list[TableFigure] = []
    ledger = board.ledger
    for number, block in enumerate(board.blocks):
        if ledger is None or not searched_trials(ledger, block):
            continue
        title = " · ".join(block)
        doses = f"{title}: {ledger.metric} and accuracy by strength (validation). {DOSES}"
        fronts = f"{title}: accuracy against {ledger.metric} (validation). {FRONTS}"
        figures += [
            TableFigure(f"doses-{number}", doses, partial(draw_doses, ledger, block)),
            TableFigure(f"fronts-{number}", fronts, partial(draw_fronts, ledger, block)),
        ]
    return figures
