"""How methods stand over all blocks: differences to plain, aspect ranks, the overall tier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.statistics.bootstrap import aggregate
from legible.bench.statistics.correlations import pairing_correlation, rank_correlation
from legible.bench.statistics.intervals import (
    LEVEL,
    Interval,
    holm,
    paired_difference,
    paired_p,
    pooled,
)
from legible.bench.statistics.ranks import Ranking, rank, rank_overall
from legible.bench.suites.run_spec import Block
from legible.metrics.base import NEEDS

#: Shown as a difference to plain, beside the ranks instead of among them.
TASK = "task"


@dataclass(frozen=True, eq=False)
class Standings:
    """Statistics over the blocks of a board; arrays follow ``rows`` and ``headlines``."""

    board: Board

    @cached_property
    def rows(self) -> list[Row]:
        """The rows that are ranked."""
        return [row for row in self.board.rows if row.ranked]

    @cached_property
    def headlines(self) -> dict[str, str]:
        """Aspects that can be ranked (their headline metric has a direction), with the metric."""
        return {
            aspect: name
            for aspect, name in self.board.headlines.items()
            if aspect != TASK and self.board.metric(name).better != "neither"
        }

    @cached_property
    def aspects(self) -> dict[str, Ranking]:
        """The ranking of each aspect by its headline metric."""
        return {
            aspect: rank(self._oriented([name])[..., 0]) for aspect, name in self.headlines.items()
        }

    @cached_property
    def overall(self) -> Ranking | None:
        """The ranking by the mean of the aspect ranks; None where there is nothing to rank."""
        if not self.headlines or not self.rows:
            return None
        return rank_overall(self._oriented(list(self.headlines.values())))

    def ordered(self) -> list[Row]:
        """Ranked rows from best to worst overall, those without a rank last."""
        if self.overall is None:
            return self.rows
        key = np.where(self.overall.tier > 0, -self.overall.score, np.inf)
        return [self.rows[i] for i in np.argsort(key, kind="stable")]

    def differences(self, rows: Sequence[Row], names: Sequence[str]) -> Interval | None:
        """Mean differences to plain over blocks, (rows, metrics), bootstrapped over blocks."""
        if self.board.baseline is None or not rows or not names:
            return None
        values = tensor(self.board, [self.board.baseline, *rows], names)
        return aggregate(values[:, :, 1:] - values[:, :, :1], "blocks")

    def pairing(self, names: Sequence[str]) -> Interval | None:
        """What pairing by seed achieved: correlation with plain, (rows without plain, metrics)."""
        others = [row for row in self.rows if row is not self.board.baseline]
        if self.board.baseline is None or not others or not names:
            return None
        values = tensor(self.board, [self.board.baseline, *others], names)
        baseline = np.broadcast_to(values[:, :, :1], values[:, :, 1:].shape)
        return pairing_correlation(values[:, :, 1:], baseline)

    def agreement(self, names: Sequence[str]) -> Interval | None:
        """Spearman's correlation of metrics over ranked methods and blocks, lower made higher."""
        if len(self.rows) < 2 or len(names) < 2:
            return None
        values = tensor(self.board, self.rows, names)
        known = np.isfinite(values).sum(1)
        mean = np.where(np.isfinite(values), values, 0).sum(1) / np.where(known > 0, known, np.nan)
        return rank_correlation(mean * orientation(self.board, names))

    def _oriented(self, names: Sequence[str]) -> np.ndarray:
        values = tensor(self.board, self.rows, names) * orientation(self.board, names)
        return np.where(
            self.counted_worst(names), np.nanmin(_known(values), 2, keepdims=True), values
        )

    def counted_worst(self, names: Sequence[str]) -> Bool[np.ndarray, "blocks seeds rows metrics"]:
        """Where a ranked method failed or its metric is undefined while others have a value: it
        counts there as the worst method. Not where it was skipped or data is missing."""
        values = np.isfinite(tensor(self.board, self.rows, names))
        excused = np.array([
            [[self._excused(block, row, name) for name in names] for row in self.rows]
            for block in self.board.blocks
        ], dtype=bool).reshape(len(self.board.blocks), 1, len(self.rows), len(names))  # fmt: skip
        return ~values & ~excused & values.any(2, keepdims=True)

    def _excused(self, block: Block, row: Row, name: str) -> bool:
        """Whether a row could not be measured here through no fault of its training."""
        failures = self.board.failures.get((*block, *row.key), ())
        if any(reason.startswith(("skipped", "missing")) for reason in failures):
            return True
        columns = self.board.columns(block, [name])
        reasons = self.board.cell(block, row, columns[0]).reasons if columns else ()
        return any(reason.startswith(tuple(NEEDS.values())) for reason in reasons) or not (
            reasons or failures
        )


