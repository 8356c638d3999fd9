"""Attribution scores of each algorithm: which algorithm can be trusted for which method."""

from __future__ import annotations

import math

import pandas as pd

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.common_algorithms import AUDIT, algorithms_for_all, by_run
from legible.bench.leaderboard.tables.table import (
    ARROWS,
    Estimate,
    Notes,
    Share,
    Table,
    TableCell,
    TableColumn,
    table_row,
)
from legible.bench.statistics.intervals import t_interval
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.text import decimals

READING = """\
✗ 1/3 says that an algorithm failed its audit with one of three seeds. The leaderboard compares
means over the algorithms that pass on every network of every method (here: {}), so that all rows
are judged by the same. Every metric by algorithm and seed is in attributions.csv; a run's own mean
in scores.csv is over all that pass on its network."""


def algorithms_table(board: Board, block: Block) -> Table | None:
    """Rows by algorithms: the mean over seeds, and in how many seeds the algorithm failed its
    audit; None if nothing was explained."""
    if board.algorithms.empty:
        return None
    scores = board.of_block(board.algorithms, block)
    name = shown_metric(board, scores)
    if not name:
        return None
    algorithms = list(dict.fromkeys(scores["algorithm"]))
    groups = {
        (RowKey(str(method), str(params)), str(algorithm)): group
        for (method, params, algorithm), group in scores.groupby(["method", "params", "algorithm"])
    }
    explained = {key for key, _ in groups}
    digits = decimals(scores.loc[scores["metric"] == name, "value"])
    notes, nothing = Notes(), scores.iloc[:0]
    rows = [
        table_row(
            board, row,
            (_cell(groups.get((row.key, a), nothing), name, digits) for a in algorithms), notes,
        )
        for row in board.rows_of(block)
        if row.key in explained
    ]  # fmt: skip
    metric = board.metric(name)
    title = f"By algorithm: {metric.title} {ARROWS[metric.better]}".rstrip()
    columns = tuple(TableColumn(algorithm.replace("_", " ")) for algorithm in algorithms)
    trained = {row.key for row in board.rows_of(block) if row.trained}
    common = algorithms_for_all(by_run(scores[scores["metric"] == name]), trained)
    text = READING.format(", ".join(common).replace("_", " ") or "none")
    return Table(title, columns, tuple(rows), tuple(notes.texts), text=text, block=block,
                 metric=name)  # fmt: skip


def shown_metric(board: Board, scores: pd.DataFrame) -> str:
    """The metric that the table shows: the headline of the aspect if it has values, else the first
    by name that has."""
    with_values = set(scores.loc[scores["value"].notna(), "metric"]) - {AUDIT}
    first = board.headlines.get("attribution", "")
    return first if first in with_values else min(with_values, default="")


def _cell(scores: pd.DataFrame, name: str, digits: int) -> TableCell:
    values = scores.loc[(scores["metric"] == name) & scores["value"].notna(), "value"]
    audits = scores.loc[scores["metric"] == AUDIT, "value"]
    failed = int((audits == 0).sum())
    mean = half = math.nan
    if len(values):
        interval = t_interval(values.to_numpy())
        mean, half = float(interval.mean), float(interval.half)
    return TableCell(
        Estimate(mean, half, digits), failed_audits=Share(failed, len(audits)) if failed else None
    )
