"""Intervals, ranks and correlations: known answers, and coverage on simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from legible.bench.statistics import intervals as stats
from legible.bench.statistics.bootstrap import aggregate, bootstrap_means
from legible.bench.statistics.correlations import pairing_correlation, rank_correlation
from legible.bench.statistics.ranks import pairwise_p, rank, rank_overall, ranking

SEEDS = [3, 5, 10]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def covered(interval, truth):
    return float(np.mean((interval.low <= truth) & (truth <= interval.high)))


# ------------------------------------------------------------- one block


def test_the_t_interval_is_scipys(rng):
    x = rng.normal(size=5)
    low, high = scipy_stats.t.interval(0.95, 4, x.mean(), scipy_stats.sem(x))
    got = stats.t_interval(x)
    np.testing.assert_allclose([got.low, got.high], [low, high])


def test_missing_seeds_are_left_out(rng):
    x = rng.normal(size=(5, 2))
    x[1, 0] = np.nan
    got = stats.t_interval(x)
    np.testing.assert_allclose(got.half[0], stats.t_interval(np.delete(x[:, 0], 1)).half)
    assert got.n.tolist() == [4, 5]


def test_one_seed_has_no_interval():
    got = stats.t_interval(np.array([0.3]))
    assert got.mean == 0.3
    assert np.isnan(got.low)
    assert np.isnan(stats.t_interval(np.array([np.nan])).mean)


@pytest.mark.parametrize("seeds", SEEDS)
def test_t_and_paired_intervals_cover_95_percent(rng, seeds):
    shared = rng.normal(size=(seeds, 4000))
    plain = shared + rng.normal(size=shared.shape)
    method = shared + rng.normal(0.3, 1, size=shared.shape)
    assert covered(stats.t_interval(method), 0.3) == pytest.approx(0.95, abs=0.012)
    difference = stats.paired_difference(method, plain)
    assert covered(difference, 0.3) == pytest.approx(0.95, abs=0.012)
    assert difference.half.mean() < stats.t_interval(method).half.mean() * 1.1


def test_paired_p_is_scipys(rng):
    x, y = rng.normal(size=(2, 6, 3))
    np.testing.assert_allclose(stats.paired_p(x, y), scipy_stats.ttest_rel(x, y).pvalue)


def test_differences_without_spread_prove_nothing():
    x = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    p = stats.paired_p(x, np.ones((3, 2)))
    assert p[0] == 1
    assert np.isnan(p[1])


def test_holm_on_a_worked_example():
    got = stats.holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    np.testing.assert_allclose(got, [0.03, 0.06, np.nan, 0.06, 0.02])


def test_holm_keeps_the_shape_and_survives_no_tests():
    assert stats.holm(np.full((2, 3), np.nan)).shape == (2, 3)
    assert stats.holm(np.full((2, 2), 0.9)).max() == 1


# ------------------------------------------------------------- several blocks


@pytest.mark.parametrize("over", ["seeds", "blocks"])
def test_with_one_block_the_bootstrap_is_the_t_interval(rng, over):
    x = rng.normal(size=(1, 3, 20))
    np.testing.assert_allclose(
        aggregate(x, over).half, stats.t_interval(x[0]).half, rtol=0.06, err_msg="draws"
    )


def test_the_bootstrap_is_seeded_and_keeps_pairing(rng):
    x = rng.normal(size=(3, 4, 1))
    draws = bootstrap_means(np.concatenate([x, x + 1], -1), "seeds", 500)
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 1)
    np.testing.assert_allclose(draws[:, 0], bootstrap_means(x, "seeds", 500)[:, 0])


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("blocks", [1, 3, 6])
def test_intervals_over_seeds_cover_these_blocks(rng, seeds, blocks):
    fixed = rng.normal(0, 3, size=(blocks, 1, 1))
    x = fixed + rng.normal(size=(blocks, seeds, 600))
    assert 0.92 < covered(aggregate(x, "seeds", 1000), fixed.mean()) < 0.985


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("blocks", [2, 3, 6])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_intervals_over_blocks_cover_the_population(rng, seeds, blocks, spread):
    """Exact where blocks differ much, on the wide side where they hardly do."""
    x = rng.normal(0, spread, (blocks, 1, 600)) + rng.normal(size=(blocks, seeds, 600))
    coverage = covered(aggregate(x, "blocks", 1000), 0.0)
    assert coverage > 0.92
    assert spread < 3 or coverage < 0.975


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (0.2, 1.0, 3.0), (0.01, 0.01, 1.0)])
def test_pooled_intervals_cover_blocks_of_unequal_spread(rng, seeds, spreads):
    spread = np.array(spreads)[:, None, None]
    truth = np.array([1.0, -2.0, 5.0])[:, None, None]
    x = truth + spread * rng.normal(size=(3, seeds, 4000))
    found = stats.pooled(x)
    assert 0.935 < covered(found.interval(), truth.mean()) < 0.985
    assert 0.015 < np.mean(stats.pooled(x - truth).p() < 0.05) < 0.065
    bootstrapped = covered(aggregate(x[..., :600], "seeds", 1000), truth.mean())
    assert 0.92 < bootstrapped < 0.99


def test_pooled_is_the_t_interval_of_one_block_and_needs_two_seeds(rng):
    x = rng.normal(size=(1, 5, 4))
    np.testing.assert_allclose(stats.pooled(x).interval().half, stats.t_interval(x[0]).half)
    x[0, 1:, 0] = np.nan
    found = stats.pooled(x)
    assert found.mean[0] == x[0, 0, 0]
    assert np.isnan(found.p()[0])
    assert np.isnan(found.interval().half[0])


def test_pooled_leaves_out_blocks_without_a_value(rng):
    x = rng.normal(size=(3, 4, 2))
    x[1, :, 0] = np.nan
    found = stats.pooled(x)
    assert found.n.tolist() == [2, 3]
    np.testing.assert_allclose(found.mean[0], x[[0, 2], :, 0].mean())


@pytest.mark.parametrize("seeds", SEEDS)
def test_holm_holds_the_error_of_a_whole_table(rng, seeds):
    """Differences to one shared baseline, none of them real, over a table of 4 by 7."""
    tables = rng.normal(size=(seeds, 400, 5, 7))
    p = stats.paired_p(tables[:, :, 1:], tables[:, :, :1])
    wrong = [bool((stats.holm(table) < 0.05).any()) for table in p]
    assert np.mean(wrong) < 0.08


def test_unmeasured_cells_are_left_out_of_aggregates(rng):
    x = rng.normal(size=(3, 4, 2))
    x[1, :, 0] = np.nan
    got = aggregate(x, "seeds")
    np.testing.assert_allclose(got.mean[0], x[[0, 2], :, 0].mean())
    assert got.n.tolist() == [2, 3]


def test_one_seed_in_one_block_has_no_interval():
    assert np.isnan(aggregate(np.zeros((1, 1, 1))).half[0])


# ------------------------------------------------------------- ranks


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
        got = [rank_overall(truth + rng.normal(size=(3, seeds, 5, 4)), 600) for _ in range(100)]
        assert np.mean([holds(result, mean_rank) for result in got]) > 0.93


def test_clear_differences_make_tiers(rng):
    x = np.array([0.0, 5.0, 5.0, 10.0]) + rng.normal(0, 0.1, size=(2, 5, 4))
    result = rank(x)
    assert result.tier.tolist() == [3, 2, 2, 1]
    assert (result.low[0], result.high[0]) == (4, 4)
    assert (result.low[1], result.high[1]) == (2, 3)
    assert rank_overall(x[..., None]).tier.tolist() == [3, 2, 2, 1]


def test_pairs_of_one_block_are_paired_t_tests(rng):
    x = rng.normal(size=(1, 6, 3))
    want = scipy_stats.ttest_rel(x[0, :, 0], x[0, :, 2]).pvalue
    np.testing.assert_allclose(pairwise_p(x)[0, 2], want)


def test_a_method_missing_from_a_block_is_unranked(rng):
    x = rng.normal(size=(2, 3, 3))
    x[1, :, 1] = np.nan
    for result in (rank(x), rank_overall(x[..., None])):
        assert result.rank[1] == result.tier[1] == 0
        assert sorted(result.rank[[0, 2]]) == [1, 2]
        assert (result.high[0], result.high[2]) == (2, 2)


def test_a_block_that_nobody_was_measured_on_does_not_count(rng):
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


# ------------------------------------------------------------- correlations


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("truth", [0.0, 0.5, 0.9])
def test_the_pairing_correlation_covers(rng, seeds, truth):
    blocks = 3
    x = rng.normal(size=(blocks, seeds, 2000))
    y = truth * x + np.sqrt(1 - truth**2) * rng.normal(size=x.shape)
    offset = rng.normal(size=(blocks, 1, 1)) * 10
    got = pairing_correlation(x + offset, 3 * y - offset)
    assert covered(got, truth) == pytest.approx(0.95, abs=0.025)


def test_three_seeds_of_one_block_are_too_few_for_an_interval_of_correlation(rng):
    got = pairing_correlation(rng.normal(size=(1, 3, 2)), rng.normal(size=(1, 3, 2)))
    assert np.isfinite(got.mean).all()
    assert np.isnan(got.low).all()


@pytest.mark.parametrize("blocks, methods", [(1, 10), (3, 6), (6, 10)])
@pytest.mark.parametrize("truth", [0.0, 0.5, 0.9])
def test_the_rank_correlation_covers(rng, blocks, methods, truth):
    spearman = 6 / np.pi * np.arcsin(truth / 2)
    metrics = 40  # pairs (0, 1), (2, 3), ... are correlated, others are not
    coverage = []
    for _ in range(40):
        x = rng.normal(size=(blocks, methods, metrics))
        x[..., 1::2] = truth * x[..., ::2] + np.sqrt(1 - truth**2) * x[..., 1::2]
        got = rank_correlation(x + rng.normal(size=(blocks, 1, 1)) * 10)
        at = np.arange(0, metrics, 2)
        coverage.append((got.low[at, at + 1] <= spearman) & (spearman <= got.high[at, at + 1]))
    assert 0.91 < np.mean(coverage) < 0.985


def test_rank_correlation_on_one_block_is_spearmans(rng):
    x = rng.normal(size=(1, 12, 3))
    want = scipy_stats.spearmanr(x[0]).statistic
    np.testing.assert_allclose(rank_correlation(x).mean, want, atol=1e-12)


def test_rank_correlation_leaves_out_what_is_missing(rng):
    x = rng.normal(size=(1, 12, 2))
    x[0, 3, 0] = np.nan
    x = np.concatenate([x, np.ones((1, 12, 1))], -1)
    got = rank_correlation(x)
    want = scipy_stats.spearmanr(np.delete(x[0, :, :2], 3, 0)).statistic
    assert got.mean[0, 1] == pytest.approx(want)
    assert np.isnan(got.mean[0, 2])
