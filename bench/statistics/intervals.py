"""Confidence intervals and tests over seeds.

The first axis of arrays is seeds; NaN is a missing value. Intervals are two-sided, 95 % by default.
The seeds are the sample: a t interval is about the mean over other seeds with the same data,
backbone and recipe. It does not generalise to other data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from legible.bench.statistics.multiplicity import holm as holm

LEVEL = 0.95
#: Of two values, Student's t interval is 13 times as wide as their distance: none is shown.
INTERVAL_SEEDS = 3

Numbers = Float[np.ndarray, "*items"]


class Interval(NamedTuple):
    """Estimates with their limits (NaN for a single seed) and the sample sizes."""

    mean: Numbers
    low: Numbers
    high: Numbers
    n: Numbers

    @property
    def half(self) -> Numbers:
        """Half the width."""
        return np.asarray((self.high - self.low) / 2)


def t_interval(values: Float[np.ndarray, "seeds *items"], level: float = LEVEL) -> Interval:
    """Student's t interval of the mean over seeds; the standard deviation has ddof=1."""
    n, mean, deviation = moments(values)
    half = (
        special.stdtrit(np.maximum(n - 1, 1), (1 + level) / 2)
        * deviation
        / np.sqrt(np.maximum(n, 1))
    )
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    values: Float[np.ndarray, "seeds *items"],
    baseline: Float[np.ndarray, "seeds *#items"],
    level: float = LEVEL,
) -> Interval:
    """t interval of the mean difference to the baseline, over the seeds that both have."""
    return t_interval(values - baseline, level)


def t_p(mean: Numbers, error: Numbers, freedom: Numbers) -> Numbers:
    """Two-sided p value of mean/error in Student's t; 1 for 0/0, NaN for another mean over 0."""
    flat = error <= 1e-12 * np.abs(mean)
    p = 2 * special.stdtr(freedom, -np.abs(mean) / np.where(flat, 1, error))
    return np.where(flat, np.where(mean == 0, 1.0, np.nan), p)


def moments(
    values: Float[np.ndarray, "seeds *items"],
) -> tuple[Numbers, Numbers, Numbers]:
    """Number of values, mean and standard deviation (ddof=1) over seeds, without NaN."""
    finite: Bool[np.ndarray, "seeds *items"] = np.isfinite(values)
    n = np.asarray(finite.sum(0, dtype=float))
    mean = np.asarray(np.where(finite, values, 0).sum(0) / np.where(n > 0, n, np.nan))
    squares = np.where(finite, (values - mean) ** 2, 0).sum(0)
    return n, mean, np.asarray(np.sqrt(squares / np.where(n > 1, n - 1, np.nan)))
