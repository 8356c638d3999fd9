"""The verdicts as plain records, for programs: verdicts.csv and leaderboard.json."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from legible.bench.leaderboard.verdicts import AspectColumn, BlockColumn, Standings
from legible.bench.statistics.signs import Verdicts


class VerdictRecord(NamedTuple):
    """The verdict of a row in one aspect, over blocks (``dataset`` and ``backbone`` empty) or on
    one block.

    ``difference`` to plain is oriented: above 0 is better, unless the metric has no direction.
    ``low`` and ``high`` limit its 95 % interval. ``unit`` is "margins" or "" (the metric's own).
    ``p`` and ``equivalence_p`` are corrected within the column. ``seeds_needed`` would decide an
    undecided row. ``reason`` says why a row was not tested.
    """

    method: str
    params: str
    group: str
    aspect: str
    dataset: str
    backbone: str
    metric: str
    layer: str
    sign: str
    difference: float
    low: float
    high: float
    unit: str
    margin: float
    p: float
    equivalence_p: float
    seeds: int
    seeds_needed: float
    reason: str


def records_of(standings: Standings) -> list[VerdictRecord]:
    """A record for each row but plain and each aspect: over blocks, then on each block."""
    return [
        record
        for column in standings.columns.values()
        for record in [*_over_blocks(standings, column), *(
            record for part in column.parts for record in _on_block(standings, column.aspect, part)
        )]
    ]  # fmt: skip


def _over_blocks(standings: Standings, column: AspectColumn) -> Iterator[VerdictRecord]:
    names = {part.column.metric.name for part in column.parts}
    layers = {part.column.layer for part in column.parts}
    same = (texts.pop() if len(texts) == 1 else "" for texts in (names, layers))
    where = ("", "", next(same), next(same))
    interval = column.interval
    for i in _rows(standings):
        needed = float(column.seeds_needed[i]) if column.symbol(i) == "?" else math.nan
        yield _record(
            standings, i, column.aspect, where, column.verdicts,
            (float(interval.mean[i]), float(interval.low[i]), float(interval.high[i])),
            "margins" if column.in_margins else "", column.margin,
            int(column.contrast.seeds[i]), needed,
        )  # fmt: skip


def _on_block(standings: Standings, aspect: str, part: BlockColumn) -> Iterator[VerdictRecord]:
    where = (*part.block, part.column.metric.name, part.column.layer)
    interval = part.contrast.interval()
    for i in _rows(standings):
        yield _record(
            standings, i, aspect, where, part.verdicts,
            (float(interval.mean[i]), float(interval.low[i]), float(interval.high[i])),
            "", part.margin, int(part.contrast.seeds[i]), math.nan,
        )  # fmt: skip


def _rows(standings: Standings) -> list[int]:
    board = standings.board
    return [i for i, row in enumerate(board.rows) if row is not board.baseline]


def _record(
    standings: Standings, i: int, aspect: str, where: tuple[str, str, str, str],
    verdicts: Verdicts, limits: tuple[float, float, float], unit: str, margin: float,
    seeds: int, needed: float,
) -> VerdictRecord:  # fmt: skip
    row = standings.board.rows[i]
    return VerdictRecord(
        row.method, row.params, row.group, aspect, *where, str(verdicts.sign[i]), *limits, unit,
        margin, float(verdicts.p[i]), float(verdicts.equivalence_p[i]), seeds, needed,
        str(verdicts.reason[i]),
    )  # fmt: skip
