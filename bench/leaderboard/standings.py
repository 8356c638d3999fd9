"""Statistics of a leaderboard: ranks, differences to plain, best tiers, correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from legible.metrics.base import NEEDS, Metric

#: The aspect of accuracy: shown as a difference to plain, never ranked.
TASK = "task"


@dataclass(frozen=True, eq=False)
class BlockDifferences:
    """Differences to plain within one block, paired by seed, with Holm's correction."""

    rows: list[Row]
    columns: list[Column]
    interval: Interval
    adjusted: Float[np.ndarray, "rows columns"]

    def sign(self, row: int, column: int) -> str:
        """▲ or ▼ if a difference is significantly better or worse, else ""."""
        metric = self.columns[column].metric
        if not self.adjusted[row, column] < 0.05 or metric.better == "neither":
            return ""
        higher = self.interval.mean[row, column] > 0
        return "▲" if higher == (metric.better == "higher") else "▼"


@dataclass(frozen=True, eq=False)
class PooledDifferences:
    """Differences to plain averaged over blocks, with Holm's correction over all of them.

    ``better`` says whether the mean lies on the better side.
    """

    rows: list[Row]
    metrics: list[Metric]
    interval: Interval
    adjusted: Float[np.ndarray, "rows metrics"]
    better: Bool[np.ndarray, "rows metrics"]

    @property
    def significant(self) -> Bool[np.ndarray, "rows metrics"]:
        """Where the correction leaves p < .05."""
        return np.asarray(self.adjusted < 1 - LEVEL)

    def sign(self, row: int, metric: int) -> str:
        """▲ or ▼ if a difference is significantly better or worse, else ""."""
        if not self.significant[row, metric] or self.metrics[metric].better == "neither":
            return ""
        return "▲" if self.better[row, metric] else "▼"


@dataclass(frozen=True, eq=False)
class Standings:
    """The statistics of a board, each computed once. Arrays follow ``rows`` and ``headlines``."""

    board: Board

    @cached_property
    def rows(self) -> list[Row]:
        """The rows that are ranked."""
        return [row for row in self.board.rows if row.ranked]

    @cached_property
    def others(self) -> list[Row]:
        """The ranked rows without plain."""
        return [row for row in self.rows if row is not self.board.baseline]

    # ------------------------------------------------------------- ranks

    @cached_property
    def headlines(self) -> dict[str, str]:
        """The headline metric of each aspect that can be ranked: a headline metric for which higher
        or lower is better, but not accuracy."""
        return {
            aspect: name
            for aspect, name in self.board.headlines.items()
            if aspect != TASK and self.board.metric(name).better != "neither"
        }

    @cached_property
    def aspects(self) -> dict[str, Ranking]:
        """The ranks of each aspect by its headline metric; none without rows that are ranked."""
        if not self.rows:
            return {}
        return {
            aspect: rank(self.orient([name])[..., 0]) for aspect, name in self.headlines.items()
        }

    @cached_property
    def overall(self) -> Ranking | None:
        """The ranks by the mean of the aspect ranks; None if there is nothing to rank."""
        if not self.headlines or not self.rows:
            return None
        return rank_overall(self.orient(list(self.headlines.values())))

    @cached_property
    def by_overall_rank(self) -> list[Row]:
        """The ranked rows from best to worst overall, rows without a rank last."""
        if self.overall is None:
            return self.rows
        key = np.where(self.overall.tier > 0, -self.overall.score, np.inf)
        return [self.rows[i] for i in np.argsort(key, kind="stable")]

    def orient(self, names: Sequence[str]) -> Float[np.ndarray, "blocks seeds rows metrics"]:
        """The values of the ranked rows, higher is better, failures replaced by the worst value."""
        values = tensor(self.board, self.rows, names) * orientation(self.board, names)
        has_value = np.isfinite(values).any(2, keepdims=True)
        worst = np.nanmin(np.where(has_value, values, 0.0), 2, keepdims=True)
        return np.where(self.count_as_worst(names), worst, values)

    def count_as_worst(self, names: Sequence[str]) -> Bool[np.ndarray, "blocks seeds rows metrics"]:
        """Where a ranked row counts as the worst: it failed, or its metric is undefined, while
        others have a value. Not where it was skipped or its data is missing."""
        values = np.isfinite(tensor(self.board, self.rows, names))
        not_at_fault = np.array([
            [[self._not_at_fault(block, row, name) for name in names] for row in self.rows]
            for block in self.board.blocks
        ], dtype=bool).reshape(len(self.board.blocks), 1, len(self.rows), len(names))  # fmt: skip
        return ~values & ~not_at_fault & values.any(2, keepdims=True)

    def _not_at_fault(self, block: Block, row: Row, name: str) -> bool:
        """Whether a row has no value for reasons that are not the fault of its training."""
        failures = self.board.failures.get((block, row.key), ())
        if any(reason.startswith(("skipped", "missing")) for reason in failures):
            return True
        columns = self.board.columns(block, [name])
        reasons = self.board.seed_values(block, row, columns[0]).reasons if columns else ()
        return any(reason.startswith(tuple(NEEDS.values())) for reason in reasons) or not (
            reasons or failures
        )

    # ------------------------------------------------------------- differences to plain

    @cached_property
    def headline_columns(self) -> Mapping[Block, list[Column]]:
        """The headline metrics of each block, with the layers that are shown."""
        board = self.board
        return {block: board.columns(block, board.headlines.values()) for block in board.blocks}

    @cached_property
    def headline_differences(self) -> Mapping[Block, BlockDifferences | None]:
        """Differences to plain in each block, corrected over its ranked rows and headlines."""
        return {
            block: block_differences(self.board, block, self.board.rows_of(block), columns)
            for block, columns in self.headline_columns.items()
        }

    @cached_property
    def headline_best(self) -> Mapping[Block, Bool[np.ndarray, "rows columns"]]:
        """The best tier of each headline column of each block, for all rows of the board."""
        return {
            block: best_tier(self.board, block, self.board.rows, columns)
            for block, columns in self.headline_columns.items()
        }

    @cached_property
    def headline_pooled(self) -> PooledDifferences | None:
        """Differences to plain averaged over blocks; None with a single block."""
        if len(self.board.blocks) < 2:
            return None
        return pooled_differences(self.board, self.others, list(self.board.headlines.values()))

    def differences_in(self, block: Block, names: Sequence[str]) -> BlockDifferences | None:
        """Differences to plain of a block in some metrics, corrected over these alone."""
        board = self.board
        return block_differences(board, block, board.rows_of(block), board.columns(block, names))

    def bootstrap_differences(self, rows: Sequence[Row], names: Sequence[str]) -> Interval | None:
        """Mean differences to plain, (rows, metrics), bootstrapped over blocks and seeds."""
        if self.board.baseline is None or not rows or not names:
            return None
        values = tensor(self.board, [self.board.baseline, *rows], names)
        return aggregate(values[:, :, 1:] - values[:, :, :1], "blocks")

    # ------------------------------------------------------------- correlations

    @cached_property
    def pairing(self) -> Interval | None:
        """Correlation over seeds with plain in each headline metric, (others, metrics)."""
        names = list(self.board.headlines.values())
        if self.board.baseline is None or not self.others or not names:
            return None
        values = tensor(self.board, [self.board.baseline, *self.others], names)
        baseline = np.broadcast_to(values[:, :, :1], values[:, :, 1:].shape)
        return pairing_correlation(values[:, :, 1:], baseline)

    @cached_property
    def agreement(self) -> Interval | None:
        """Spearman's correlation between headline metrics over ranked rows and blocks; metrics of
        which less is better are flipped."""
        names = list(self.board.headlines.values())
        if len(self.rows) < 2 or len(names) < 2:
            return None
        values = tensor(self.board, self.rows, names)
        count = np.isfinite(values).sum(1)
        mean = np.where(np.isfinite(values), values, 0).sum(1) / np.where(count > 0, count, np.nan)
        return rank_correlation(mean * orientation(self.board, names))


