"""Differences to plain and of rows: limits with known tests, slow formulas, invariances."""

import math

import numpy as np
import pytest
from scipy import stats

from legible.bench.statistics.contrasts import against_plain, beats_each, between_rows, seed_slope
from legible.bench.statistics.moderation import fit_prior

ROWS, SEEDS = 7, 8
NONE, ALL = np.zeros(ROWS, dtype=bool), np.ones(ROWS, dtype=bool)


@pytest.fixture
def plain(rng):
    return rng.normal(3.0, 1.0, 3 * SEEDS)


@pytest.fixture
def values(rng, plain):
    spread = np.array([0.3, 0.5, 1.0, 1.0, 1.0, 2.0, 6.0])[:, None]
    return 0.4 * plain[:SEEDS] + spread * rng.normal(size=(ROWS, SEEDS)) + np.arange(ROWS)[:, None]


def slow(values, plain, trained, derived):
    """The analysis of docs/verdicts.md, one row at a time: (difference, error, freedom)."""
    pairs, slopes = [], []
    for row in values:
        both = [s for s in range(len(row)) if np.isfinite(row[s]) and np.isfinite(plain[s])]
        pairs.append((row[both], plain[both]))
        slopes.append(np.cov(row[both], plain[both])[0, 1] / plain[both].var(ddof=1))
    slope = min(max(np.median(np.array(slopes)[trained]), 0), 1)
    betas = [1.0 if d else slope for d in derived]
    residuals = [y - b * x for (y, x), b in zip(pairs, betas, strict=True)]
    own = np.array([r.var(ddof=1) for r in residuals])
    free = np.array([len(r) - 1.0 for r in residuals])
    prior = fit_prior(own, free, trained)
    everyone = plain[np.isfinite(plain)]
    lines = []
    for m, (r, b) in enumerate(zip(residuals, betas, strict=True)):
        v, f = own[m], free[m]
        if trained[m] and math.isfinite(prior.freedom):
            pulled = (prior.freedom * prior.variance + f * v) / (prior.freedom + f)
            v, f = (pulled, f + prior.freedom) if pulled > v else (v, f)
        x = pairs[m][1]
        cost = 0 if derived[m] else (x.mean() - everyone.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        mine, others = v * (1 / len(r) + cost), (1 - b) ** 2 * everyone.var(ddof=1) / len(everyone)
        freedom = (mine + others) ** 2 / (mine**2 / f + others**2 / (len(everyone) - 1))
        lines.append((r.mean() - (1 - b) * everyone.mean(), math.sqrt(mine + others), freedom))
    return np.array(lines).T


def test_the_whole_analysis_is_the_slow_one(values, plain):
    values[2, 3], values[5, :2], plain[4], plain[20] = np.nan, np.nan, np.nan, np.nan
    trained = np.array([True] * 5 + [False, False])
    derived = np.array([False] * 6 + [True])
    contrast = against_plain(values, plain, trained, derived)
    np.testing.assert_allclose(contrast[:3], slow(values, plain, trained, derived), rtol=1e-9)
    assert contrast.seeds.tolist() == [7, 7, 6, 7, 7, 5, 7]
    assert contrast.spread.all()


def test_rows_made_from_plains_networks_have_the_paired_t_test(values, plain):
    contrast = against_plain(values, plain, NONE, ALL)
    reference = stats.ttest_rel(values, np.broadcast_to(plain[:SEEDS], values.shape), axis=1)
    np.testing.assert_allclose(contrast.p(), reference.pvalue)
    interval, limits = contrast.interval(), reference.confidence_interval()
    np.testing.assert_allclose([interval.low, interval.high], [limits.low, limits.high])
    np.testing.assert_allclose(contrast.freedom, SEEDS - 1)


def test_rows_that_share_nothing_with_plain_have_welchs_test(rng, plain):
    """The slope is below 0, so beta is 0; three rows are too few for moderation."""
    values = -0.5 * plain[:SEEDS] + 0.2 * rng.normal(size=(3, SEEDS))
    plain[SEEDS:] += plain[:SEEDS].mean() - plain[SEEDS:].mean()  # beta costs nothing then
    few = np.ones(3, dtype=bool)
    assert seed_slope(values, plain, few) == 0
    contrast = against_plain(values, plain, few, ~few)
    reference = stats.ttest_ind(values, np.tile(plain, (3, 1)), axis=1, equal_var=False)
    np.testing.assert_allclose(contrast.p(), reference.pvalue)
    np.testing.assert_allclose(contrast.freedom, reference.df)


def test_beta_is_the_median_slope_within_0_and_1(plain):
    slopes = np.array([-1.0, 0.2, 0.3, 0.9, 7.0])
    values = slopes[:, None] * plain[:SEEDS] + 5
    trained = np.array([True, True, True, True, False])
    assert seed_slope(values, plain, trained) == pytest.approx(0.25)
    assert seed_slope(values, plain, trained[::-1]) == pytest.approx(0.6)
    assert seed_slope(values[4:], plain, trained[:1]) == 1
    assert seed_slope(values[:1], plain, trained[:1]) == 0
    assert seed_slope(values, plain, trained & False) == 0
    assert seed_slope(values, np.full(SEEDS, 2.0), trained) == 0


def test_more_seeds_of_plain_correct_for_lucky_shared_ones(plain):
    """Rows that follow plain by a slope of 1/2 differ by their offset, whatever the luck."""
    plain[:SEEDS] += 1.0
    values = 0.5 * plain[:SEEDS] + 0.5 * plain.mean() + np.arange(4.0)[:, None]
    values += 1e-6 * np.sin(np.arange(4 * SEEDS)).reshape(4, SEEDS)
    every = np.ones(4, dtype=bool)
    contrast = against_plain(values, plain, every, ~every)
    np.testing.assert_allclose(contrast.difference, np.arange(4.0), atol=1e-5)


def test_p_values_do_not_depend_on_unit_shift_or_order(values, plain):
    trained, derived = np.arange(ROWS) < 5, np.arange(ROWS) == 6
    one = against_plain(values, plain, trained, derived)
    other = against_plain(100 * values - 7, 100 * plain - 7, trained, derived)
    np.testing.assert_allclose(other.difference, 100 * one.difference)
    np.testing.assert_allclose(other.p(), one.p())
    mirror = against_plain(-values, -plain, trained, derived)
    np.testing.assert_allclose(mirror.difference, -one.difference)
    np.testing.assert_allclose(mirror.p(), one.p())
    order = np.array([6, 2, 0, 5, 1, 4, 3])
    turned = against_plain(values[order], plain, trained[order], derived[order])
    np.testing.assert_allclose(turned.p(), one.p()[order])
    seeds = np.r_[np.array([3, 1, 0, 2, 7, 6, 5, 4]), np.arange(3 * SEEDS - 1, SEEDS - 1, -1)]
    shuffled = against_plain(values[:, seeds[:SEEDS]], plain[seeds], trained, derived)
    np.testing.assert_allclose(shuffled.p(), one.p())


def test_missing_seeds_are_left_out_wherever_they_are(values, plain):
    few = ROWS * [True]
    gap = np.insert(values, 2, np.nan, axis=1)
    longer = np.insert(plain, 2, np.nan)
    one = against_plain(values, plain, np.array(few), NONE)
    np.testing.assert_allclose(against_plain(gap, longer, ALL, NONE).p(), one.p())
    short = against_plain(values, plain[:5], ALL, NONE)  # plain is not finished
    assert short.seeds.tolist() == ROWS * [5]
    np.testing.assert_allclose(short.p(), against_plain(values[:, :5], plain[:5], ALL, NONE).p())


def test_a_row_without_values_changes_nothing_for_the_others(values, plain):
    empty = np.vstack([values, np.full((1, SEEDS), np.nan)])
    every = np.ones(ROWS + 1, dtype=bool)
    contrast = against_plain(empty, plain, every, ~every)
    np.testing.assert_allclose(contrast.p()[:-1], against_plain(values, plain, ALL, NONE).p())
    assert contrast.seeds[-1] == 0
    assert not contrast.spread[-1]
    assert np.isnan([contrast.p()[-1], contrast.difference[-1], contrast.interval().low[-1]]).all()


def test_rows_without_spread_have_a_difference_but_no_test(values, plain):
    values[0] = 0.7
    values[1] = plain[:SEEDS] + 0.1  # made from plain's networks, and always a little better
    values[2, 1:] = np.nan
    derived = np.arange(ROWS) == 1
    contrast = against_plain(values, plain, ~derived, derived)
    assert contrast.spread.tolist() == [False, False, False, True, True, True, True]
    assert np.isnan(contrast.p()[:3]).all()
    assert np.isfinite(contrast.difference).all()
    assert contrast.difference[1] == pytest.approx(0.1)
    assert np.isfinite(contrast.p()[3:]).all()


def test_a_baseline_without_spread_can_be_compared(values):
    contrast = against_plain(values, np.full(20, 2.0), NONE, NONE)
    reference = stats.ttest_1samp(values, 2.0, axis=1)
    np.testing.assert_allclose(contrast.p(), reference.pvalue)


def test_a_calm_row_is_not_more_certain_than_moderation_says(values, plain):
    alone = against_plain(values, plain, NONE, NONE)
    together = against_plain(values, plain, ALL, ALL & False)
    beta = seed_slope(values, plain, ALL)
    own = (values - beta * plain[:SEEDS]).var(1, ddof=1)
    assert together.error[0] > math.sqrt(own[0] / SEEDS) * 1.2
    assert alone.error.shape == together.error.shape


def test_batches_are_the_single_results(rng, values, plain):
    batch = np.stack([values, values + rng.normal(size=values.shape)])
    plains = np.stack([plain, 2 * plain])
    together = against_plain(batch, plains, ALL, NONE)
    rows = between_rows(batch, ALL, np.array([0, 1]), np.array([3, 4]))
    for k in range(2):
        one = against_plain(batch[k], plains[k], ALL, NONE)
        np.testing.assert_allclose([x[k] for x in together], one)
        pair = between_rows(batch[k], ALL, np.array([0, 1]), np.array([3, 4]))
        np.testing.assert_allclose([x[k] for x in rows], pair)


def test_pairs_with_an_untrained_row_have_the_paired_t_test(values):
    values[1, 3] = np.nan
    first, second = np.array([0, 1, 6]), np.array([2, 3, 0])
    contrast = between_rows(values, NONE, first, second)
    reference = stats.ttest_rel(values[first], values[second], axis=1, nan_policy="omit")
    np.testing.assert_allclose(contrast.p(), reference.pvalue)
    assert contrast.seeds.tolist() == [8, 7, 8]


def test_pairs_of_trained_rows_are_moderated_by_all_pairs(values):
    first, second = np.array([0, 6]), np.array([1, 5])
    contrast = between_rows(values, ALL, first, second)
    a, b = np.triu_indices(ROWS, 1)
    every = (values[a] - values[b]).var(1, ddof=1)
    d0, s0 = fit_prior(every, np.full(len(a), SEEDS - 1.0), np.ones(len(a), dtype=bool))
    own = (values[first] - values[second]).var(1, ddof=1)
    pulled = (d0 * s0 + 7 * own) / (d0 + 7)
    np.testing.assert_allclose(contrast.error**2 * SEEDS, np.maximum(own, pulled))
    np.testing.assert_allclose(contrast.freedom, np.where(pulled > own, 7 + d0, 7))
    turned = between_rows(values, ALL, second, first)
    np.testing.assert_allclose(turned.difference, -contrast.difference)
    np.testing.assert_allclose(turned.p(), contrast.p())


def beating(values, methods, others):
    first, second = np.repeat(methods, len(others)), np.tile(others, len(methods))
    return beats_each(between_rows(values, np.zeros(len(values), bool), first, second), len(others))


def test_beating_each_is_the_largest_p(values):
    methods, others = np.array([6, 3, 0]), np.array([1, 2])
    p = beating(values, methods, others)
    for k, m in enumerate(methods):
        single = [
            stats.ttest_rel(values[m], values[o]).pvalue
            if values[m].mean() > values[o].mean()
            else 1.0
            for o in others
        ]
        assert p[k] == pytest.approx(max(single))
    assert p[2] == 1


def test_beating_each_needs_all_tests(values):
    methods = np.array([5, 6])
    empty = np.vstack([values, np.full((1, SEEDS), np.nan), values[2:3]])
    np.testing.assert_array_equal(
        beating(empty, methods, np.array([0, 7])), beating(values, methods, np.array([0]))
    )
    assert np.isnan(beating(empty, methods, np.array([7]))).all()
    empty[8, 0] = np.nan  # seven seeds are too few
    assert np.isnan(beating(empty, methods, np.array([0, 8]))).all()
