"""What a number of seeds can show, and how many seeds would decide, by the noncentral t.

The error of a difference is taken to shrink with the square root of the number of seeds, and plain
to keep its multiple of them. ``tests`` is the number of tests in the family: power is stated for
the hardest step of Holm's correction, level .05 / tests.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from legible.bench.statistics.contrasts import FEWEST_SEEDS, Contrast
from legible.bench.statistics.signs import ALPHA

POWER = 0.8
MOST_SEEDS = 1000  # beyond, the answer is infinity
SURE = 30.0  # shifts beyond are detected surely, and scipy's function fails there

Items = Float[np.ndarray, "*items"]


def detectable(contrast: Contrast, tests: int, power: float = POWER) -> Items:
    """Smallest true difference that gets a sign with this power, at each row's error and seeds."""
    freedom = np.minimum(contrast.freedom, 1e6)
    critical = special.stdtrit(freedom, 1 - ALPHA / tests / 2)
    return np.asarray(contrast.error * special.nctdtrinc(freedom, 1 - power, critical))


def seeds_to_decide(contrast: Contrast, margin: float, tests: int, power: float = POWER) -> Items:
    """Number of seeds at which the difference, if it is the true one, would get a sign.

    The sign is one of difference or, with a margin and a difference within it, equal: whichever
    needs fewer seeds. At least 8, infinite above 1,000, NaN where there is no error. The difference
    of few seeds is uncertain, and so is this number: it is for planning.
    """

    def decided(seeds: np.ndarray) -> np.ndarray:
        error = contrast.error * np.sqrt(contrast.seeds / seeds)
        freedom = np.minimum(contrast.freedom + seeds - contrast.seeds, 1e6)
        size = np.abs(contrast.difference)
        different = _power(size / error, freedom, ALPHA / tests / 2)
        equal = np.nan_to_num(
            _power((margin - size) / error, freedom, ALPHA / tests)
            + _power((margin + size) / error, freedom, ALPHA / tests)
            - 1
        )  # Bonferroni's bound on passing both one-sided tests
        return np.asarray(np.maximum(different, equal) >= power)

    low = np.full(contrast.difference.shape, FEWEST_SEEDS - 1)
    high = np.full(contrast.difference.shape, MOST_SEEDS + 1)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        enough = (middle >= FEWEST_SEEDS) & decided(np.maximum(middle, FEWEST_SEEDS))
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    seeds = np.where(high > MOST_SEEDS, np.inf, high.astype(float))
    return np.where(np.isfinite(contrast.error), seeds, np.nan)


def _power(shift: Items, freedom: Items, level: float) -> Items:
    """Probability that a noncentral t variable exceeds the one-sided critical value."""
    critical = special.stdtrit(freedom, 1 - level)
    return np.asarray(1 - special.nctdtr(freedom, np.minimum(shift, SURE), critical))
