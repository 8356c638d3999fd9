"""Means over several blocks (a dataset on a backbone) with a hierarchical bootstrap.

The usual bootstrap, which resamples seeds with replacement, gives intervals that are much too
short for three seeds. Here each draw multiplies the deviations of seeds (and of blocks) from their
mean by normal random numbers, divided by the square root of a chi-squared one over its degrees of
freedom. For one block the draws follow exactly Student's t distribution around the mean, so
percentile intervals are t intervals; and functions of the draws, such as ranks, get intervals too.
The multipliers of a block and seed are the same for all items, so methods stay paired by seed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import special

from legible.bench.statistics.intervals import LEVEL, Interval, moments

DRAWS = 10_000


def bootstrap_means(
    values: Float[np.ndarray, "blocks seeds *items"],
    over: Literal["seeds", "blocks"],
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "draws *items"]:
    """Bootstrap draws of the mean over blocks of the means over seeds; NaN is a missing value.

    ``over="seeds"`` is about the same blocks with other seeds. ``over="blocks"`` is about other
    blocks of the same kind with other seeds: blocks vary, and seeds within them only as far as the
    spread of the block means is smaller than the seeds alone would cause, because that spread
    contains the noise of the seeds already. For one block both are the same. NaN where a variance
    is undefined.
    """
    generator = np.random.default_rng(seed)
    blocks, seeds, *items = values.shape
    flat = values.reshape(blocks, seeds, -1)
    n, mean, deviation = moments(np.swapaxes(flat, 0, 1))  # each (blocks, items)
    has_values, count = n > 0, (n > 0).sum(0)
    centre = np.where(has_values, mean, 0).sum(0) / np.where(count > 0, count, np.nan)
    inner = np.where(has_values, deviation**2 / np.maximum(n, 1), 0)  # variance of a block's mean
    total = inner.sum(0)
    freedom = total**2 / np.maximum((inner**2 / np.maximum(n - 1, 1)).sum(0), 1e-300)
    noise = _seed_noise(flat, n, mean, draws, generator) / np.maximum(count, 1)
    noise *= _tails(generator.random((draws, 1)), freedom)
    noise += np.where(np.isnan(total), np.nan, 0)
    if over == "seeds" or blocks == 1:
        return (centre + noise).reshape(draws, *items)
    spread = np.where(has_values, mean - centre, 0)
    between = (spread**2).sum(0) / np.where(count > 1, count - 1, np.nan)
    share = np.clip(1 - between * count / np.where(total > 0, total, np.nan), 0, 1)
    step = generator.standard_normal((draws, blocks)) @ spread
    step *= _tails(generator.random((draws, 1)), count - 1.0)
    step /= np.sqrt(np.maximum(count * (count - 1), 1))
    within = np.where(np.nan_to_num(share) > 0, noise * np.sqrt(share), 0)
    out = np.where(count > 1, centre + step + within, centre + noise)
    return out.reshape(draws, *items)


def _seed_noise(
    flat: Float[np.ndarray, "blocks seeds items"],
    n: Float[np.ndarray, "blocks items"],
    mean: Float[np.ndarray, "blocks items"],
    draws: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "draws items"]:
    """Normal draws with the variance of the sum over blocks of the means over seeds."""
    residual = np.where(np.isfinite(flat), flat - mean[:, None], 0)
    unit = residual / np.sqrt(np.maximum(n * (n - 1), 1))[:, None]
    normal = generator.standard_normal((draws, flat.shape[0] * flat.shape[1]))
    return normal @ unit.reshape(normal.shape[1], flat.shape[2])


def _tails(
    uniform: Float[np.ndarray, "draws 1"], freedom: Float[np.ndarray, "items"]
) -> Float[np.ndarray, "draws items"]:
    """sqrt(df / chi-squared) for each item, from the same uniform numbers for all items.

    Degrees of freedom are rounded down to eighths, so that few quantiles have to be computed.
    """
    df, item = np.unique(np.maximum(np.floor(freedom * 8) / 8, 1), return_inverse=True)
    return np.asarray(np.sqrt(df / special.chdtri(df, uniform))[:, item])


def aggregate(
    values: Float[np.ndarray, "blocks seeds *items"],
    over: Literal["seeds", "blocks"] = "blocks",
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Mean over blocks with a symmetric bootstrap interval; ``n`` is the number of blocks."""
    _, mean, _ = moments(np.swapaxes(values, 0, 1))
    n, centre, _ = moments(mean)
    means = bootstrap_means(values, over, draws, seed)
    half = np.quantile(np.abs(means - centre), LEVEL, axis=0)
    return Interval(centre, np.asarray(centre - half), np.asarray(centre + half), n)
