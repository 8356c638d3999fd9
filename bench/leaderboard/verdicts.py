"""The verdicts of a leaderboard: each row's difference to plain in each aspect, with its sign.

Differences are oriented: above 0 is better than plain, whatever the direction of the metric. For a
metric without a better direction they are as they are. ``docs/verdicts.md`` explains the tests.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from legible.bench.leaderboard.board import Board, Column, Row
from legible.bench.scores.headline_conditions import TASK as TASK
from legible.bench.statistics.contrasts import (
    FEWEST_SEEDS,
    Contrast,
    against_plain,
    beats_each,
    between_rows,
    varies,
)
from legible.bench.statistics.correlations import rank_correlation
from legible.bench.statistics.intervals import LEVEL, Interval
from legible.bench.statistics.jackknife import NETWORKS, difference_of_pairs, pairs_against_plain
from legible.bench.statistics.multiplicity import holm
from legible.bench.statistics.sample_size import detectable, seeds_to_decide
from legible.bench.statistics.signs import Verdicts, over_blocks, verdicts, verdicts_over_blocks
from legible.bench.suites.run_spec import Block, RowKey
from legible.metrics.base import Metric, scope

NO_HEADLINE = "no metric is chosen as its headline"
#: The null network that plain must beat in a block for the block to take part in an aspect.
UNTRAINED = RowKey("untrained", "{}")
SYMBOLS = {
    "better": "▲", "worse": "▼", "better_small": "△", "worse_small": "▽", "equal": "≈",
    "undecided": "?", "untested": "",
}  # fmt: skip
BETTER, WORSE = ("▲", "△"), ("▼", "▽")
TOO_FEW = f"fewer than {FEWEST_SEEDS} seeds"


# ----------------------------------------------------------------- values of one metric on a block


@dataclass(frozen=True, eq=False)
class OrientedValues:
    """The values of all rows of a board in one metric on one block; more is better.

    ``values`` are rows x seeds; the first seeds are those of all rows, further ones are plain's.
    ``between_seeds``: a value at seed s belongs to the pair of seed s and the next seed.
    ``runs``: how many seeds of each row were run, with or without a value.
    """

    rows: tuple[Row, ...]
    values: Float[np.ndarray, "rows seeds"]
    trained: Bool[np.ndarray, "rows"]
    derived: Bool[np.ndarray, "rows"]
    between_seeds: bool
    runs: Int[np.ndarray, "rows"]

    def compare(self, first: Sequence[int], second: Sequence[int]) -> Contrast:
        """Differences of pairs of rows: those with numbers ``first`` minus ``second``."""
        if self.between_seeds:
            return difference_of_pairs(self.pairs(first), self.pairs(second))
        return between_rows(self.values, self.trained, np.array(first), np.array(second))

    def against(self, baseline: int) -> Contrast:
        """The difference of every row to the baseline; 0 without an error for itself."""
        if self.between_seeds:
            every = self.pairs(np.arange(len(self.rows)))
            return pairs_against_plain(every, every[baseline], self.trained)
        others = np.arange(len(self.rows)) != baseline
        used = np.isfinite(self.values[others]).any(0)
        used = used if used.any() else ~used
        return against_plain(
            self.values[:, used], np.concatenate(
                [self.values[baseline, used], self.values[baseline, ~used]]
            ), self.trained & others, self.derived,
        )  # fmt: skip

    def pairs(
        self, rows: Sequence[int] | np.ndarray
    ) -> Float[np.ndarray, "items networks networks"]:
        """Values between seeds as matrices of networks, the first ten at most. Each network is
        compared with the next, the last with the first."""
        n = self.values.shape[-1]
        matrix = np.full((len(rows), n, n), np.nan)
        matrix[:, np.arange(n), (np.arange(n) + 1) % n] = self.values[np.array(rows, dtype=int)]
        return matrix[:, :NETWORKS, :NETWORKS]


def oriented_values(board: Board, block: Block, column: Column, better: str = "") -> OrientedValues:
    """The values of all rows; ``better`` replaces the metric's own direction."""
    lower = (better or column.metric.better) == "lower"
    pairs = scope(column.metric.function) == "seeds"
    by_row = [board.seed_values(block, row, column) for row in board.rows]
    seeds = sorted({seed for item in by_row for seed in item.seeds})
    values = np.full((len(board.rows), len(seeds)), np.nan)
    for line, item in zip(values, by_row, strict=True):
        line[[seeds.index(seed) for seed in item.seeds]] = -item.values if lower else item.values
    return OrientedValues(
        tuple(board.rows), values,
        np.array([row.trained and row is not board.baseline for row in board.rows], dtype=bool),
        np.array([board.is_derived(row.method) for row in board.rows], dtype=bool), pairs,
        np.array([board.runs.get((block, row.key), 0) for row in board.rows], dtype=int),
    )  # fmt: skip


