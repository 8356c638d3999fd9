"""The sign of each cell of one column: better or worse than plain, shown equal, or undecided.

A column is one metric in one block, or over blocks. Its family, the rows that are tested together,
are the trained and the training-free rows: all false signs of difference in a column together have
5 % probability, and so have all false signs of equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import special

from legible.bench.statistics.contrasts import FEWEST_SEEDS, Contrast, add_variances
from legible.bench.statistics.intervals import LEVEL
from legible.bench.statistics.multiplicity import holm

Sign = Literal["better", "worse", "better_small", "worse_small", "equal", "undecided", "untested"]
Reason = Literal["", "no value", "one seed", "no spread", "few seeds", "not in the family"]
SIGNS: tuple[Sign, ...] = get_args(Sign)
REASONS: tuple[Reason, ...] = get_args(Reason)
ALPHA = 1 - LEVEL


class Verdicts(NamedTuple):
    """Signs of a column's cells, with what they rest on.

    ``sign``: a `Sign`. better, worse: significant. better_small, worse_small: significant, and the
    whole 95 % interval lies within the margin (a real but small difference). equal: shown to lie
    within the margin. undecided: neither, or fewer than 8 seeds. untested: see ``reason``, a
    `Reason`, which is empty where the cell was tested. ``p`` and ``equivalence_p`` are adjusted by
    Holm's method, each in a family of its own; NaN where not tested.
    """

    sign: Shaped[np.ndarray, "*batch rows"]
    reason: Shaped[np.ndarray, "*batch rows"]
    p: Float[np.ndarray, "*batch rows"]
    equivalence_p: Float[np.ndarray, "*batch rows"]


def verdicts(contrast: Contrast, margin: float, family: Bool[np.ndarray, "rows"]) -> Verdicts:
    """Signs of a column; ``margin`` is NaN where none is declared (no small and no equal signs)."""
    reason = _reasons(contrast, family)
    tested = reason == ""
    p = holm(np.where(tested, contrast.p(), np.nan), -1)
    equal_p = holm(np.where(tested, equivalence_p(contrast, margin), np.nan), -1)
    interval = contrast.interval()
    small = (interval.low > -margin) & (interval.high < margin)
    significant, up = p < ALPHA, contrast.difference > 0
    sign = np.select(
        [significant & up & small, significant & up, significant & small, significant,
         equal_p < ALPHA, tested | (reason == "few seeds")],
        ["better_small", "better", "worse_small", "worse", "equal", "undecided"],
        "untested",
    )  # fmt: skip
    return Verdicts(sign, reason, p, equal_p)


def equivalence_p(contrast: Contrast, margin: float) -> Float[np.ndarray, "*items"]:
    """p value of two one-sided tests (Schuirmann 1987): small if the difference is within margins.

    NaN where it cannot be tested or the margin is NaN.
    """
    distance = (margin - np.abs(contrast.difference)) / contrast.error
    return np.asarray(special.stdtr(contrast.freedom, -distance))


def over_blocks(contrasts: Sequence[Contrast], margins: Float[np.ndarray, "blocks"]) -> Contrast:
    """Mean over blocks of difference / margin; standard errors combined as independent ones.

    Give the blocks that qualify only. Satterthwaite's degrees of freedom; seeds are those of the
    block with the fewest. It is about these blocks with other seeds, not about other data. A row
    that a block lacks has the mean over the others, no test, and 0 seeds.
    """
    scale = np.expand_dims(margins, tuple(range(1, contrasts[0].difference.ndim + 1)))
    difference, error, freedom = (
        np.stack([getattr(c, name) for c in contrasts]) for name in Contrast._fields[:3]
    )
    n = np.isfinite(difference).sum(0)
    mean = np.nansum(difference / scale, 0) / np.where(n > 0, n, np.nan)
    variance = (error / scale / len(contrasts)) ** 2
    whole, free = add_variances(*zip(variance, freedom, strict=True))
    seeds = np.min([c.seeds for c in contrasts], 0)
    spread = np.all([c.spread for c in contrasts], 0)
    return Contrast(mean, np.sqrt(whole), free, seeds, spread)


def verdicts_over_blocks(
    contrasts: Sequence[Contrast],
    margins: Float[np.ndarray, "blocks"],
    family: Bool[np.ndarray, "rows"],
) -> Verdicts:
    """Signs of the mean over blocks in units of the margin, unless a block contradicts them.

    A block contradicts better if its own sign is worse or worse_small, and the reverse; it
    contradicts equal if its own sign is better or worse. Then the sign is undecided. Where a block
    has no margin (NaN), it is the plain mean of differences, without small and equal signs.
    """
    declared = bool(np.isfinite(margins).all())
    scale = margins if declared else np.ones(len(contrasts))
    whole = verdicts(over_blocks(contrasts, scale), 1.0 if declared else np.nan, family)
    each = [verdicts(c, m, family).sign for c, m in zip(contrasts, margins, strict=True)]
    contradicts = {
        "better": ("worse", "worse_small"),
        "worse": ("better", "better_small"),
        "equal": ("better", "worse"),
    }
    sign = whole.sign
    for ours, theirs in contradicts.items():
        against = np.any(np.isin(each, theirs), 0)
        sign = np.where(np.isin(whole.sign, (ours, f"{ours}_small")) & against, "undecided", sign)
    return whole._replace(sign=sign)


def _reasons(contrast: Contrast, family: Bool[np.ndarray, "rows"]) -> np.ndarray:
    """Why a cell has no test; empty where it has one."""
    return np.select(
        [contrast.seeds == 0, contrast.seeds == 1, ~contrast.spread,
         np.broadcast_to(~family, contrast.seeds.shape), contrast.seeds < FEWEST_SEEDS],
        ["no value", "one seed", "no spread", "not in the family", "few seeds"],
        "",
    )  # fmt: skip
