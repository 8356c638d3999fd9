"""Moderated variances: Smyth's formulas written out, limits, and recovery of a true prior."""

import math

import numpy as np
import pytest
from scipy import optimize, special

from legible.bench.statistics.moderation import (
    Prior,
    fit_prior,
    inverse_trigamma,
    moderate_upwards,
)


def every(rows):
    return np.ones(rows, dtype=bool)


def smyth(variances, freedoms):
    """Section 6.2 of Smyth (2004), one number at a time, with a root finder."""
    z = [math.log(s) for s in variances]
    e = [x - special.digamma(d / 2) + math.log(d / 2) for x, d in zip(z, freedoms, strict=True)]
    mean, n = sum(e) / len(e), len(e)
    excess = sum(
        (x - mean) ** 2 / (n - 1) - special.polygamma(1, d / 2) / n
        for x, d in zip(e, freedoms, strict=True)
    )
    if excess <= 0:
        return math.inf, math.exp(mean)
    d0 = 2 * optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-6, 1e9, xtol=1e-13)
    return d0, math.exp(mean + special.digamma(d0 / 2) - math.log(d0 / 2))


@pytest.mark.parametrize("y", [1e-3, 0.1, 0.5, 1.0, 3.0, 50.0, 1e4, 1e7])
def test_inverse_trigamma_undoes_trigamma(y):
    assert inverse_trigamma(special.polygamma(1, np.array([y])))[0] == pytest.approx(y, rel=1e-6)


def test_inverse_trigamma_of_one_is_known():
    value = inverse_trigamma(np.array([math.pi**2 / 6]))  # trigamma(1)
    assert value[0] == pytest.approx(1.0, rel=1e-12)


def test_the_prior_is_smyths(rng):
    for spread in (0.0, 0.3, 1.0, 2.0):
        freedom = rng.integers(2, 12, 9).astype(float)
        variance = np.exp(spread * rng.normal(size=9)) * rng.chisquare(freedom) / freedom
        prior = fit_prior(variance, freedom, every(9))
        np.testing.assert_allclose(prior, smyth(variance, freedom), rtol=1e-5)


def test_the_prior_of_many_rows_is_the_true_one(rng):
    rows, d0, s0 = 200_000, 4.0, 2.5
    true = d0 * s0 / rng.chisquare(d0, rows)
    prior = fit_prior(true * rng.chisquare(7, rows) / 7, np.full(rows, 7.0), every(rows))
    assert prior.freedom == pytest.approx(d0, rel=0.03)
    assert prior.variance == pytest.approx(s0, rel=0.02)


def test_variances_that_do_not_vary_have_an_infinite_prior():
    prior = fit_prior(np.full(6, 2.0), np.full(6, 7.0), every(6))
    assert np.isinf(prior.freedom)
    expected = 2.0 * 3.5 / math.exp(special.digamma(3.5))  # log s^2 is low on average
    assert prior.variance == pytest.approx(expected)
    variance, freedom = moderate_upwards(np.full(6, 2.0), np.full(6, 7.0), prior, every(6))
    np.testing.assert_allclose(variance, expected)
    assert np.isinf(freedom).all()


def test_below_four_rows_nothing_is_moderated():
    own, freedom = np.array([1.0, 9.0, 1.0, 0.0, 5.0]), np.full(5, 7.0)
    counts = np.array([True, True, True, True, False])  # no spread; not trained
    prior = fit_prior(own, freedom, counts)
    assert prior.freedom == 0
    variance, after = moderate_upwards(own, freedom, prior, counts)
    np.testing.assert_array_equal(variance, own)
    np.testing.assert_array_equal(after, freedom)


def test_moderation_only_raises_and_only_the_rows_that_count():
    prior = Prior(np.array(3.0), np.array(4.0))
    own, freedom = np.array([1.0, 9.0, 1.0]), np.array([7.0, 7.0, 7.0])
    counts = np.array([True, True, False])
    variance, after = moderate_upwards(own, freedom, prior, counts)
    np.testing.assert_allclose(variance, [(3 * 4 + 7 * 1) / 10, 9.0, 1.0])
    np.testing.assert_allclose(after, [10.0, 7.0, 7.0])


def test_batches_are_the_single_results(rng):
    variance = rng.chisquare(5, (3, 8)) * np.exp(rng.normal(size=(3, 8)))
    freedom = np.full((3, 8), 5.0)
    together = fit_prior(variance, freedom, every(8))
    for k in range(3):
        one = fit_prior(variance[k], freedom[k], every(8))
        np.testing.assert_allclose((together.freedom[k], together.variance[k]), one)
