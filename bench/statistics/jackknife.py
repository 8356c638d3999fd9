"""Means of values of pairs of networks, with errors that know that pairs share networks.

A value such as "units matched between the networks of seeds 3 and 5" belongs to two networks, so
the values of pairs are not independent. The jackknife leaves out one network at a time, with all
its pairs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from legible.bench.statistics.contrasts import Contrast
from legible.bench.statistics.moderation import fit_prior, moderate_upwards

NETWORKS = 10  # pairs grow with the square: the first ten networks of a row are compared

Pairs = Float[np.ndarray, "*batch networks networks"]


def mean_of_pairs(values: Pairs) -> Contrast:
    """Mean over the pairs of networks, with the jackknife's error over networks.

    ``values`` is a matrix with one value a pair, above or below the diagonal or in both places; NaN
    where it was not computed; the diagonal does not count. The error is that of Student's t with
    networks - 1 degrees of freedom; NaN below three networks, or where a network has the only pair.
    """
    pairs = _symmetric(values)
    finite = np.isfinite(pairs)
    y = np.where(finite, pairs, 0.0)
    sums, counts = y.sum(-1), finite.sum(-1)  # of each network's pairs
    whole, number = sums.sum(-1) / 2, counts.sum(-1) / 2
    use = counts > 0
    networks = use.sum(-1)
    rest = number[..., None] - counts
    without = (whole[..., None] - sums) / np.where(use & (rest > 0), rest, np.nan)
    enough = (networks > 2) & ~(use & (rest == 0)).any(-1)
    left = np.where(use & enough[..., None], without, 0.0)
    centre = left.sum(-1) / np.maximum(networks, 1)
    squares = np.where(use & enough[..., None], (left - centre[..., None]) ** 2, 0).sum(-1)
    variance = squares * (networks - 1) / np.maximum(networks, 1)
    mean = whole / np.where(number > 0, number, np.nan)
    low = np.where(finite, pairs, np.inf).min((-1, -2))
    high = np.where(finite, pairs, -np.inf).max((-1, -2))
    size = np.where(number > 0, np.maximum(np.abs(low), np.abs(high)), 0)
    spread = enough & (high - low > 1e-12 * size)
    error = np.sqrt(np.where(spread, variance, np.nan))
    freedom = np.where(spread, networks - 1.0, np.nan)
    return Contrast(*(np.asarray(x) for x in (mean, error, freedom, networks, spread)))


def pairs_against_plain(
    values: Float[np.ndarray, "*batch rows networks networks"],
    plain: Pairs,
    trained: Bool[np.ndarray, "rows"],
) -> Contrast:
    """Differences of rows to plain over the pairs of seeds that both have, for the signs.

    The squared errors of trained rows are moderated upwards (`moderation`), like the variances of
    other columns: where pairs have skewed values the jackknife alone is a little too sure.
    """
    contrast = difference_of_pairs(values, plain[..., None, :, :])
    counts = trained & contrast.spread
    squared = contrast.error**2
    prior = fit_prior(squared, contrast.freedom, counts)
    squared, freedom = moderate_upwards(squared, contrast.freedom, prior, counts)
    return contrast._replace(error=np.sqrt(squared), freedom=freedom)


def difference_of_pairs(
    first: Pairs, second: Float[np.ndarray, "*#batch networks networks"]
) -> Contrast:
    """Mean difference of two rows over the pairs of seeds that both have (`mean_of_pairs`)."""
    return mean_of_pairs(_symmetric(first) - _symmetric(second))


def _symmetric(values: np.ndarray) -> np.ndarray:
    """The matrix with each pair's value in both places and NaN on the diagonal."""
    other = np.swapaxes(values, -1, -2)
    whole = np.where(np.isfinite(values), values, other)
    return np.where(np.eye(values.shape[-1], dtype=bool), np.nan, whole)
