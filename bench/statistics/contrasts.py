"""Differences of a row to plain, and of two rows, with their standard errors.

One block (a dataset on a backbone) and one metric: ``values`` are rows x seeds, NaN where a run is
missing or failed, oriented so that more is better. Seed s of a row and seed s of plain share data
order and first weights, so a part of their noise is common. Plain has more seeds than the rows,
because every comparison uses it; its first ones are those of the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from legible.bench.statistics.intervals import INTERVAL_SEEDS, LEVEL, Interval, t_p
from legible.bench.statistics.moderation import fit_prior, moderate_upwards

FEWEST_SEEDS = 8  # below, no sign: error rates do not hold (docs/verdicts.md)

Values = Float[np.ndarray, "*batch rows seeds"]
Marks = Bool[np.ndarray, "rows"]


class Contrast(NamedTuple):
    """Differences with standard errors, degrees of freedom and numbers of seeds, by row.

    ``error`` is NaN where nothing can be tested: below two seeds, or where ``spread`` is False,
    which means that all seeds gave the same value. ``seeds`` counts those that both sides have.
    """

    difference: Float[np.ndarray, "*items"]
    error: Float[np.ndarray, "*items"]
    freedom: Float[np.ndarray, "*items"]
    seeds: Int[np.ndarray, "*items"]
    spread: Bool[np.ndarray, "*items"]

    def p(self) -> Float[np.ndarray, "*items"]:
        """Two-sided p value for a difference of 0; NaN where it cannot be tested."""
        return t_p(self.difference, self.error, self.freedom)

    def interval(self, level: float = LEVEL) -> Interval:
        """Student's t interval of each difference, not corrected for the number of rows; without
        limits below three seeds."""
        half = special.stdtrit(self.freedom, (1 + level) / 2) * self.error
        half = np.where(self.seeds < INTERVAL_SEEDS, np.nan, half)
        low, high = self.difference - half, self.difference + half
        return Interval(self.difference, low, high, self.seeds.astype(float))


def against_plain(
    values: Values,
    plain: Float[np.ndarray, "*batch plain_seeds"],
    trained: Marks,
    derived: Marks,
) -> Contrast:
    """Difference of each row's mean to plain's mean over all its seeds.

    With r = y - beta plain on the shared seeds, the difference is mean(r) minus (1 - beta) times
    plain's mean over all its seeds. beta (`seed_slope`) removes as much of plain's noise as the
    rows share with it: 0 is the unpaired difference, 1 the paired one. Its variance is
    s^2 (1/n + q) + (1 - beta)^2 var(plain) / N, with Satterthwaite's degrees of freedom. Here q is
    what the estimation of beta costs: (plain's mean over the shared seeds - over all)^2 / (sum of
    plain's squared deviations on the shared seeds), as for the regression estimator in double
    sampling (Cochran 1977, chapter 12).

    ``trained`` rows are trained by a method: beta and the moderation of s^2 (`moderation`) come
    from them, and only theirs is moderated. ``derived`` rows are made from plain's own networks
    (rotated, pruned, post hoc), so beta is 1 for them, and q is 0.
    """
    rows, shared = _aligned(values, plain)
    beta = np.where(derived, 1.0, seed_slope(values, plain, trained)[..., None])
    residual = rows - beta[..., None] * shared
    n, mean, own = _moments(residual)
    spread = varies(rows) & varies(residual)
    counts = trained & spread
    variance, freedom = moderate_upwards(own, n - 1.0, fit_prior(own, n - 1.0, counts), counts)
    plain_n, plain_mean, plain_variance = (x[..., None] for x in _moments(plain))
    mine = variance * (1 / np.maximum(n, 1) + np.where(derived, 0, _leverage(shared, plain_mean)))
    others = np.where(beta < 1, (1 - beta) ** 2 * plain_variance / np.maximum(plain_n, 1), 0.0)
    difference = mean - np.where(beta < 1, (1 - beta) * plain_mean, 0.0)
    parts = (np.where(spread, mine, np.nan), freedom), (others, plain_n - 1.0)
    variance, freedom = add_variances(*parts)
    return Contrast(difference, np.sqrt(variance), freedom, n, spread)


def add_variances(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of variances of independent estimates, with Satterthwaite's degrees of freedom.

    A part is a variance with its degrees of freedom, which may be infinite.
    """
    whole = np.asarray(sum(variance for variance, _ in parts))
    squares = np.asarray(sum(variance**2 / np.maximum(free, 1) for variance, free in parts))
    freedom = whole**2 / np.where(squares == 0, np.nan, squares)
    return whole, np.where((squares == 0) & (whole > 0), np.inf, freedom)


def seed_slope(
    values: Values, plain: Float[np.ndarray, "*batch plain_seeds"], trained: Marks
) -> Float[np.ndarray, "*batch"]:
    """beta: median over trained rows of the slope of a row on plain over shared seeds, in [0, 1].

    Rows whose seeds all gave the same value do not count; 0 where no row is left.
    """
    rows, shared = _aligned(values, plain)
    n, _, plain_variance = _moments(shared)
    x, y = (v - _moments(v)[1][..., None] for v in (shared, rows))
    covariance = np.nansum(x * y, -1) / np.maximum(n - 1, 1)
    use = trained & varies(rows) & (plain_variance > 0)
    slope = covariance / np.where(use, plain_variance, np.nan)
    return np.asarray(np.clip(np.nan_to_num(_median(slope)), 0, 1))


def between_rows(
    values: Values,
    trained: Marks,
    first: Int[np.ndarray, "pairs"],
    second: Int[np.ndarray, "pairs"],
) -> Contrast:
    """Differences of pairs of rows (``first`` minus ``second``, row numbers), paired by seed.

    The variance of a pair of trained rows is moderated by those of all pairs of trained rows; a
    pair with another row keeps its own variance, as in a paired t test.
    """
    n, mean, own, spread = _paired(values, first, second)
    a, b = np.triu_indices(values.shape[-2], 1)
    a, b = (x[trained[a] & trained[b]] for x in (a, b))
    every_n, _, every, every_spread = _paired(values, a, b)
    prior = fit_prior(every, every_n - 1.0, every_spread)
    counts = trained[first] & trained[second] & spread
    variance, freedom = moderate_upwards(own, n - 1.0, prior, counts)
    error = np.sqrt(np.where(spread, variance / np.maximum(n, 1), np.nan))
    return Contrast(mean, error, np.where(spread, freedom, np.nan), n, spread)


def beats_each(contrast: Contrast, others: int) -> Float[np.ndarray, "*batch methods"]:
    """p value of "this row is better than each of the other rows", by method.

    ``contrast`` holds each method minus each of the ``others`` (a number of rows), the first
    method's first (`between_rows`, or its mean over blocks). The intersection-union test (Berger
    1982): the largest of the two-sided p values, where a difference in the wrong direction counts
    as 1. Each single test keeps its level, so nothing is corrected for the number of other rows;
    correct over methods with `multiplicity.holm`. Other rows without a value beside any method are
    left out; NaN if none is left, or if the method has no test against one of the rest, or fewer
    than 8 seeds together with it.
    """
    shape = (*contrast.difference.shape[:-1], -1, max(others, 1))
    tested = contrast.spread & (contrast.seeds >= FEWEST_SEEDS)
    p = np.where(contrast.difference > 0, contrast.p(), 1.0)
    p = np.where(tested, p, np.nan).reshape(shape)
    absent = (contrast.seeds.reshape(shape) == 0).all(-2, keepdims=True)
    worst = np.where(absent, -np.inf, p).max(-1)
    return np.where(np.isneginf(worst), np.nan, worst)


def _aligned(
    values: Values, plain: Float[np.ndarray, "*batch plain_seeds"]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and plain on the seeds that both have, each (*batch, rows, seeds); NaN elsewhere."""
    seeds = values.shape[-1]
    missing = max(seeds - plain.shape[-1], 0)
    widths = [(0, 0)] * (plain.ndim - 1) + [(0, missing)]
    shared = np.pad(plain, widths, constant_values=np.nan)[..., None, :seeds]
    both = np.isfinite(values) & np.isfinite(shared)
    return np.where(both, values, np.nan), np.where(both, shared, np.nan)


def _leverage(shared: np.ndarray, plain_mean: np.ndarray) -> np.ndarray:
    """Variance that the estimate of beta adds, in units of s^2; 0 where plain has no spread."""
    n, mean, variance = _moments(shared)
    squares = np.where(varies(shared), variance * (n - 1), np.inf)
    return np.asarray(np.nan_to_num((mean - plain_mean) ** 2) / squares)


def _paired(
    values: Values, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and variance of the differences of pairs over seeds; whether they vary."""
    differences = values[..., first, :] - values[..., second, :]
    n, mean, variance = _moments(differences)
    return n, mean, variance, varies(differences)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of values, mean and variance (ddof=1) over the last axis, without NaN."""
    finite = np.isfinite(values)
    n = finite.sum(-1)
    mean = np.where(finite, values, 0).sum(-1) / np.where(n > 0, n, np.nan)
    squares = np.where(finite, (values - mean[..., None]) ** 2, 0).sum(-1)
    variance = squares / np.where(n > 1, n - 1, np.nan)
    return np.asarray(n), np.asarray(mean), np.asarray(variance)


def varies(values: np.ndarray) -> np.ndarray:
    """Whether there are two values over the last axis, without NaN, that differ by more than
    rounding."""
    n = np.isfinite(values).sum(-1)
    low = np.where(np.isfinite(values), values, np.inf).min(-1)
    high = np.where(np.isfinite(values), values, -np.inf).max(-1)
    scale = np.maximum(np.abs(low), np.abs(high))
    return np.asarray((n > 1) & (high - low > 1e-12 * np.where(n > 0, scale, 0)))


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis, without NaN; NaN if nothing is left."""
    ordered = np.sort(values, -1)
    n = np.isfinite(values).sum(-1, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(k, 0), -1) for k in ((n - 1) // 2, n // 2)]
    return np.asarray(np.where(n > 0, (middle[0] + middle[-1]) / 2, np.nan)[..., 0])
