"""Correlations between metrics."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from legible.bench.statistics.intervals import LEVEL, Interval, moments


def rank_correlation(values: Float[np.ndarray, "blocks methods metrics"]) -> Interval:
    """Spearman's correlation of every pair of metrics over the methods of all blocks.

    Values are first standardised within their block, so that differences between easy and hard
    data do not count as agreement. Each pair uses the methods that have both metrics. Fisher's z
    interval with Bonett and Wright's (2000) variance (1 + r²/2)/(n - 3), where n is the number of
    values minus the number of blocks plus one. Below n = 10, where it covers too little, there is
    no interval. It takes the methods as a sample, and values as independent.
    """
    first = np.broadcast_to(values[..., :, None], (*values.shape, values.shape[-1]))
    second = np.swapaxes(first, -1, -2)
    both = np.isfinite(first) & np.isfinite(second)
    x, y = (_pooled_ranks(np.where(both, v, np.nan)) for v in (first, second))
    return _pooled(x, y, both, 0.5, smallest=10)


def _pooled_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks over all blocks of the values standardised by block, minus their mean; 0: no value."""
    _, mean, deviation = moments(np.moveaxis(values, 1, 0))
    scale = np.where(deviation > 0, deviation, np.nan)
    z = (values - mean[:, None]) / scale[:, None]
    flat = z.reshape(-1, *z.shape[2:])
    ranks = stats.rankdata(flat, axis=0, nan_policy="omit")
    return _centred(ranks, 0).reshape(z.shape)


def _centred(values: np.ndarray, axis: int) -> np.ndarray:
    """Deviations from the mean along an axis; 0 where there is no value."""
    mean = np.expand_dims(moments(np.moveaxis(values, axis, 0))[1], axis)
    return np.where(np.isfinite(values), values - mean, 0)


def _pooled(
    x: np.ndarray, y: np.ndarray, both: np.ndarray, extra: float, smallest: int
) -> Interval:
    """Correlation of deviations over the first two axes, with Fisher's z interval."""
    sums = [(a * b).sum((0, 1)) for a, b in ((x, y), (x, x), (y, y))]
    scale = np.sqrt(sums[1] * sums[2])
    r = np.asarray(np.clip(sums[0] / np.where(scale > 0, scale, np.nan), -1, 1))
    n = np.asarray(np.maximum(both.sum(1) - 1, 0).sum(0) + 1.0)
    error = np.sqrt((1 + extra * r**2) / np.where(n >= smallest, n - 3, np.nan))
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    half = stats.norm.ppf((1 + LEVEL) / 2) * error
    return Interval(r, np.tanh(z - half), np.tanh(z + half), n)
