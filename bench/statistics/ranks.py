"""Ranks with intervals and tiers, from comparisons of every pair of methods.

Higher is better; change the sign of a metric for which lower is better. Two methods differ if
p < .05 after Holm's correction over all pairs. The rank interval of a method goes from 1 + the
number of methods that beat it to the number of methods minus those that it beats. All intervals
together contain the true ranks with 95 % confidence, on these data and backbones, over other seeds.
A tier begins with a method that loses to the leader of the tier above; the other methods of a tier
do not differ from its leader.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from legible.bench.statistics.bootstrap import bootstrap_means
from legible.bench.statistics.intervals import LEVEL, moments, pooled
from legible.bench.statistics.multiplicity import holm


class Ranking(NamedTuple):
    """Scores, ranks, rank intervals and tiers of methods.

    Rank and tier are 0 for a method without a score in a block where another method has one.
    """

    score: Float[np.ndarray, "methods"]
    rank: Float[np.ndarray, "methods"]
    low: Int[np.ndarray, "methods"]
    high: Int[np.ndarray, "methods"]
    tier: Int[np.ndarray, "methods"]


def rank(values: Float[np.ndarray, "blocks seeds methods"]) -> Ranking:
    """Ranks methods by their mean over blocks and seeds; pairs of methods are paired by seed."""
    whole = complete(values)
    score = np.where(whole, _block_mean(values), np.nan)
    return ranking(score, pairwise_p(np.where(whole, values, np.nan)))


def rank_overall(
    values: Float[np.ndarray, "blocks seeds methods aspects"], draws: int = 4000, seed: int = 0
) -> Ranking:
    """Ranks methods by the mean of their ranks in each aspect, with equal weights.

    The rank in an aspect is that of the mean over blocks, as in `rank`. The joint distribution of
    ranks over other seeds is bootstrapped. For a pair A, B take two shares of draws: A at least as
    good as B, and B at least as good as A. p is twice the smaller one, at most 1. ``score`` is
    minus the mean rank.
    """
    methods, aspects = values.shape[2:]
    parts = [values[..., a] for a in range(aspects)]
    whole = np.logical_and.reduce([complete(part) for part in parts])
    centre = np.stack([_block_mean(part)[whole] for part in parts], -1)
    score = np.full(methods, np.nan)
    score[whole] = -_ranks(centre).mean(-1)
    # one seed for all aspects: the same multipliers, so that the draws of aspects stay joint
    means = [bootstrap_means(part[:, :, whole], "seeds", draws, seed) for part in parts]
    mean_rank = _ranks(np.stack(means, -1)).mean(-1)
    p = np.full((methods, methods), np.nan)
    p[np.ix_(whole, whole)] = _share_p(mean_rank)
    return ranking(score, p)


def ranking(
    score: Float[np.ndarray, "methods"], p: Float[np.ndarray, "methods methods"]
) -> Ranking:
    """Ranks, rank intervals and tiers from scores (NaN: unranked) and p values of all pairs."""
    has_score = np.isfinite(score)
    position = np.zeros(len(score))
    position[has_score] = stats.rankdata(-score[has_score], "min")
    beats = significant(p) & (score[:, None] > score[None])
    low = np.where(has_score, 1 + beats.sum(0), 0)
    high = np.where(has_score, has_score.sum() - beats.sum(1), 0)
    return Ranking(score, position, low, high, tiers(score, beats))


def significant(p: Float[np.ndarray, "methods methods"]) -> Bool[np.ndarray, "methods methods"]:
    """Whether each pair of methods differs, after Holm's correction over all pairs."""
    upper = np.triu_indices(len(p), 1)
    out = np.zeros(p.shape, dtype=bool)
    out[upper] = np.nan_to_num(holm(p[upper]), nan=1.0) < 1 - LEVEL
    return out | out.T


def tiers(
    score: Float[np.ndarray, "methods"], beats: Bool[np.ndarray, "methods methods"]
) -> Int[np.ndarray, "methods"]:
    """Tiers of methods, from 1 for the best; 0: unranked.

    A tier ends before the first method that its leader beats.
    """
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
    """Two-sided p value of the mean difference of every pair, paired by block and seed.

    With Welch and Satterthwaite's degrees of freedom over the blocks. NaN if a block that both
    share has fewer than two seeds, or if the differences do not vary.
    """
    return pooled(values[..., :, None] - values[..., None, :]).p()


def complete(values: Float[np.ndarray, "blocks seeds methods"]) -> Bool[np.ndarray, "methods"]:
    """Whether each method has a value in every block in which any method has one."""
    has = np.isfinite(values).any(1)
    return np.asarray((has | ~has.any(1, keepdims=True)).all(0) & has.any(0))


def _block_mean(values: Float[np.ndarray, "blocks seeds methods"]) -> np.ndarray:
    _, mean, _ = moments(np.swapaxes(values, 0, 1))
    return moments(mean)[1]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the methods axis (the last but one): 1 for the highest; ties share the mean."""
    return stats.rankdata(-values, axis=-2)


def _share_p(ranks: Float[np.ndarray, "draws methods"]) -> Float[np.ndarray, "methods methods"]:
    difference = ranks[:, :, None] - ranks[:, None, :]
    above, below = (difference >= 0).mean(0), (difference <= 0).mean(0)
    return np.where(
        np.isnan(difference).any(0), np.nan, np.minimum(2 * np.minimum(above, below), 1)
    )