def orientation(board: Board, names: Sequence[str]) -> Float[np.ndarray, "metrics"]:
    """-1 for metrics of which less is better, else 1."""
    return np.array([-1.0 if board.metric(n).better == "lower" else 1.0 for n in names])


def tensor(
    board: Board, rows: Sequence[Row], names: Sequence[str]
) -> Float[np.ndarray, "blocks seeds rows metrics"]:
    """The values of all blocks, each metric at the layer shown there, paired by seed."""
    seeds = sorted(board.table["seed"].unique())
    out = np.full((len(board.blocks), len(seeds), len(rows), len(names)), np.nan)
    for b, block in enumerate(board.blocks):
        for j, name in enumerate(names):
            for column in board.columns(block, [name]):
                for i, row in enumerate(rows):
                    values = board.seed_values(block, row, column)
                    out[b, [seeds.index(s) for s in values.seeds], i, j] = values.values
    return out


def block_differences(
    board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column]
) -> BlockDifferences | None:
    """Differences to plain, paired by seed; the family of tests is all ranked rows and columns.

    None without plain or without anything to compare with it.
    """
    others = [row for row in rows if row is not board.baseline]
    if board.baseline is None or not others or not columns:
        return None
    values = board.values(block, [board.baseline, *others], columns)
    if not len(values):
        return None
    p = paired_p(values[:, 1:], values[:, :1])
    p[[not row.ranked for row in others]] = np.nan
    interval = paired_difference(values[:, 1:], values[:, :1])
    return BlockDifferences(others, list(columns), interval, holm(p))


def pooled_differences(
    board: Board, rows: Sequence[Row], names: Sequence[str]
) -> PooledDifferences | None:
    """Differences to plain averaged over blocks, paired by block and seed; None without plain.

    The intervals say how much the result would change with new seeds on the same blocks; they say
    nothing about other data.
    """
    if board.baseline is None or not rows or not names:
        return None
    values = tensor(board, [board.baseline, *rows], names)
    means = pooled(values[:, :, 1:] - values[:, :, :1])
    better = means.mean * orientation(board, names) > 0
    metrics = [board.metric(name) for name in names]
    return PooledDifferences(list(rows), metrics, means.interval(), holm(means.p()), better)


def best_tier(
    board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column]
) -> Bool[np.ndarray, "rows columns"]:
    """Which rows are in the best tier of a column; none if all ranked rows are in one tier."""
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
