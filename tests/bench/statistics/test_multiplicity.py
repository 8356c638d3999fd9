"""Corrections for many tests: worked examples and slow direct formulas."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from legible.bench.statistics.multiplicity import benjamini_hochberg, holm

TESTS = st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=12).map(np.array)


def slow_holm(p):
    """Smallest alpha at which the step-down procedure rejects each test."""
    order = [k for k in np.argsort(p) if np.isfinite(p[k])]
    adjusted, highest = np.full(len(p), np.nan), 0.0
    for step, k in enumerate(order):
        highest = max(highest, p[k] * (len(order) - step))
        adjusted[k] = min(highest, 1.0)
    return adjusted


@given(TESTS)
def test_holm_is_the_step_down_procedure(p):
    np.testing.assert_allclose(holm(p), slow_holm(p))


def test_holm_along_an_axis_has_a_family_for_each_line(rng):
    p = rng.random((3, 4, 5)) ** 3
    p[0, 1, 2] = np.nan
    np.testing.assert_array_equal(holm(p, -1), np.apply_along_axis(slow_holm, -1, p))
    np.testing.assert_array_equal(holm(p, 0), np.apply_along_axis(slow_holm, 0, p))


def test_holm_keeps_the_shape_and_survives_no_tests():
    assert holm(np.full((2, 3), np.nan)).shape == (2, 3)
    assert holm(np.full((2, 2), 0.9)).max() == 1
    assert holm(np.zeros(0)).shape == (0,)


def test_holm_on_a_worked_example():
    adjusted = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, np.nan, 0.06, 0.02])


def test_benjamini_and_hochberg_on_their_own_example():
    """The 15 p values of their paper (section 3.2): four are discoveries, with Holm three."""
    p = np.array([.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262,
                  .5719, .6528, .7590, 1.0])  # fmt: skip
    assert (benjamini_hochberg(p) < 0.05).sum() == 4
    assert (holm(p) < 0.05).sum() == 3
    with_gap = np.insert(p, 3, np.nan).reshape(4, 4)
    adjusted = benjamini_hochberg(with_gap)
    assert np.isnan(adjusted[0, 3])
    np.testing.assert_allclose(np.delete(adjusted.ravel(), 3), benjamini_hochberg(p))
    assert np.isnan(benjamini_hochberg(np.full(2, np.nan))).all()
