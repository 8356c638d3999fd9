"""Intervals and tests over seeds: known answers, and coverage on simulated data."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from legible.bench.statistics import intervals as stats
from legible.bench.statistics.bootstrap import aggregate

SEEDS = [3, 5, 10]


def test_the_t_interval_is_scipys(rng):
    x = rng.normal(size=5)
    low, high = scipy_stats.t.interval(0.95, 4, x.mean(), scipy_stats.sem(x))
    interval = stats.t_interval(x)
    np.testing.assert_allclose([interval.low, interval.high], [low, high])


def test_missing_seeds_are_left_out(rng):
    x = rng.normal(size=(5, 2))
    x[1, 0] = np.nan
    interval = stats.t_interval(x)
    np.testing.assert_allclose(interval.half[0], stats.t_interval(np.delete(x[:, 0], 1)).half)
    assert interval.n.tolist() == [4, 5]


def test_one_seed_has_no_interval():
    interval = stats.t_interval(np.array([0.3]))
    assert interval.mean == 0.3
    assert np.isnan(interval.low)
    assert np.isnan(stats.t_interval(np.array([np.nan])).mean)


@pytest.mark.parametrize("seeds", SEEDS)
def test_t_and_paired_intervals_cover_95_percent(rng, seeds, covered):
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
    adjusted = stats.holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, np.nan, 0.06, 0.02])


def test_holm_keeps_the_shape_and_survives_no_tests():
    assert stats.holm(np.full((2, 3), np.nan)).shape == (2, 3)
    assert stats.holm(np.full((2, 2), 0.9)).max() == 1


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (0.2, 1.0, 3.0), (0.01, 0.01, 1.0)])
def test_pooled_intervals_cover_blocks_of_unequal_spread(rng, seeds, spreads, covered):
    spread = np.array(spreads)[:, None, None]
    truth = np.array([1.0, -2.0, 5.0])[:, None, None]
    x = truth + spread * rng.normal(size=(3, seeds, 4000))
    pooled = stats.pooled(x)
    assert 0.935 < covered(pooled.interval(), truth.mean()) < 0.985
    assert 0.015 < np.mean(stats.pooled(x - truth).p() < 0.05) < 0.065
    bootstrapped = covered(aggregate(x[..., :600], "seeds", 1000), truth.mean())
    assert 0.92 < bootstrapped < 0.99


def test_pooled_is_the_t_interval_of_one_block_and_needs_two_seeds(rng):
    x = rng.normal(size=(1, 5, 4))
    np.testing.assert_allclose(stats.pooled(x).interval().half, stats.t_interval(x[0]).half)
    x[0, 1:, 0] = np.nan
    pooled = stats.pooled(x)
    assert pooled.mean[0] == x[0, 0, 0]
    assert np.isnan(pooled.p()[0])
    assert np.isnan(pooled.interval().half[0])


def test_pooled_leaves_out_blocks_without_a_value(rng):
    x = rng.normal(size=(3, 4, 2))
    x[1, :, 0] = np.nan
    pooled = stats.pooled(x)
    assert pooled.n.tolist() == [2, 3]
    np.testing.assert_allclose(pooled.mean[0], x[[0, 2], :, 0].mean())


@pytest.mark.parametrize("seeds", SEEDS)
def test_holm_holds_the_error_of_a_whole_table(rng, seeds):
    """Differences to one shared baseline, none of them real, over a table of 4 by 7."""
    tables = rng.normal(size=(seeds, 400, 5, 7))
    p = stats.paired_p(tables[:, :, 1:], tables[:, :, :1])
    wrong = [bool((stats.holm(table) < 0.05).any()) for table in p]
    assert np.mean(wrong) < 0.08
