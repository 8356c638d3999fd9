"""Reliability: how far a metric tells rows apart more than seeds do."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from legible.bench.statistics.intervals import LEVEL, Interval

FEWEST_ROWS = 5


def row_reliability(
    values: Float[np.ndarray, "*batch rows seeds"], level: float = LEVEL
) -> Interval:
    """1 - MS(residual) / MS(rows) of a two-way analysis of variance, rows x seeds, of one block.

    The share of the variance of row means, over n seeds, that is between rows and not noise:
    1 is best, below 0 is less than chance gives. It is the intraclass correlation ICC(C, k) of
    McGraw and Wong (1996), with their F interval, and depends on which rows there are. Give trained
    rows only. Rows with a missing seed are left out, and so are seeds that no row has; NaN below 5
    rows or 2 seeds. ``n`` is the number of rows used.
    """
    present = np.isfinite(values)
    seed_used = present.any(-2)
    used = (present | ~seed_used[..., None, :]).all(-1) & seed_used.any(-1)[..., None]
    rows, seeds = used.sum(-1), seed_used.sum(-1)
    cell = used[..., None] & present
    y = np.where(cell, values, 0.0)
    row_mean = y.sum(-1) / np.maximum(seeds, 1)[..., None]
    seed_mean = y.sum(-2) / np.maximum(rows, 1)[..., None]
    grand = row_mean.sum(-1) / np.maximum(rows, 1)
    residual = y - row_mean[..., None] - seed_mean[..., None, :] + grand[..., None, None]
    free_rows, free_seeds = rows - 1.0, seeds - 1.0
    enough = (rows >= FEWEST_ROWS) & (seeds > 1)
    between = seeds * np.where(used, (row_mean - grand[..., None]) ** 2, 0).sum(-1)
    between = between / np.where(enough, free_rows, np.nan)
    within = np.where(cell, residual**2, 0).sum((-1, -2))
    within = within / np.where(enough, free_rows * free_seeds, np.nan)
    ratio = within / np.where(between > 0, between, np.nan)  # 1 / F
    tail = (1 + level) / 2
    low = special.fdtri(free_rows, free_rows * free_seeds, tail)
    high = special.fdtri(free_rows * free_seeds, free_rows, tail)
    mean, lower, upper = map(np.asarray, (1 - ratio, 1 - ratio * low, 1 - ratio / high))
    return Interval(mean, lower, upper, np.asarray(rows, dtype=float))