# ----------------------------------------------------------------- one metric on one block


@dataclass(frozen=True, eq=False)
class BlockColumn:
    """The verdicts of one metric on one block. Arrays follow the rows of the board, plain too."""

    block: Block
    column: Column
    data: OrientedValues
    contrast: Contrast
    margin: float
    verdicts: Verdicts

    def symbol(self, row: int) -> str:
        """The sign of a row."""
        return SYMBOLS[str(self.verdicts.sign[row])]


def block_column(
    board: Board, block: Block, column: Column, better: str = ""
) -> BlockColumn | None:
    """Differences to plain and their signs, with Holm's correction within the column.

    None without a value of plain or without another row. A metric without a better direction has no
    signs.
    """
    if board.baseline is None or len(board.rows) < 2:
        return None
    data = oriented_values(board, block, column, better)
    baseline = board.rows.index(board.baseline)
    if not np.isfinite(data.values[baseline]).any():
        return None
    contrast = _without(data.against(baseline), baseline)
    margin = board.margins.get(block, {}).get(column.metric.name, np.nan)
    signs = verdicts(contrast, margin, family(board, column.metric, better))
    return BlockColumn(block, column, data, contrast, margin, signs)


def family(board: Board, metric: Metric, better: str = "") -> Bool[np.ndarray, "rows"]:
    """The rows that are tested together in one column; none without a better direction."""
    has_direction = (better or metric.better) != "neither"
    return np.array([has_direction and row.tested and row is not board.baseline
                     for row in board.rows], dtype=bool)  # fmt: skip


def _without(contrast: Contrast, row: int) -> Contrast:
    """The contrast with one row emptied: plain is not compared with itself."""
    keep = np.arange(len(contrast.difference)) != row
    return Contrast(
        np.where(keep, contrast.difference, np.nan), np.where(keep, contrast.error, np.nan),
        np.where(keep, contrast.freedom, np.nan), np.where(keep, contrast.seeds, 0),
        np.where(keep, contrast.spread, False),
    )  # fmt: skip


# ----------------------------------------------------------------- one aspect over blocks


@dataclass(frozen=True, eq=False)
class AspectColumn:
    """The verdicts of one aspect, or of a part of it, over the blocks that take part in it.

    ``contrast`` is in the unit of the metric, or in units of the margin if ``in_margins``. Arrays
    follow the rows of the board. ``left_out`` says why a block takes no part. A ``descriptive``
    aspect has no signs: its metric has no better direction, or no metric may head it. ``tests`` is
    the number of rows that are tested together.
    """

    aspect: str
    parts: tuple[BlockColumn, ...]
    left_out: Mapping[Block, str]
    in_margins: bool
    contrast: Contrast
    verdicts: Verdicts
    tests: int
    descriptive: bool

    @property
    def metric(self) -> Metric:
        """The headline metric; that of the first block if blocks differ."""
        return self.parts[0].column.metric

    @property
    def margin(self) -> float:
        """The margin in the unit of ``contrast``; NaN if there is none."""
        return 1.0 if self.in_margins else self.parts[0].margin

    @cached_property
    def interval(self) -> Interval:
        """Each difference with its 95 % interval, not corrected for the number of rows."""
        return self.contrast.interval()

    def symbol(self, row: int) -> str:
        """The sign of a row: one of `SYMBOLS`."""
        return SYMBOLS[str(self.verdicts.sign[row])]

    def reason(self, row: int) -> str:
        """Why a row has no test; "" if it has one."""
        return str(self.verdicts.reason[row])

    @property
    def most_seeds(self) -> int:
        """The largest number of seeds that a row has."""
        return int(self.contrast.seeds.max(initial=0))

    @property
    def lacks_values(self) -> Bool[np.ndarray, "rows"]:
        """Rows with too few values for a sign although they have enough runs: some failed, or
        the metric is undefined there."""
        few = self.verdicts.reason == "few seeds"
        return few & (np.max([part.data.runs for part in self.parts], 0) >= FEWEST_SEEDS)

    @cached_property
    def blocks_differ(self) -> Bool[np.ndarray, "rows"]:
        """Rows that have enough seeds, and no sign because a block contradicts the others."""
        return np.asarray(self._seeds_to_decide <= self.contrast.seeds) & (
            self.verdicts.sign == "undecided"
        )

    @cached_property
    def _seeds_to_decide(self) -> Float[np.ndarray, "rows"]:
        return np.asarray(seeds_to_decide(self.contrast, self.margin, max(self.tests, 1)))

    @cached_property
    def seeds_needed(self) -> Float[np.ndarray, "rows"]:
        """For each row how many seeds would decide, if its difference is the true one; NaN where
        more seeds mend nothing."""
        return np.where(self.lacks_values | self.blocks_differ, np.nan, self._seeds_to_decide)

    @cached_property
    def detectable(self) -> float:
        """The median over tested rows of the smallest difference that the seeds can show."""
        tested = np.isin(self.verdicts.reason, ("", "few seeds")) & np.isfinite(self.contrast.error)
        if not tested.any():
            return np.nan
        return float(np.median(detectable(self.contrast, max(self.tests, 1))[tested]))


