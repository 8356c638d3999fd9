"""Signs of cells: one case for each sign and reason, families, and several blocks."""

import numpy as np
import pytest
from scipy import stats

from legible.bench.statistics.contrasts import Contrast
from legible.bench.statistics.multiplicity import holm
from legible.bench.statistics.signs import (
    REASONS,
    SIGNS,
    equivalence_p,
    over_blocks,
    verdicts,
    verdicts_over_blocks,
)


def contrast(difference, error, seeds=10, freedom=20.0):
    difference = np.array(difference, dtype=float)
    shape = difference.shape
    error = np.broadcast_to(np.array(error, dtype=float), shape)
    seeds = np.broadcast_to(np.array(seeds), shape)
    return Contrast(difference, error, np.full(shape, freedom), seeds, np.isfinite(error))


def every(rows):
    return np.ones(rows, dtype=bool)


def test_each_sign():
    difference = [5.0, -5.0, 0.6, -0.6, 0.05, 0.9, 0.05]
    error = [0.5, 0.5, 0.1, 0.1, 0.1, 0.5, 0.5]
    column = verdicts(contrast(difference, error), 1.0, every(7))
    assert column.sign.tolist() == [
        "better", "worse", "better_small", "worse_small", "equal", "undecided", "undecided",
    ]  # fmt: skip
    assert set(column.sign) <= set(SIGNS)
    assert set(column.reason) == {""}


def test_a_significant_difference_is_small_only_if_its_whole_interval_is():
    column = verdicts(contrast([0.9, 0.7], [0.1, 0.1]), 1.0, every(2))
    assert column.sign.tolist() == ["better", "better_small"]  # 0.9 + 2.09 * 0.1 > 1


def test_without_a_margin_nothing_is_small_or_equal():
    column = verdicts(contrast([0.6, 0.0], [0.1, 0.01]), float("nan"), every(2))
    assert column.sign.tolist() == ["better", "undecided"]
    assert np.isnan(column.equivalence_p).all()


def test_each_reason_why_there_is_no_test():
    cells = contrast([np.nan, 1, 1, 9, 9, 9], [np.nan, np.nan, np.nan, 1, 1, 1])
    cells = cells._replace(seeds=np.array([0, 1, 10, 10, 7, 8]))
    family = np.array([True, True, True, False, True, True])
    column = verdicts(cells, 1.0, family)
    assert column.reason.tolist() == [
        "no value", "one seed", "no spread", "not in the family", "few seeds", "",
    ]  # fmt: skip
    assert column.sign.tolist() == 4 * ["untested"] + ["undecided", "better"]
    assert set(column.reason) == set(REASONS)
    np.testing.assert_array_equal(np.isnan(column.p), [True] * 5 + [False])


def test_the_family_is_the_tested_rows_of_the_column():
    cells = contrast([3.0, 2.0, 0.1, 3.0], 1.0)
    alone = verdicts(cells, 0.5, np.array([True, True, True, False]))
    np.testing.assert_allclose(alone.p[:3], holm(cells.p()[:3]))
    np.testing.assert_allclose(alone.equivalence_p[:3], holm(equivalence_p(cells, 0.5)[:3]))
    assert np.isnan(alone.p[3])


def test_columns_of_a_batch_have_families_of_their_own(rng):
    cells = contrast(rng.normal(size=(3, 5)), 0.4)
    together = verdicts(cells, 1.0, every(5))
    for k in range(3):
        one = verdicts(contrast(cells.difference[k], 0.4), 1.0, every(5))
        np.testing.assert_array_equal(together.sign[k], one.sign)
        np.testing.assert_array_equal(together.p[k], one.p)


def test_equivalence_is_two_one_sided_tests():
    p = equivalence_p(contrast([0.3, -0.3, 2.0], 0.2, freedom=9.0), 1.0)
    upper = stats.t.cdf((0.3 - 1) / 0.2, 9)
    lower = stats.t.sf((0.3 + 1) / 0.2, 9)
    np.testing.assert_allclose(p[:2], max(upper, lower))
    assert p[2] > 0.5


