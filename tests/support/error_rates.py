"""Simulated error rates and power of the verdicts; prints the tables of docs/verdicts.md.

``python tests/support/error_rates.py`` takes about two minutes of one core. Every table is a list
of lines with numbers, so that tests can bound them; `markdown` lays it out.

Values of row m and seed s are sd[m] * (sqrt(c) u[s] + sqrt(1 - c) noise), where u belongs to the
seed and plain has it too, with SD 1: two rows, or a row and plain, correlate with c over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from legible.bench.statistics.contrasts import Contrast, against_plain, beats_each, between_rows
from legible.bench.statistics.jackknife import (
    difference_of_pairs,
    mean_of_pairs,
    pairs_against_plain,
)
from legible.bench.statistics.multiplicity import holm
from legible.bench.statistics.signs import ALPHA, equivalence_p

DRAWS = 5000
ROWS = (28, 12, 4)
CORRELATIONS = (0.0, 0.4)
SCENARIOS = ("equal", "SD .6 to 1.6", "SD .2 to 4.5", "one row x 10", "d0 = 4")
FAR = 1e3  # a margin so large that a difference at the margin is a one-sided problem


class ErrorRates(NamedTuple):
    """What was simulated in one setting, and the rates that came out."""

    seeds: int
    rows: int
    correlation: float
    scenario: str
    family_wise: float  # any significant difference, where no row differs
    equal: float  # any row shown equal, where every row differs by just the margin
    power: float  # of the row with the least power, see `true_difference`
    power_own: float  # mean over rows, for a difference of 3 of the row's own residual SD


def spreads(scenario: str, rows: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Standard deviations of the rows, (draws or 1, rows)."""
    if scenario == "d0 = 4":
        return np.sqrt(4 / rng.chisquare(4, (draws, rows)))
    sd = {
        "equal": np.ones(rows),
        "SD .6 to 1.6": np.geomspace(0.6, 1.6, rows),
        "SD .2 to 4.5": np.geomspace(0.2, 4.5, rows),
        "one row x 10": np.where(np.arange(rows) == 0, 10.0, 1.0),
    }[scenario]
    return sd[None]


