"""Ranks with intervals and tie tiers, from comparisons of every pair of methods.

Higher is better throughout (flip a metric where less is better). Two methods differ where Holm's
correction over all pairs leaves p < .05. A method's rank interval runs from 1 + the number of
methods that beat it to the number of methods less those it beats: all intervals together hold the
true ranks with 95 % confidence, on these data and backbones, over other seeds. A tier begins where
a method loses to the leader of the tier above; methods of one tier are not told apart from its
leader.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from legible.bench.statistics.bootstrap import bootstrap_means
from legible.bench.statistics.intervals import LEVEL, holm, moments, pooled


class Ranking(NamedTuple):
    """By method; rank 0 and tier 0 where a method has no score in some block that others have."""

    score: Float[np.ndarray, "methods"]
    rank: Float[np.ndarray, "methods"]
    low: Int[np.ndarray, "methods"]
    high: Int[np.ndarray, "methods"]
    tier: Int[np.ndarray, "methods"]


def rank(values: Float[np.ndarray, "blocks seeds methods"]) -> Ranking:
    """Ranks methods by their mean over blocks and seeds; pairs are compared seed by seed."""
    whole = complete(values)
    score = np.where(whole, _block_mean(values), np.nan)
    return ranking(score, pairwise_p(np.where(whole, values, np.nan)))


def rank_overall(
    values: Float[np.ndarray, "blocks seeds methods aspects"], draws: int = 4000, seed: int = 0
) -> Ranking:
    """Ranks methods by the mean of their ranks in each aspect (all aspects weigh the same).

    Aspect ranks are of means over blocks, as in `rank`. Their joint spread over other seeds is
    bootstrapped; p of a pair is twice the smaller share of draws on one side of equality.
    ``score`` is minus the mean rank.
    """
    methods, aspects = values.shape[2:]
    parts = [values[..., a] for a in range(aspects)]
    whole = np.logical_and.reduce([complete(part) for part in parts])
    centre = np.stack([_block_mean(part)[whole] for part in parts], -1)
    score = np.full(methods, np.nan)
    score[whole] = -_ranks(centre).mean(-1)
    drawn = [_draws_of(part[:, :, whole], draws, seed) for part in parts]
    mean_rank = _ranks(np.stack(drawn, -1)).mean(-1)
    p = np.full((methods, methods), np.nan)
    p[np.ix_(whole, whole)] = _share_p(mean_rank)
    return ranking(score, p)


def ranking(
    score: Float[np.ndarray, "methods"], p: Float[np.ndarray, "methods methods"]
) -> Ranking:
    """Ranks, intervals and tiers from scores (NaN: unranked) and p values of every pair."""
    known = np.isfinite(score)
    position = np.zeros(len(score))
    position[known] = stats.rankdata(-score[known], "min")
    beats = significant(p) & (score[:, None] > score[None])
    low = np.where(known, 1 + beats.sum(0), 0)
    high = np.where(known, known.sum() - beats.sum(1), 0)
    return Ranking(score, position, low, high, tiers(score, beats))


def significant(p: Float[np.ndarray, "methods methods"]) -> Bool[np.ndarray, "methods methods"]:
    """Pairs that differ after Holm's correction over all pairs."""
    upper = np.triu_indices(len(p), 1)
    out = np.zeros(p.shape, dtype=bool)
    out[upper] = np.nan_to_num(holm(p[upper]), nan=1.0) < 1 - LEVEL
    return out | out.T


def tiers(
    score: Float[np.ndarray, "methods"], beats: Bool[np.ndarray, "methods methods"]
) -> Int[np.ndarray, "methods"]:
    """1 is the best; a tier ends where its leader beats the next method. 0: unranked."""
    out = np.zeros(len(score), dtype=int)
    leader, tier = -1, 0
    for method in np.argsort(-score, kind="stable")[: np.isfinite(score).sum()]:
        if leader < 0 or beats[leader, method]:
            leader, tier = method, tier + 1
        out[method] = tier
    return out


def pairwise_p(
    values: Float[np.ndarray, "blocks seeds methods"],
) -> Float[np.ndarray, "methods methods"]:
    """Two-sided p of every pair's mean difference over blocks, paired by block and seed.

    Welch and Satterthwaite's degrees of freedom over the blocks; NaN where a block both share has
    fewer than two seeds, or where differences show no spread at all.
    """
    return pooled(values[..., :, None] - values[..., None, :]).p()


def complete(values: Float[np.ndarray, "blocks seeds methods"]) -> Bool[np.ndarray, "methods"]:
    """Methods that have a value in every block where any method has one."""
    has = np.isfinite(values).any(1)
    return np.asarray((has | ~has.any(1, keepdims=True)).all(0) & has.any(0))


def _block_mean(values: Float[np.ndarray, "blocks seeds methods"]) -> np.ndarray:
    _, mean, _ = moments(np.swapaxes(values, 0, 1))
    return moments(mean)[1]


def _draws_of(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The same seed for each aspect: the same multipliers, so that aspects stay joint."""
    return bootstrap_means(values, "seeds", draws, seed)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the methods axis (the last but one), 1 for the highest, ties averaged."""
    return stats.rankdata(-values, axis=-2)


def _share_p(drawn: Float[np.ndarray, "draws methods"]) -> Float[np.ndarray, "methods methods"]:
    difference = drawn[:, :, None] - drawn[:, None, :]
    above, below = (difference >= 0).mean(0), (difference <= 0).mean(0)
    return np.where(
        np.isnan(difference).any(0), np.nan, np.minimum(2 * np.minimum(above, below), 1)
    )
