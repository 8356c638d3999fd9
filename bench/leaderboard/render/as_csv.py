"""The tables of numbers as CSV files. The same rows always give the same text."""

from __future__ import annotations

import pandas as pd

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.tables.verdict_records import VerdictRecord, records_of
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.scores.score_table import scores_text


def scores_csv(board: Board) -> str:
    """The score table."""
    return scores_text(board.scores)


def verdicts_csv(standings: Standings) -> str:
    """The verdicts: a line for each row and aspect, over blocks and on each block."""
    table = pd.DataFrame(records_of(standings), columns=list(VerdictRecord._fields))
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def cost_csv(costs: pd.DataFrame) -> str:
    """The cost table."""
    return costs.to_csv(index=False, float_format="%.4g")


def attributions_csv(algorithms: pd.DataFrame) -> str:
    """The attribution scores of each algorithm."""
    return algorithms.to_csv(index=False, float_format="%.6g")


def curves_csv(curves: pd.DataFrame) -> str:
    """The watched metrics of each run by epoch."""
    return curves.to_csv(index=False, float_format="%.9g")