def simulate(
    scenario: str, rows: int, seeds: int, correlation: float, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (draws, rows, seeds), plain (draws, 3 seeds) and SDs of rows; no row differs."""
    rng = np.random.default_rng(seed)
    sd = spreads(scenario, rows, draws, rng)
    shared = np.sqrt(correlation) * rng.standard_normal((draws, 3 * seeds))
    own = np.sqrt(1 - correlation)
    plain = shared + own * rng.standard_normal((draws, 3 * seeds))
    noise = own * rng.standard_normal((draws, rows, seeds))
    return sd[..., None] * (shared[:, None, :seeds] + noise), plain, sd


def residual_spreads(sd: np.ndarray, correlation: float) -> np.ndarray:
    """SDs of the rows after the part that they share with plain (by the true beta) is removed."""
    beta = np.clip(correlation * np.median(sd, -1, keepdims=True), 0, 1)
    return np.sqrt(sd**2 + beta**2 - 2 * beta * correlation * sd)


def error_rates(scenario: str, rows: int, seeds: int, correlation: float) -> ErrorRates:
    """Error rates and power in one setting.

    Power is that of Holm's first step, p < .05 / rows, which is the power of a row that alone
    differs. The true difference is 3 times the larger of the row's residual SD and the column's
    median residual SD: moderation treats quiet rows as typical ones on purpose.
    """
    values, plain, sd = simulate(scenario, rows, seeds, correlation)
    every = np.ones(rows, dtype=bool)
    contrast = against_plain(values, plain, every, ~every)
    wrong = holm(contrast.p(), -1) < ALPHA
    at_margin = contrast._replace(difference=contrast.difference + FAR)
    equal = holm(equivalence_p(at_margin, FAR), -1) < ALPHA
    residual = np.broadcast_to(residual_spreads(sd, correlation), contrast.difference.shape)

    def power(size: np.ndarray) -> np.ndarray:
        moved = contrast._replace(difference=contrast.difference + 3 * size)
        return ((moved.p() < ALPHA / rows) & (moved.difference > 0)).mean(0)

    typical = np.median(residual, -1, keepdims=True)
    return ErrorRates(
        seeds, rows, correlation, scenario,
        float(wrong.any(-1).mean()), float(equal.any(-1).mean()),
        float(power(np.maximum(residual, typical)).min()), float(power(residual).mean()),
    )  # fmt: skip


@cache
def differences_to_plain(seeds: int) -> list[ErrorRates]:
    """Error rates of a column at a number of seeds, over scenarios, rows and correlations."""
    return [error_rates(scenario, rows, seeds, correlation)
            for rows in ROWS for correlation in CORRELATIONS for scenario in SCENARIOS]  # fmt: skip


class PairRates(NamedTuple):
    """Error rates of comparisons between rows."""

    seeds: int
    rows: int
    correlation: float
    scenario: str
    contrasts: float  # any of four named contrasts, where there is no difference
    contrast_power: float  # for 3 SD of the difference over seeds, the contrast with the least
    beats: float  # any row "beats" three training-free rows, the best of which it equals


@cache
def between_rows_rates(seeds: int) -> list[PairRates]:
    """Error rates of named contrasts and of "beats the training-free rows"."""
    return [pair_rates(scenario, rows, seeds, correlation)
            for rows in ROWS for correlation in CORRELATIONS for scenario in SCENARIOS]  # fmt: skip


def pair_rates(scenario: str, rows: int, seeds: int, correlation: float) -> PairRates:
    """Error rates in one setting. The named contrasts include the unstable row, if there is one."""
    values, plain, sd = simulate(scenario, rows, seeds, correlation)
    first, second = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 0])
    every = np.ones(rows, dtype=bool)
    chunks = np.array_split(values, 10)  # all pairs of 28 rows need memory
    contrast = Contrast(*map(np.concatenate, zip(
        *(between_rows(chunk, every, first, second) for chunk in chunks), strict=True
    )))  # fmt: skip
    wrong = (holm(contrast.p(), -1) < ALPHA).any(-1).mean()
    a, b = sd[:, first], sd[:, second]
    true_error = np.sqrt(a**2 + b**2 - 2 * correlation * a * b)
    typical = np.sqrt(2 * (1 - correlation)) * np.median(sd, -1, keepdims=True)
    size = 3 * np.maximum(true_error, typical)
    moved = contrast._replace(difference=contrast.difference + size)
    power = (moved.p() < ALPHA / 4).mean(0).min()
    noise = np.random.default_rng(1).standard_normal((len(values), 3, seeds))
    free = 0.8 * plain[:, None, :seeds] + 0.6 * noise - np.array([0.0, 0.5, 20.0])[:, None]
    together = np.concatenate([values, free], 1)
    first, second = np.repeat(np.arange(rows), 3), np.tile(rows + np.arange(3), rows)
    none = np.zeros(rows + 3, dtype=bool)  # pairs with a row that is not trained: no moderation
    p = beats_each(between_rows(together, none, first, second), 3)
    beats = (holm(p, -1) < ALPHA).any(-1).mean()
    return PairRates(seeds, rows, correlation, scenario, float(wrong), float(power), float(beats))


class Coverage(NamedTuple):
    """Coverage of 95 % jackknife intervals over networks, and false signs of a column of pairs."""

    networks: int
    values: str
    mean: float
    difference: float
    family_wise: float  # any significant difference among 12 rows that do not differ from plain
    unmoderated: float  # the same by the jackknife alone


KERNELS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sum of two networks": lambda x, g: x[..., :, None] + x[..., None, :],
    "sum and noise of the pair": lambda x, g: x[..., :, None] + x[..., None, :] + 2 * g,
    "noise of the pair alone": lambda x, g: g,
    "product of two networks": lambda x, g: (1 + x[..., :, None]) * (1 + x[..., None, :]) - 1,
    "the worse of two networks": lambda x, g: (
        np.minimum(x[..., :, None], x[..., None, :]) + 1 / np.sqrt(np.pi)
    ),
}


@cache
def pair_coverage(networks: int) -> list[Coverage]:
    """Coverage at a number of networks, for several ways in which pairs depend on networks."""
    return [coverage(networks, name) for name in KERNELS]


def coverage(networks: int, name: str, rows: int = 12, draws: int = DRAWS) -> Coverage:
    """Coverage for one kind of values, whose true mean is 0."""
    rng = np.random.default_rng(0)
    seed_effect = np.sqrt(0.4) * rng.standard_normal((draws, 1, networks))
    x = seed_effect + np.sqrt(0.6) * rng.standard_normal((draws, rows + 1, networks))
    noise = rng.standard_normal((draws, rows + 1, networks, networks))
    values = KERNELS[name](x, np.triu(noise) + np.swapaxes(np.triu(noise, 1), -1, -2))
    ring = np.roll(np.eye(networks, dtype=bool), 1, -1)  # each with the next, as in the tables
    values = np.where(ring, values, np.nan)
    difference = difference_of_pairs(values[:, 1:], values[:, :1])
    both = mean_of_pairs(values).interval(), difference.interval()
    inside = [float(((i.low <= 0) & (i.high >= 0)).mean()) for i in both]
    column = pairs_against_plain(values[:, 1:], values[:, 0], np.ones(rows, dtype=bool))
    wrong = [float((holm(c.p(), -1) < ALPHA).any(-1).mean()) for c in (column, difference)]
    return Coverage(networks, name, *inside, *wrong)


def table(lines: Sequence[tuple]) -> str:
    """A Markdown table; rates with three digits, without columns that are "all" everywhere."""
    fields = [f for f in lines[0]._fields if any(getattr(line, f) != "all" for line in lines)]
    rows = [[getattr(line, f) for f in fields] for line in lines]
    cells = [[f"{x:.3f}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    head = [[f.replace("_", " ") for f in fields], ["---"] * len(fields)]
    return "\n".join("| " + " | ".join(row) + " |" for row in head + cells)


def worst(lines: Sequence[NamedTuple], by: Sequence[str]) -> list[NamedTuple]:
    """For each value of the fields ``by``: the highest error rate and the lowest power or coverage.

    Fields that vary otherwise and are no rates (the scenario) are "all".
    """
    groups: dict[tuple, list[NamedTuple]] = {}
    for line in lines:
        groups.setdefault(tuple(getattr(line, name) for name in by), []).append(line)
    return [_worst(group, by) for group in groups.values()]


def _worst(group: Sequence[NamedTuple], by: Sequence[str]) -> NamedTuple:
    low = ("power", "power_own", "contrast_power", "mean", "difference")
    choose = {name: min if name in low else max for name in group[0]._fields}
    several = {"correlation", "scenario", "values"} - set(by)
    columns = {name: "all" if name in several else choose[name](getattr(x, name) for x in group)
               for name in group[0]._fields}  # fmt: skip
    return type(group[0])(**columns)


SEEDS = (3, 5, 8, 10)


def summary() -> str:
    """The tables of docs/verdicts.md: the worst of all settings by number of seeds and rows."""
    columns = [line for seeds in SEEDS for line in differences_to_plain(seeds)]
    pairs = [line for seeds in SEEDS for line in between_rows_rates(seeds)]
    networks = [line for n in (4, 8, 10) for line in pair_coverage(n)]
    tables = [worst(columns, ["seeds", "rows"]), worst(pairs, ["seeds", "rows"]), networks]
    return "\n\n".join(table(lines) for lines in tables)


if __name__ == "__main__":
    print(summary())
    for seeds in SEEDS:
        print("", table(differences_to_plain(seeds)), table(between_rows_rates(seeds)), sep="\n\n")