def test_a_difference_at_the_margin_is_shown_equal_in_5_of_100(rng):
    y = 1.0 + rng.normal(size=(40_000, 10))
    n, error = y.shape[1], y.std(1, ddof=1) / np.sqrt(y.shape[1])
    cells = Contrast(y.mean(1), error, np.full(len(y), n - 1.0), np.full(len(y), n), error > 0)
    assert np.mean(equivalence_p(cells, 1.0) < 0.05) == pytest.approx(0.05, abs=0.004)


def test_one_block_in_units_of_the_margin_is_the_block_itself():
    cells = contrast([0.6, 2.0, 0.05, 0.9], [0.1, 0.3, 0.1, 0.5])
    whole = over_blocks([cells], np.array([2.0]))
    np.testing.assert_allclose(whole.difference, cells.difference / 2)
    np.testing.assert_allclose(whole.p(), cells.p())
    np.testing.assert_array_equal(
        verdicts_over_blocks([cells], np.array([2.0]), every(4)).sign,
        verdicts(cells, 2.0, every(4)).sign,
    )


def test_over_blocks_is_the_mean_in_units_of_the_margins():
    a = contrast([2.0], [0.5], seeds=10, freedom=12.0)
    b = contrast([9.0], [3.0], seeds=8, freedom=9.0)
    whole = over_blocks([a, b], np.array([1.0, 3.0]))
    assert whole.difference[0] == pytest.approx((2 + 3) / 2)
    assert whole.error[0] == pytest.approx(np.sqrt(0.5**2 + 1.0**2) / 2)
    expected = (0.25 + 1) ** 2 / (0.25**2 / 12 + 1 / 9)
    assert whole.freedom[0] == pytest.approx(expected)
    assert whole.seeds[0] == 8


def test_means_over_blocks_of_different_spread_hold_their_level(rng):
    y = np.array([1.0, 5.0])[:, None, None] * rng.normal(size=(2, 20_000, 8))
    error = y.std(2, ddof=1) / np.sqrt(8)
    blocks = [contrast(m, e, seeds=8, freedom=7.0) for m, e in zip(y.mean(2), error, strict=True)]
    assert np.mean(over_blocks(blocks, np.ones(2)).p() < 0.05) == pytest.approx(0.05, abs=0.008)


def test_a_row_that_a_block_lacks_has_no_sign_over_blocks():
    a = contrast([5.0, 5.0], 0.1)
    b = contrast([5.0, np.nan], [0.1, np.nan])._replace(seeds=np.array([10, 0]))
    column = verdicts_over_blocks([a, b], np.ones(2), every(2))
    assert column.sign.tolist() == ["better", "untested"]
    assert column.reason[1] == "no value"
    assert over_blocks([a, b], np.ones(2)).difference[1] == 5.0


def test_blocks_that_contradict_leave_the_sign_open():
    """In the first block all rows are clearly better; the second has another view of each."""
    first = contrast([20.0, 20.0, 20.0, -20.0, 20.0], 0.5)
    second = contrast([20.0, -5.0, -0.5, 5.0, -0.1], [0.5, 0.5, 0.1, 0.5, 0.5])
    alone = verdicts(second, 1.0, every(5)).sign.tolist()
    assert alone == ["better", "worse", "worse_small", "better", "undecided"]
    whole = verdicts_over_blocks([first, second], np.ones(2), every(5))
    assert (whole.p < 0.05).all()
    assert whole.sign.tolist() == ["better", "undecided", "undecided", "undecided", "better"]


def test_blocks_that_differ_in_opposite_ways_are_not_equal_on_average():
    first, second = contrast([3.0, 0.1], 0.05), contrast([-3.0, -0.1], 0.05)
    whole = verdicts_over_blocks([first, second], np.ones(2), every(2))
    assert (whole.equivalence_p < 0.05).all()
    assert whole.sign.tolist() == ["undecided", "equal"]
