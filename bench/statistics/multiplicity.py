"""Corrections of p values for many tests: Holm, and Benjamini and Hochberg.

NaN is a missing test: it does not count, and stays NaN.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

Tests = Float[np.ndarray, "*tests"]


def holm(p: Tests, axis: int | None = None) -> Tests:
    """Holm's (1979) adjusted p values: below .05 where a difference is shown in the whole family.

    The family is the whole array, or each line along ``axis`` has a family of its own. All errors
    together, in whatever share of the family the truth is "no difference", have 5 % probability.
    """
    if axis is None:
        return holm(p.ravel(), 0).reshape(p.shape)
    order = np.argsort(p, axis)  # NaN comes last
    count = np.isfinite(p).sum(axis, keepdims=True)
    place = np.moveaxis(np.arange(p.shape[axis]).reshape(-1, *[1] * (p.ndim - 1)), 0, axis)
    steps = np.take_along_axis(p, order, axis) * np.maximum(count - place, 1)
    adjusted = np.empty(p.shape)
    highest = np.minimum(np.maximum.accumulate(steps, axis), 1)
    np.put_along_axis(adjusted, order, highest, axis)
    return adjusted


def benjamini_hochberg(p: Tests) -> Tests:
    """Benjamini and Hochberg's (1995) adjusted p values over all tests of the array.

    Of the tests below .05, at most 5 % are expected to be wrong. That is a weaker promise than
    Holm's: it makes a list of discoveries, not the signs of a table.
    """
    adjusted = np.full(p.shape, np.nan)
    finite = np.isfinite(p)
    if finite.any():
        adjusted[finite] = stats.false_discovery_control(p[finite])
    return adjusted
