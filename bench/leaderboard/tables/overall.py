"""The overall table: tier, mean rank, accuracy cost, and the rank in each aspect."""

from __future__ import annotations

import numpy as np

from legible.bench.leaderboard.board import Row
from legible.bench.leaderboard.standings import TASK, Standings
from legible.bench.leaderboard.tables.differences import difference_cell
from legible.bench.leaderboard.tables.table import (
    Count,
    Estimate,
    Notes,
    RankInterval,
    Table,
    TableCell,
    TableColumn,
    Words,
    in_reading_order,
    plain_column,
    table_row,
    trains_on,
)
from legible.bench.statistics.intervals import Interval
from legible.bench.statistics.ranks import Ranking
from legible.bench.text import digits_with_half

RANKS = """\
Methods are ranked in each aspect by its headline metric, averaged over blocks (a block is a dataset
on a backbone). The rank interval is in brackets; together, all intervals of a column contain the
true ranks with 95 % confidence. The mean rank is over the aspects, all with the same weight;
accuracy is not part of it and has a column of its own. A tier holds the methods that do not differ
significantly from its leader (every pair compared seed by seed, with Holm's correction over all
pairs). The best tier is bold, unless all methods are in one tier. If a method failed, or its metric
is undefined, for a seed where others have a value, it counts there as the worst method. A method
that was skipped, or whose data is missing, is not ranked."""

INTERVALS = """\
Ranks and tiers say how much the result would change with new seeds on the same blocks; they say
nothing about other data. Differences averaged over blocks are bootstrapped over blocks and seeds.
These intervals estimate the result on similar new blocks and assume that the blocks are
independent. Blocks that share a dataset or backbone are not independent, so the true interval may
be wider. No interval covers other recipes, other strengths of a method, or the choice of the
metric."""


def overall_table(standings: Standings) -> Table | None:
    """The ranked rows from best to worst; None if there is nothing to show."""
    board, rows, notes = standings.board, standings.by_overall_rank, Notes()
    if not rows or not board.headlines:
        return None
    accuracy = board.headlines.get(TASK)
    differences = standings.bootstrap_differences(rows, [accuracy]) if accuracy else None
    columns = [TableColumn("tier"), TableColumn("mean rank")] if standings.headlines else []
    if accuracy:
        columns.append(plain_column(board, board.metric(accuracy), "− plain"))
    columns += [
        plain_column(board, board.metric(name), arrow=False)
        for name in standings.headlines.values()
    ]
    lines = []
    for position, row in enumerate(rows):
        remarks = rank_remarks(standings, row)
        i = standings.rows.index(row)
        cells = _overall_cells(standings.overall, i) if standings.headlines else []
        if accuracy:
            cells.append(_accuracy_cell(standings, row, differences, position, notes))
        cells += [
            _rank_cell(ranking, i, trains_on(board, row, standings.headlines[aspect]))
            for aspect, ranking in standings.aspects.items()
        ]
        lines.append(table_row(board, row, cells, notes, remarks))
    text = f"{RANKS}\n\n{INTERVALS}" if standings.headlines else INTERVALS
    table = Table("Overall", tuple(columns), tuple(lines), tuple(notes.texts), text=text)
    return in_reading_order(table)


def _overall_cells(overall: Ranking | None, i: int) -> list[TableCell]:
    if overall is None or not overall.tier[i]:
        return [TableCell(Count(0)), TableCell(RankInterval(0.0, 0, 0))]
    best = bool(overall.tier[i] == 1 and overall.tier.max() > 1)
    mean = RankInterval(-float(overall.score[i]), int(overall.low[i]), int(overall.high[i]), 2)
    return [TableCell(Count(int(overall.tier[i])), best), TableCell(mean, best)]


def _rank_cell(ranking: Ranking, i: int, trained_on: bool) -> TableCell:
    if not ranking.tier[i]:
        return TableCell(RankInterval(0.0, 0, 0), trained_on=trained_on)
    content = RankInterval(float(ranking.rank[i]), int(ranking.low[i]), int(ranking.high[i]))
    best = bool(ranking.tier[i] == 1 < ranking.tier.max())
    return TableCell(content, best, trained_on)


def _accuracy_cell(
    standings: Standings, row: Row, differences: Interval | None, position: int, notes: Notes
) -> TableCell:
    if row is standings.board.baseline:
        return TableCell(Words("baseline"))
    if differences is None:
        return TableCell(Estimate(np.nan, np.nan, 0))
    digits = digits_with_half(differences.mean[:, 0], differences.half[:, 0])
    return difference_cell(differences, position, 0, digits, notes)


def rank_remarks(standings: Standings, row: Row) -> list[str]:
    """Why a row has no rank in some aspects, or counts as the worst method somewhere."""
    i, remarks = standings.rows.index(row), []
    unranked = [aspect for aspect, ranking in standings.aspects.items() if not ranking.tier[i]]
    if unranked:
        where = "no value in some block where others have one"
        remarks.append(f"unranked in {', '.join(unranked)}: {where}")
    worst = standings.count_as_worst(list(standings.headlines.values()))
    by_block: list[list[bool]] = np.any(worst[:, :, i], 1).tolist()
    for block, is_worst in zip(standings.board.blocks, by_block, strict=True):
        aspects = [
            aspect
            for aspect, counts in zip(standings.headlines, is_worst, strict=True)
            if counts and aspect not in unranked
        ]
        if aspects:
            where = "failed or undefined for some seed, ranked as the worst method there"
            remarks.append(f"{', '.join(aspects)} on {' · '.join(block)}: {where}")
    return remarks