def orientation(board: Board, names: Sequence[str]) -> Float[np.ndarray, "metrics"]:
    """-1 for metrics of which less is better, else 1."""
    return np.array([-1.0 if board.metric(n).better == "lower" else 1.0 for n in names])


def tensor(
    board: Board, rows: Sequence[Row], names: Sequence[str]
) -> Float[np.ndarray, "blocks seeds rows metrics"]:
    """Values of all blocks, each metric at the layer shown there, paired by seed."""
    seeds = sorted(board.table["seed"].unique())
    out = np.full((len(board.blocks), len(seeds), len(rows), len(names)), np.nan)
    for b, block in enumerate(board.blocks):
        for j, name in enumerate(names):
            for column in board.columns(block, [name]):
                for i, row in enumerate(rows):
                    cell = board.cell(block, row, column)
                    out[b, [seeds.index(s) for s in cell.seeds], i, j] = cell.values
    return out


def _known(values: np.ndarray) -> np.ndarray:
    """Values with zeros where no row has one, so that a minimum over rows is defined."""
    return np.where(np.isfinite(values).any(2, keepdims=True), values, 0.0)


@dataclass(frozen=True, eq=False)
class Differences:
    """Differences to plain within one block, (rows, columns), with Holm's correction."""

    rows: list[Row]
    interval: Interval
    adjusted: Float[np.ndarray, "rows columns"]


def block_differences(
    board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column]
) -> Differences | None:
    """Paired by seed; the family of tests is all ranked rows and columns. None without plain."""
    others = [row for row in rows if row is not board.baseline]
    if board.baseline is None or not others or not columns:
        return None
    values = board.values(block, [board.baseline, *others], columns)
    if not len(values):
        return None
    p = paired_p(values[:, 1:], values[:, :1])
    p[[not row.ranked for row in others]] = np.nan
    return Differences(others, paired_difference(values[:, 1:], values[:, :1]), holm(p))


@dataclass(frozen=True, eq=False)
class Against:
    """Differences to plain averaged over these blocks, (rows, metrics), with Holm's correction
    over all of them, and whether the mean lies on the better side."""

    rows: list[Row]
    interval: Interval
    adjusted: Float[np.ndarray, "rows metrics"]
    better: Bool[np.ndarray, "rows metrics"]

    @property
    def clear(self) -> Bool[np.ndarray, "rows metrics"]:
        """Where the correction leaves p < .05."""
        return np.asarray(self.adjusted < 1 - LEVEL)


def against_plain(board: Board, rows: Sequence[Row], names: Sequence[str]) -> Against | None:
    """Paired by block and seed, over other seeds on these very blocks. None without plain."""
    if board.baseline is None or not rows or not names:
        return None
    values = tensor(board, [board.baseline, *rows], names)
    found = pooled(values[:, :, 1:] - values[:, :, :1])
    sign = orientation(board, names)
    return Against(list(rows), found.interval(), holm(found.p()), found.mean * sign > 0)


def best(board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column]) -> np.ndarray:
    """Cells of the best tier, (rows, columns): none where all ranked rows are of one tier."""
    out = np.zeros((len(rows), len(columns)), dtype=bool)
    ranked = [i for i, row in enumerate(rows) if row.ranked]
    values = board.values(block, [rows[i] for i in ranked], columns)
    sign = orientation(board, [column.metric.name for column in columns])
    for c, column in enumerate(columns):
        if column.metric.better == "neither" or not values.size:
            continue
        tier = rank(values[None, :, :, c] * sign[c]).tier
        out[ranked, c] = (tier == 1) & (tier.max() > 1)
    return out