def combine(
    aspect: str, parts: Sequence[BlockColumn], left_out: Mapping[Block, str], rows: np.ndarray
) -> AspectColumn:
    """One column from those of several blocks; ``rows`` marks the family.

    The mean over blocks is in the unit of the metric if all blocks have the same metric and margin,
    else in units of the margin. Without margins it is in the unit of the metric, and nothing can
    be shown to be equal.
    """
    contrasts = _of_changed_networks(parts)
    margins = np.array([part.margin for part in parts])
    same = len({(part.column.metric.name, part.margin) for part in parts}) == 1
    if len(parts) == 1:
        contrast, signs = contrasts[0], verdicts(contrasts[0], margins[0], rows)
    elif np.isfinite(margins).all():
        contrast = over_blocks(contrasts, margins)
        signs = verdicts_over_blocks(contrasts, margins, rows)
        contrast = _scaled(contrast, float(margins[0])) if same else contrast
    else:
        contrast = over_blocks(contrasts, np.ones(len(parts)))
        signs = verdicts_over_blocks(contrasts, np.full(len(parts), np.nan), rows)
    in_margins = len(parts) > 1 and bool(np.isfinite(margins).all()) and not same
    tests = int(np.isin(signs.reason[rows], ("", "few seeds")).sum())
    return AspectColumn(
        aspect, tuple(parts), left_out, in_margins, contrast, signs, tests, not rows.any()
    )


def _of_changed_networks(parts: Sequence[BlockColumn]) -> list[Contrast]:
    """The contrasts of blocks; a row that left plain's network as it is on some of the blocks
    counts on the others alone (a rotation of a layer that the metric does not read)."""
    unchanged = np.array([
        part.data.derived & (part.contrast.seeds > 0) & (part.contrast.difference == 0)
        & ~part.contrast.spread
        for part in parts
    ])  # fmt: skip
    unchanged &= ~unchanged.all(0)
    return [
        part.contrast._replace(
            difference=np.where(skip, np.nan, part.contrast.difference),
            error=np.where(skip, np.nan, part.contrast.error),
        )
        for part, skip in zip(parts, unchanged, strict=True)
    ]


def _scaled(contrast: Contrast, factor: float) -> Contrast:
    return contrast._replace(difference=contrast.difference * factor, error=contrast.error * factor)


# ----------------------------------------------------------------- the whole board


@dataclass(frozen=True)
class Delivery:
    """Whether a row's target moved: in how many of the blocks in which it was tested.

    ``blocks`` is 0 if it has no target or was not tested; ``note`` says what was tested, or why
    nothing was.
    """

    moved: int
    blocks: int
    note: str

    @property
    def failed(self) -> bool:
        """Whether the target moved in no block: the row counts neither for nor against."""
        return self.blocks > 0 and self.moved == 0

    @property
    def text(self) -> str:
        """``yes``, ``no``, ``in 1 of 2 blocks``, ``?`` below 8 seeds, or a dash."""
        if not self.blocks:
            return "?" if self.note == TOO_FEW else "—"
        if self.moved in (0, self.blocks):
            return "yes" if self.moved else "no"
        return f"in {self.moved} of {self.blocks} blocks"


