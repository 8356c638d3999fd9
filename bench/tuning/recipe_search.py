"""The search for a recipe of plain training: which setting is tried next, and which one is chosen.

The search knows accuracies alone, so it can be repeated from a ledger. At a fixed number of epochs
all pairs of the grid are tried. If the most accurate of them lies at an edge, the next value beyond
the edge is tried, until no neighbour is more accurate. Then the epochs are doubled; if that gains
the tolerance or more, the search goes on from there.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from legible.bench.suites.schema import TuneRecipe


class RecipePoint(NamedTuple):
    """What the search varies in a recipe."""

    epochs: int
    lr: float
    weight_decay: float


class RecipeChoice(NamedTuple):
    """The recipe that was chosen. ``gain`` is what twice the epochs add to its accuracy, NaN if
    that was not tried; ``error`` is the standard error of the gain over the tuning seeds."""

    point: RecipePoint
    accuracy: float
    gain: float
    error: float
    reason: str


#: Accuracies on the tuning seeds of what has been tried; NaN for a failed training.
Accuracies = Mapping[RecipePoint, Sequence[float]]


def search(
    table: TuneRecipe, epochs: int, accuracies: Accuracies
) -> tuple[list[RecipePoint], RecipeChoice | None]:
    """The settings that the search has needed so far, in order, and the choice.

    ``epochs`` is the length of the first trainings. As long as settings are missing in
    ``accuracies`` the choice is None, and the missing settings are the last of the list.
    """
    path: list[RecipePoint] = []
    points = [
        RecipePoint(epochs, *pair) for pair in itertools.product(table.lr, table.weight_decay)
    ]
    while True:
        best = _climb(points, accuracies, path)
        if best is None:
            return path, None
        doubled = best._replace(epochs=2 * best.epochs)
        if doubled.epochs > table.longest:
            reason = f"the most accurate with the most epochs allowed, {best.epochs}"
            return path, RecipeChoice(best, mean(accuracies[best]), math.nan, math.nan, reason)
        path.append(doubled)
        if doubled not in accuracies:
            return path, None
        gain, error = difference(accuracies[doubled], accuracies[best])
        if not gain >= table.tolerance:
            reason = f"twice the epochs gain {gain:.4f} (standard error {error:.4f})"
            return path, RecipeChoice(best, mean(accuracies[best]), gain, error, reason)
        points = [doubled]


def _climb(
    points: Sequence[RecipePoint], accuracies: Accuracies, path: list[RecipePoint]
) -> RecipePoint | None:
    """The most accurate setting, once none of its neighbours is better; None while settings are
    missing. Adds to ``path`` what it needs."""
    tried = list(points)
    path += [point for point in points if point not in path]
    while all(point in accuracies for point in tried):
        best = max(tried, key=lambda point: _rank(accuracies[point]))
        new = [point for point in neighbours(best, tried) if point not in tried]
        if not new:
            return best
        tried += new
        path += new
    return None


def _rank(values: Sequence[float]) -> float:
    """The mean, below all others where a training failed."""
    average = mean(values)
    return average if math.isfinite(average) else -math.inf


def neighbours(best: RecipePoint, tried: Iterable[RecipePoint]) -> Iterator[RecipePoint]:
    """The settings with the next smaller and the next larger value of one parameter."""
    points = list(tried)
    for name in ("lr", "weight_decay"):
        values = {getattr(point, name) for point in points}
        for value in beside(getattr(best, name), values):
            yield best._replace(lr=value) if name == "lr" else best._replace(weight_decay=value)


def beside(value: float, values: Iterable[float], factor: float = 2.0) -> tuple[float, float]:
    """The next smaller and the next larger of some values. Beyond an edge the ratio of the two
    outermost values is continued (with a single value: ``factor``), to three digits."""
    ordered = sorted({*values, value})
    i = ordered.index(value)
    up = ordered[-1] / ordered[-2] if len(ordered) > 1 else factor
    down = ordered[1] / ordered[0] if len(ordered) > 1 else factor
    smaller = ordered[i - 1] if i else float(f"{value / down:.3g}")
    larger = ordered[i + 1] if i + 1 < len(ordered) else float(f"{value * up:.3g}")
    return smaller, larger


def mean(values: Sequence[float]) -> float:
    """The mean of a setting's accuracies."""
    return math.fsum(values) / len(values)


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The mean difference of accuracies paired by seed, and its standard error (NaN for one seed,
    and where a training failed)."""
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    defined = len(gaps) > 1 and all(map(math.isfinite, gaps))
    error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if defined else math.nan
    return mean(gaps), error
