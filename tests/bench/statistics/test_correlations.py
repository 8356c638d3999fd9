"""Correlations: known answers, and coverage on simulated data."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from legible.bench.statistics.correlations import rank_correlation


@pytest.mark.parametrize("blocks, methods", [(1, 10), (3, 6), (6, 10)])
@pytest.mark.parametrize("truth", [0.0, 0.5, 0.9])
def test_the_rank_correlation_covers(rng, blocks, methods, truth):
    spearman = 6 / np.pi * np.arcsin(truth / 2)
    metrics = 40  # pairs (0, 1), (2, 3), ... are correlated, others are not
    coverage = []
    for _ in range(40):
        x = rng.normal(size=(blocks, methods, metrics))
        x[..., 1::2] = truth * x[..., ::2] + np.sqrt(1 - truth**2) * x[..., 1::2]
        interval = rank_correlation(x + rng.normal(size=(blocks, 1, 1)) * 10)
        at = np.arange(0, metrics, 2)
        coverage.append(
            (interval.low[at, at + 1] <= spearman) & (spearman <= interval.high[at, at + 1])
        )
    assert 0.91 < np.mean(coverage) < 0.985


def test_rank_correlation_on_one_block_is_spearmans(rng):
    x = rng.normal(size=(1, 12, 3))
    expected = scipy_stats.spearmanr(x[0]).statistic
    np.testing.assert_allclose(rank_correlation(x).mean, expected, atol=1e-12)


def test_rank_correlation_leaves_out_missing_values(rng):
    x = rng.normal(size=(1, 12, 2))
    x[0, 3, 0] = np.nan
    x = np.concatenate([x, np.ones((1, 12, 1))], -1)
    interval = rank_correlation(x)
    expected = scipy_stats.spearmanr(np.delete(x[0, :, :2], 3, 0)).statistic
    assert interval.mean[0, 1] == pytest.approx(expected)
    assert np.isnan(interval.mean[0, 2])
