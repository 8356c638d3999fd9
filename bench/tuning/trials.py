"""What a suite's [tune] table asks for: the settings of every method, and the cells to try them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from legible.bench.errors import UserError
from legible.bench.execution.store import digest
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, canonical, non_default, expand
from legible.bench.suites.schema import Suite, Tune
from legible.bench.tuning.ledger import Trial

ONE_TAP = ("spatial", "dense", "all")  # choices that may name several Taps


@dataclass(frozen=True)
class Planned:
    """A trial to make: its cell, which of the method's settings it is, what the suite declares."""

    spec: RunSpec
    number: int
    setting: str  # as JSON, with what is searched even where it is the default
    fixed: bool  # nothing to search

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Block and row of the suite's tables."""
        return (*self.spec.block, *self.spec.row)

    def trial(self, metric: str, **found: Any) -> Trial:
        """The ledger's line, with what was found."""
        spec = self.spec
        blank = {"layer": "", "value": None, "accuracy": None, "problem": "", "chosen": False}
        return Trial.model_validate(
            blank | {
                "dataset": spec.dataset_label, "backbone": spec.backbone_label,
                "method": spec.method, "declared": spec.row[1], "number": self.number,
                "setting": self.setting, "seed": spec.seed, "metric": metric,
                "reason": "", "setup": setup(spec),
            } | found
        )  # fmt: skip


def setup(spec: RunSpec) -> str:
    """Twelve digits for all that a trial shares with the others of its block."""
    return digest(
        {
            "data": [spec.dataset, spec.data, spec.shots], "net": [spec.backbone, spec.net],
            "recipe": spec.recipe.model_dump(), "layers": spec.layers, "probe": spec.probe,
            "measures": spec.measures,
        }
    )  # fmt: skip


# ----------------------------------------------------------------- what is tried


def tuning(suite: Suite) -> Tune:
    """The suite's [tune] table. UserError where there is none or it asks for what cannot be."""
    tune = suite.tune
    if tune is None:
        raise UserError(f"suite '{suite.name}' has no [tune] table: there is nothing to choose")
    metric = registry.get("metrics", tune.metric)
    if metric.better == "neither":
        raise UserError(f"[tune] metric '{tune.metric}' has no better direction to choose by")
    if metric.aspect not in suite.aspects:
        raise UserError(f"[tune] metric '{tune.metric}': its aspect is not among the suite's")
    if tune.layer in ONE_TAP or tune.layer not in suite.layers:
        raise UserError(f"[tune] layer '{tune.layer}' must be one Tap among the suite's layers")
    if both := sorted(set(tune.seeds) & set(suite.seeds)):
        raise UserError(f"[tune] seed {both[0]} is also one that the suite tests with")
    if not any(entry.name == "plain" and not entry.params for entry in suite.methods):
        raise UserError("[tune] needs 'plain' among the suite's methods: it is the reference")
    return tune


def choices(cls: Any, given: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The settings to try, ``given`` fixed: the strength's grid first, then the further
    parameters in an order drawn by the method's name. UserError where there are too few.

    Without a strength the first parameter of the search space stands in its place. A grid longer
    than ``count`` is thinned evenly. A method with nothing to search has one setting.
    """
    space = {name: list(values) for name, values in cls.search.items() if name not in given}
    if not space:
        return [dict(given)]
    dose = dose_of(cls, given)
    grid = [{dose: value} for value in spread(space[dose], count)]
    rest = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    random.Random(cls.name).shuffle(rest)
    found = list(itertools.islice(_distinct(cls, given, [*grid, *rest]), count))
    if len(found) < count:
        raise UserError(
            f"method '{cls.name}' has {len(found)} settings to search, fewer than the suite's "
            f"{count} trials: widen its `search`, or lower [tune] trials"
        )
    return found


def dose_of(cls: Any, given: Mapping[str, Any]) -> str:
    """The searched parameter that says how much of a method there is ("": nothing is searched)."""
    free = [name for name in cls.search if name not in given]
    return "strength" if "strength" in free else next(iter(free), "")


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of the values, evenly over their order."""
    most = min(count, len(values))
    return [values[(2 * i + 1) * len(values) // (2 * most)] for i in range(most)]


def _distinct(
    cls: Any, given: Mapping[str, Any], extras: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Settings that the method accepts, each once whatever is written out of its defaults."""
    seen: set[str] = set()
    for extra in extras:
        try:
            registry.make_method(cls.name, {**given, **extra})
        except UserError:
            continue  # parameters that do not go together
        key = canonical(registry.parameters(cls, {**given, **extra}))
        if key not in seen:
            seen.add(key)
            yield {**given, **extra}


def plan(
    suite: Suite, methods: Sequence[str] | None = None, datasets: Sequence[str] | None = None
) -> list[Planned]:
    """All trials in the ledger's order: a block, then a method's settings, then tuning seeds."""
    tune = tuning(suite)
    entries = [e for e in suite.methods if methods is None or e.name in methods]
    base = suite.model_copy(update={"layers": [tune.layer], "seeds": tune.seeds})
    out = []
    for index, spec in enumerate(expand(base, None, methods, datasets)):
        cls = registry.get("methods", spec.method)
        given = entries[index % len(entries)].params
        tried = choices(cls, given, tune.trials)
        fixed = not dose_of(cls, given)
        out += [Planned(_trial_spec(spec, cls, setting, tune), number, canonical(setting), fixed)
                for number, setting in enumerate(tried)]  # fmt: skip
    order = list(dict.fromkeys(p.key for p in out))  # blocks, and in them methods
    seeds = tune.seeds
    return sorted(out, key=lambda p: (order.index(p.key), p.number, seeds.index(p.spec.seed)))


def _trial_spec(spec: RunSpec, cls: Any, setting: Mapping[str, Any], tune: Tune) -> RunSpec:
    params = registry.parameters(cls, setting)
    shorter = {} if tune.epochs is None else {"epochs": tune.epochs}
    return replace(
        spec, params=params, given=non_default(cls, params), declared=spec.given, stage="tuning",
        recipe=spec.recipe.model_copy(update=shorter), measures=(tune.metric, "accuracy"),
    )  # fmt: skip
