"""Reliability: a published example, invariances, missing values and coverage."""

import numpy as np
import pytest

from legible.bench.statistics.reliability import row_reliability

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
                          [6, 2, 4, 7]], dtype=float)  # fmt: skip


def test_the_example_of_shrout_and_fleiss():
    """Table 2 and 3 of Shrout and Fleiss (1979): MS 11.24 and 1.02, so ICC(3,4) = .91."""
    interval = row_reliability(SHROUT_FLEISS)
    assert interval.mean == pytest.approx(0.91, abs=0.005)
    assert interval.mean == pytest.approx(1 - 1.01944 / 11.24167, abs=1e-5)
    low, high = interval.low, interval.high
    assert (low, high) == (pytest.approx(0.676, abs=0.002), pytest.approx(0.986, abs=0.002))
    assert interval.n == 6


def test_unit_shift_and_effects_of_seeds_do_not_matter(rng):
    values = rng.normal(size=(9, 6)) + rng.normal(size=(9, 1))
    other = 100 * values + rng.normal(size=6) - 3
    np.testing.assert_allclose(row_reliability(other), row_reliability(values))
    np.testing.assert_allclose(row_reliability(-values[::-1]), row_reliability(values))


def test_the_reliability_is_the_correlation_of_two_series_of_seeds(rng):
    """Over many rows: means over 5 seeds and over 5 other seeds."""
    rows = rng.normal(0, 0.7, (20_000, 1))
    one, two = rows + rng.normal(size=(2, 20_000, 5))
    expected = np.corrcoef(one.mean(1), two.mean(1))[0, 1]
    assert row_reliability(one).mean == pytest.approx(expected, abs=0.01)


def test_noise_alone_has_none(rng):
    interval = row_reliability(rng.normal(size=(20_000, 5)))
    assert abs(interval.mean) < 0.03


def test_intervals_cover(rng, covered):
    truth = 1 / (1 + 1 / 8)  # equal variance between rows and of noise, 8 seeds
    values = rng.normal(size=(5000, 12, 1)) + rng.normal(size=(5000, 12, 8))
    assert covered(row_reliability(values), truth) == pytest.approx(0.95, abs=0.01)


def test_rows_with_a_missing_seed_and_seeds_that_no_row_has_are_left_out(rng):
    values = rng.normal(size=(7, 6))
    gaps = np.insert(values, 3, np.nan, axis=1)
    gaps = np.vstack([gaps, np.full((1, 7), np.nan)])
    np.testing.assert_allclose(row_reliability(gaps), row_reliability(values))
    gaps[2, 0] = np.nan
    expected = row_reliability(np.delete(values, 2, 0))
    np.testing.assert_allclose(row_reliability(gaps), expected)


def test_below_five_rows_there_is_none(rng):
    values = rng.normal(size=(2, 5, 6))
    values[1, 0, 0] = np.nan
    interval = row_reliability(values)
    assert np.isfinite(interval.mean[0])
    assert np.isnan([interval.mean[1], interval.low[1], interval.high[1]]).all()
    assert np.isnan(row_reliability(values[0, :, :1]).mean)
    assert np.isnan(row_reliability(np.ones((6, 4))).mean)
