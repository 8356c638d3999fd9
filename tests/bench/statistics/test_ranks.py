"""Ranks, rank intervals and tiers: known answers, and coverage on simulated data."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from legible.bench.statistics.ranks import pairwise_p, rank, rank_overall, ranking

SEEDS = [3, 5, 10]


def true_range(truth):
    better = (truth[None] > truth[:, None]).sum(1)
    worse = (truth[None] < truth[:, None]).sum(1)
    return 1 + better, len(truth) - worse


def holds(result, truth):
    low, high = true_range(truth)
    return bool(((result.low <= low) & (result.high >= high)).all())


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("effect", [0.0, 3.0])
def test_all_rank_intervals_together_cover(rng, seeds, effect):
    truth = effect * np.array([2.0, 1, 1, 0, 0])
    for blocks in (1, 3):
        draws = (
            truth + rng.normal(size=(blocks, seeds, 1)) + rng.normal(size=(blocks, seeds, 5))
            for _ in range(250)
        )
        assert np.mean([holds(rank(x), truth) for x in draws]) > 0.91


@pytest.mark.parametrize("seeds", SEEDS)
def test_rank_intervals_cover_where_blocks_and_methods_differ_in_spread(rng, seeds):
    truth = np.array([2.0, 1, 1, 0, 0])
    spread = np.array([0.2, 1.0, 3.0])[:, None, None] * np.array([1.0, 0.3, 3.0, 1.0, 1.0])
    draws = (truth + spread * rng.normal(size=(3, seeds, 5)) for _ in range(250))
    assert np.mean([holds(rank(x), truth) for x in draws]) > 0.91


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
def test_overall_rank_intervals_cover(rng, seeds):
    base = np.array([2.0, 1, 1, 0, 0])
    for effect in (0.0, 3.0):
        truth = effect * np.stack([base, base, 0 * base, base / 2], -1)
        mean_rank = -scipy_stats.rankdata(-truth, axis=0).mean(1)
        results = [rank_overall(truth + rng.normal(size=(3, seeds, 5, 4)), 600) for _ in range(100)]
        assert np.mean([holds(result, mean_rank) for result in results]) > 0.93


def test_clear_differences_make_tiers(rng):
    x = np.array([0.0, 5.0, 5.0, 10.0]) + rng.normal(0, 0.1, size=(2, 5, 4))
    result = rank(x)
    assert result.tier.tolist() == [3, 2, 2, 1]
    assert (result.low[0], result.high[0]) == (4, 4)
    assert (result.low[1], result.high[1]) == (2, 3)
    assert rank_overall(x[..., None]).tier.tolist() == [3, 2, 2, 1]


def test_pairs_of_one_block_are_paired_t_tests(rng):
    x = rng.normal(size=(1, 6, 3))
    expected = scipy_stats.ttest_rel(x[0, :, 0], x[0, :, 2]).pvalue
    np.testing.assert_allclose(pairwise_p(x)[0, 2], expected)


def test_a_method_missing_from_a_block_is_unranked(rng):
    x = rng.normal(size=(2, 3, 3))
    x[1, :, 1] = np.nan
    for result in (rank(x), rank_overall(x[..., None])):
        assert result.rank[1] == result.tier[1] == 0
        assert sorted(result.rank[[0, 2]]) == [1, 2]
        assert (result.high[0], result.high[2]) == (2, 2)


def test_a_block_without_any_value_does_not_count(rng):
    x = rng.normal(size=(2, 3, 3))
    x[1] = np.nan
    np.testing.assert_array_equal(rank(x).rank, rank(x[:1]).rank)


def test_one_seed_ties_everything(rng):
    result = rank(rng.normal(size=(3, 1, 4)))
    assert set(result.tier) == {1}
    assert set(result.high) == {4}


def test_equal_scores_share_a_rank():
    result = ranking(np.array([1.0, 2.0, 2.0]), np.full((3, 3), np.nan))
    assert result.rank.tolist() == [3, 1, 1]
