"""Detectable differences and numbers of seeds: against simulations and slow searches."""

import numpy as np
import pytest
from scipy import stats

from legible.bench.statistics.contrasts import Contrast, against_plain
from legible.bench.statistics.sample_size import detectable, seeds_to_decide
from legible.bench.statistics.signs import verdicts


def paired(difference, sd, seeds):
    difference = np.atleast_1d(np.array(difference, dtype=float))
    shape = difference.shape
    return Contrast(
        difference, np.full(shape, sd / np.sqrt(seeds)), np.full(shape, seeds - 1.0),
        np.full(shape, seeds), np.ones(shape, dtype=bool),
    )  # fmt: skip


@pytest.mark.parametrize("tests", [1, 12])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_a_detectable_difference_is_detected_with_that_power(rng, tests, power):
    size = detectable(paired(0.0, 2.0, 10), tests, power)[0]
    y = rng.normal(size, 2.0, (10, 40_000))
    result = stats.ttest_1samp(y, 0.0)
    detected = (result.pvalue < 0.05 / tests) & (result.statistic > 0)
    assert np.mean(detected) == pytest.approx(power, abs=0.008)


def test_detectable_differences_are_known_for_many_degrees_of_freedom():
    """Normal distribution: (1.960 + 0.8416) standard errors."""
    cells = paired(0.0, 1.0, 1)._replace(freedom=np.array([np.inf]))
    assert detectable(cells, 1)[0] == pytest.approx(1.95996 + 0.84162, abs=1e-4)


def slow_seeds(difference, sd, tests, power):
    """The first number of seeds whose paired t test has the power."""
    for n in range(8, 1001):
        critical = stats.t.isf(0.05 / tests / 2, n - 1)
        if stats.nct.sf(critical, n - 1, difference * np.sqrt(n) / sd) >= power:
            return n
    return np.inf


def test_seeds_to_decide_are_the_first_that_suffice():
    for difference in (0.01, 0.2, 0.5, 1.0, 5.0):
        for tests in (1, 28):
            cells = paired([difference, -difference], 1.0, 10)
            seeds = seeds_to_decide(cells, float("nan"), tests)
            assert seeds.tolist() == 2 * [slow_seeds(difference, 1.0, tests, 0.8)]


def test_seeds_for_no_difference_are_those_of_equivalence(rng):
    """Standard: n = (z.05 + z.10)^2 (SD / margin)^2 = 34.3 for margin = SD / 2, and a little more
    for the t distribution."""
    seeds = seeds_to_decide(paired(0.0, 1.0, 10), 0.5, 1)[0]
    assert 34 < seeds <= 37
    y = rng.normal(0, 1.0, (40_000, int(seeds)))
    error = y.std(1, ddof=1) / np.sqrt(seeds)
    edge = stats.t.isf(0.05, seeds - 1) * error
    shown = np.mean(np.abs(y.mean(1)) + edge < 0.5)
    assert shown == pytest.approx(0.8, abs=0.025)
    assert seeds_to_decide(paired(0.4, 1.0, 10), 0.5, 1)[0] == slow_seeds(0.4, 1.0, 1, 0.8)
    assert seeds_to_decide(paired(0.0, 1.0, 10), float("nan"), 1)[0] == np.inf


def test_no_error_no_number():
    cells = paired([1.0, 1.0], 1.0, 10)._replace(error=np.array([np.nan, 0.1]))
    np.testing.assert_array_equal(np.isnan(seeds_to_decide(cells, 1.0, 2)), [True, False])
    assert np.isnan(detectable(cells, 2)[0])


def test_the_number_of_seeds_from_five_seeds_decides_a_whole_column(rng):
    """A column of 12 rows, the first of which differs by 1.5 SD, planned from 5 seeds."""
    every = np.ones(12, dtype=bool)

    def column(draws, seeds):
        values = rng.normal(size=(draws, 12, seeds))
        values[:, 0] += 1.5
        plain = rng.normal(size=(draws, 3 * seeds))
        return against_plain(values, plain, every, ~every)

    pilot = column(500, 5)
    true = pilot._replace(difference=np.where(np.arange(12) == 0, 1.5, 0.0) + 0 * pilot.difference)
    seeds = int(np.median(seeds_to_decide(true, float("nan"), 12)[:, 0]))
    signs = verdicts(column(2000, seeds), float("nan"), every).sign
    assert 0.7 < np.mean(signs[:, 0] == "better") < 0.97
