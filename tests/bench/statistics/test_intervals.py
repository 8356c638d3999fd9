"""Intervals and tests over seeds: known answers, and coverage on simulated data."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from legible.bench.statistics import intervals as stats

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


def test_holm_on_a_worked_example():
    adjusted = stats.holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, np.nan, 0.06, 0.02])


def test_holm_keeps_the_shape_and_survives_no_tests():
    assert stats.holm(np.full((2, 3), np.nan)).shape == (2, 3)
    assert stats.holm(np.full((2, 2), 0.9)).max() == 1