@dataclass(frozen=True, eq=False)
class Standings:
    """All verdicts of a board, each computed once. Arrays follow the rows of the board."""

    board: Board

    @cached_property
    def columns(self) -> dict[str, AspectColumn]:
        """The verdicts of every head with a headline in a block that takes part, and
        descriptions of the others."""
        columns = {head: self._column(head) or self._description(head) for head in self.board.heads}
        return {aspect: column for aspect, column in columns.items() if column is not None}

    @cached_property
    def signed(self) -> dict[str, AspectColumn]:
        """The aspects with a better direction, without accuracy."""
        return {a: c for a, c in self.columns.items() if a != TASK and not c.descriptive}

    @cached_property
    def methods(self) -> list[int]:
        """The numbers of the rows that are trained by a method, without plain."""
        rows = self.board.rows
        return [i for i, row in enumerate(rows) if row.trained and row is not self.board.baseline]

    @cached_property
    def most_seeds(self) -> int:
        """The largest number of seeds that a method has in a headline column of a block."""
        counts = [int(part.contrast.seeds[i]) for columns in self.headline_columns.values()
                  for part in columns.values() for i in self.methods]  # fmt: skip
        return max(counts, default=0)

    @cached_property
    def plain_seeds(self) -> int:
        """The largest number of seeds that plain has in a headline column of a block."""
        if self.board.baseline is None:
            return 0
        i = self.board.rows.index(self.board.baseline)
        parts = [part for columns in self.headline_columns.values() for part in columns.values()]
        return max((int(np.isfinite(part.data.values[i]).sum()) for part in parts), default=0)

    @cached_property
    def training_free(self) -> list[int]:
        """The numbers of the training-free rows."""
        return [i for i, row in enumerate(self.board.rows) if row.group == "training-free"]

    @cached_property
    def headline_columns(self) -> dict[Block, dict[str, BlockColumn]]:
        """The verdicts of each block in its headline metrics, by aspect."""
        of_block = {
            block: {a: block_column(self.board, block, column)
                    for a, column in self.board.headline_columns(block).items()}
            for block in self.board.blocks
        }  # fmt: skip
        return {block: {a: c for a, c in columns.items() if c is not None}
                for block, columns in of_block.items()}  # fmt: skip

    @cached_property
    def left_out(self) -> dict[str, dict[Block, str]]:
        """For each aspect the blocks that take no part, each with its reason."""
        return {
            head: {block: reason for block in self.board.blocks
                   if (reason := self._obstacle(block, head))}
            for head in self.board.heads
        }  # fmt: skip

    def _column(self, aspect: str) -> AspectColumn | None:
        left_out = self.left_out[aspect]
        parts = [columns[aspect] for block, columns in self.headline_columns.items()
                 if aspect in columns and block not in left_out]  # fmt: skip
        if not parts:
            return None
        return combine(aspect, parts, left_out, family(self.board, parts[0].column.metric))

    def _description(self, aspect: str) -> AspectColumn | None:
        """An aspect that no metric may head, without signs, over all blocks with values."""
        columns = {block: self.board.described_column(block, aspect) for block in self.board.blocks}
        parts = [part for block, column in columns.items() if column is not None
                 and (part := block_column(self.board, block, column))]  # fmt: skip
        if not parts:
            return None
        return combine(aspect, parts, {}, np.zeros(len(self.board.rows), dtype=bool))

    def _obstacle(self, block: Block, aspect: str) -> str:
        """Why a block takes no part in an aspect; "" if it does. Accuracy is always compared."""
        board = self.board
        if aspect not in self.headline_columns[block]:
            metric = board.usual_headlines.get(aspect, "")
            scored = metric in board.shown_layers[block]
            default = "no value of plain" if scored else "not scored" if metric else NO_HEADLINE
            return board.unheaded.get((block, aspect), default)
        part = self.headline_columns[block][aspect]
        if aspect == TASK or beats_untrained(board, part):
            return ""
        return f"plain does not beat the untrained network in {part.column.metric.title}"

    # ------------------------------------------------------------- was the treatment delivered?

    @cached_property
    def deliveries(self) -> dict[RowKey, Delivery]:
        """Whether the target of each trained row moved, tested by itself."""
        return {row.key: self._delivery(i) for i, row in enumerate(self.board.rows)
                if i in self.methods}  # fmt: skip

    def _delivery(self, i: int) -> Delivery:
        board = self.board
        target = board.targets.get(board.rows[i].key, "declares no target")
        if isinstance(target, str):
            return Delivery(0, 0, target)
        moved = blocks = 0
        seeds, changes = [], []
        for block in board.blocks:
            part = self._target_column(block, target.metric, target.better)
            if part is None or not part.contrast.seeds[i]:
                continue
            seeds.append(int(part.contrast.seeds[i]))
            p = self._change_p(part, i)
            if seeds[-1] < FEWEST_SEEDS or math.isnan(p):
                continue
            blocks += 1
            moved += bool(part.contrast.difference[i] > 0 and p < 1 - LEVEL)
            changes.append(f"{part.contrast.difference[i]:+.2g}".replace("-", "−"))
        about = f"target {board.metric_title(target.metric)}, should be {target.better}"
        if not seeds:
            return Delivery(0, 0, f"{about}: not scored")
        if not blocks:
            few = min(seeds) < FEWEST_SEEDS
            return Delivery(0, 0, TOO_FEW if few else f"{about}: no spread")
        return Delivery(moved, blocks, f"{about}: {', '.join(changes)} (above 0: as intended)")

    def _change_p(self, part: BlockColumn, i: int) -> float:
        """p value of the change of a target; NaN where nothing can be tested.

        A row with one value in all seeds (at the end of a metric's range) has no spread to test
        with; then plain's seeds are tested against that value (Student's t test of one sample).
        """
        if part.contrast.spread[i]:
            return float(part.contrast.p()[i])
        plain, own = (v[np.isfinite(v)] for v in part.data.values[[0, i]])  # plain's row is first
        if not len(own) or varies(own) or len(plain) < 2 or not varies(plain):
            return math.nan
        return float(stats.ttest_1samp(plain, own[0]).pvalue)

    def _target_column(self, block: Block, metric: str, better: str) -> BlockColumn | None:
        key = (block, metric, better)
        if key not in self._target_columns:
            columns = self.board.columns(block, [metric])
            self._target_columns[key] = (
                block_column(self.board, block, columns[0], better) if columns else None
            )
        return self._target_columns[key]

    @cached_property
    def _target_columns(self) -> dict[tuple[Block, str, str], BlockColumn | None]:
        return {}

    def counts(self, i: int) -> bool:
        """Whether a row counts in sentences: its treatment was delivered, or was not tested."""
        delivery = self.deliveries.get(self.board.rows[i].key)
        return delivery is None or not delivery.failed

    # ------------------------------------------------------------- pairs of rows

    def compare(
        self, column: AspectColumn, first: Sequence[int], second: Sequence[int]
    ) -> Contrast:
        """Differences of pairs of rows in an aspect over its blocks, in the unit of the column."""
        contrasts = [part.data.compare(first, second) for part in column.parts]
        if len(contrasts) == 1:
            return contrasts[0]
        scale = [part.margin if column.in_margins else 1.0 for part in column.parts]
        return over_blocks(contrasts, np.array(scale))

    @cached_property
    def beating(self) -> dict[str, list[int]]:
        """For each signed aspect the methods that are significantly better than each of the
        training-free rows with a value there, with Holm's correction over methods."""
        return {aspect: self._beating(column) for aspect, column in self.signed.items()}

    def _beating(self, column: AspectColumn) -> list[int]:
        others = [i for i in self.training_free if np.isfinite(column.contrast.difference[i])]
        if not others or not self.methods:
            return []
        first = [i for i in self.methods for _ in others]
        contrast = self.compare(column, first, others * len(self.methods))
        p = holm(beats_each(contrast, len(others)))
        return [i for i, value in zip(self.methods, p, strict=True) if value < 1 - LEVEL]

    # ------------------------------------------------------------- correlations

    @cached_property
    def agreement(self) -> Interval | None:
        """Spearman's correlation between headline metrics over trained rows and blocks, oriented;
        None below two rows or metrics."""
        board, names = self.board, list(self.columns)
        rows = [i for i, row in enumerate(board.rows) if row.trained]
        if len(rows) < 2 or len(names) < 2:
            return None
        means = np.full((len(board.blocks), len(rows), len(names)), np.nan)
        for b, block in enumerate(board.blocks):
            for c, aspect in enumerate(names):
                part = self.headline_columns[block].get(aspect)
                if part is not None:
                    values = part.data.values[rows]
                    n = np.isfinite(values).sum(1)
                    means[b, :, c] = np.nansum(values, 1) / np.where(n > 0, n, np.nan)
        return rank_correlation(means)


def beats_untrained(board: Board, part: BlockColumn) -> bool:
    """Whether plain is significantly better than the untrained network (Welch's test, one-sided),
    or simply better where one of them has a single seed.

    True where it cannot be asked: no such row, no value, or no better direction.
    """
    keys = [row.key for row in board.rows]
    if UNTRAINED.method not in part.column.metric.compares:
        return True
    if UNTRAINED not in keys or board.baseline is None or part.column.metric.better == "neither":
        return True
    plain, null = (
        values[np.isfinite(values)]
        for values in part.data.values[[board.rows.index(board.baseline), keys.index(UNTRAINED)]]
    )
    if not len(null) or plain.mean() <= null.mean():
        return not len(null)
    if min(len(plain), len(null)) < 2 or plain.std() + null.std() == 0:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # values that are nearly identical
        p = stats.ttest_ind(plain, null, equal_var=False, alternative="greater").pvalue
    return bool(p < 1 - LEVEL)
