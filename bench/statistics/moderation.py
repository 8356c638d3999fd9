"""Variances of few seeds, moderated by the variances of the other rows.

The variance of 10 seeds is itself uncertain. Smyth (2004, "Linear models and empirical Bayes
methods for assessing differential expression in microarray experiments") takes the rows' true
variances as draws from a scaled inverse chi-squared distribution, estimates that distribution from
all rows, and pulls each row's variance towards its centre, as if the row had d0 more seeds of
variance s0^2.

Here only upwards: the larger of a row's own and its moderated variance is used. A row that looks
quiet by luck is corrected; an unstable row keeps its own variance, and does not profit from the
calm of the others. (Moderation in both directions has too many false alarms where one row is far
less stable than the rest; `docs/verdicts.md` has the numbers.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

FEWEST_ROWS = 4  # fewer variances tell too little about their distribution

Rows = Float[np.ndarray, "*batch rows"]
Batch = Float[np.ndarray, "*batch"]


class Prior(NamedTuple):
    """The distribution of the rows' true variances: s0^2 d0 / chi-squared with d0 degrees.

    ``freedom`` is d0: infinite where the variances do not vary more than chance explains, 0 where
    there are fewer than four of them (then nothing is moderated). ``variance`` is s0^2, NaN there.
    """

    freedom: Batch
    variance: Batch


def fit_prior(variance: Rows, freedom: Rows, counts: Bool[np.ndarray, "*#batch rows"]) -> Prior:
    """Smyth's (2004, section 6.2) moment estimates from the log variances of rows.

    ``freedom`` are the degrees of freedom of each variance. Only rows that ``counts`` marks, and
    with a positive variance, enter.
    """
    use = counts & (variance > 0) & (freedom > 0)
    half = np.where(use, freedom, 1.0) / 2
    log = np.log(np.where(use, variance, 1.0)) - special.digamma(half) + np.log(half)
    n = use.sum(-1)
    enough = n >= FEWEST_ROWS
    rows = np.maximum(n, 2)
    mean = np.where(use, log, 0).sum(-1) / rows
    spread = np.where(use, (log - mean[..., None]) ** 2, 0).sum(-1) / (rows - 1)
    excess = spread - np.where(use, special.polygamma(1, half), 0).sum(-1) / rows
    varies = excess > 0
    half_prior = inverse_trigamma(np.where(varies, excess, 1.0))
    shift = np.where(varies, special.digamma(half_prior) - np.log(half_prior), 0.0)
    return Prior(
        np.where(enough, np.where(varies, 2 * half_prior, np.inf), 0.0),
        np.where(enough, np.exp(mean + shift), np.nan),
    )


def moderate_upwards(
    variance: Rows, freedom: Rows, prior: Prior, counts: Bool[np.ndarray, "*#batch rows"]
) -> tuple[Rows, Rows]:
    """The larger of own and moderated variance, with the degrees of freedom of that one.

    The moderated variance has d0 degrees of freedom more than the row's own. Rows that ``counts``
    does not mark keep their own variance.
    """
    d0, s0 = prior.freedom[..., None], prior.variance[..., None]
    finite = np.where(np.isfinite(d0), d0, 0.0)
    total = np.where(finite + freedom > 0, finite + freedom, np.nan)
    pulled = np.where(np.isfinite(d0), (finite * s0 + freedom * variance) / total, s0)
    up = counts & (pulled > variance)
    return np.where(up, pulled, variance), np.where(up, freedom + d0, freedom)


def inverse_trigamma(value: Float[np.ndarray, "*items"]) -> Float[np.ndarray, "*items"]:
    """The y > 0 at which trigamma(y) is the given positive value.

    Newton's method on 1/trigamma, which is convex and nearly linear, as in the appendix of Smyth
    (2004): from the start 0.5 + 1/value each step comes closer, from the same side.
    """
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, y)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, y)
        y = y + step
        if np.all(np.abs(step) < 1e-10 * y):
            break
    return np.asarray(y)
