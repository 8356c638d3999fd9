"""The trials that a suite's [tune] table asks for: each method's settings on each tuning seed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from legible.bench.errors import UserError, nearest
from legible.bench.execution.store import digest
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.suites.run_spec import (
    RunSpec,
    block_methods,
    canonical,
    expand,
    non_default,
    refuse_idle,
)
from legible.bench.suites.schema import Suite, Tune
from legible.bench.tuning.ledger import Trial
from legible.bench.tuning.recipe_search import beside

SEVERAL_TAPS = ("spatial", "dense", "all")  # layers that may stand for several Taps


@dataclass(frozen=True)
class Result:
    """What a trial gave; see `Trial`."""

    layer: str = ""
    value: float | None = None
    accuracy: float | None = None
    problem: str = ""


NO_RESULT = Result()


@dataclass(frozen=True)
class PlannedTrial:
    """A trial to make: a run with setting ``number`` of its method.

    ``setting`` is JSON and holds the searched parameters even if they have their default values.
    ``fixed``: the method has nothing to search.
    """

    spec: RunSpec
    number: int
    setting: str
    fixed: bool

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its block and row of the suite's tables."""
        return (*self.spec.block, *self.spec.row)

    def trial(self, metric: str, result: Result = NO_RESULT) -> Trial:
        """The trial's line of the ledger, before anything is chosen."""
        spec = self.spec
        return Trial(
            dataset=spec.dataset_label, backbone=spec.backbone_label, method=spec.method,
            declared=spec.row.params, number=self.number, setting=self.setting, seed=spec.seed,
            metric=metric, layer=result.layer, value=result.value, accuracy=result.accuracy,
            problem=result.problem, chosen=False, reason="", setup=setup(spec),
        )  # fmt: skip


def setup(spec: RunSpec) -> str:
    """A hash of twelve digits of all that the trials of a block have in common."""
    return digest(
        {
            "data": [spec.dataset, spec.data, spec.shots], "net": [spec.backbone, spec.net],
            "recipe": spec.recipe.identity(), "layers": spec.layers, "probe": spec.probe,
            "measures": spec.measures, "images": spec.images,
        }
    )  # fmt: skip


def tune_table(suite: Suite) -> Tune:
    """The suite's [tune] table. Raises UserError if there is none or it cannot be carried out."""
    tune = suite.tune
    if tune is None:
        raise UserError(f"suite '{suite.name}' has no [tune] table: there is nothing to tune")
    metric = registry.get("metrics", tune.metric)
    if metric.better == "neither":
        raise UserError(
            f"[tune] metric '{tune.metric}': for this metric neither higher nor lower is better, "
            "so it cannot choose"
        )
    if metric.aspect not in suite.aspects:
        raise UserError(f"[tune] metric '{tune.metric}': its aspect is not among the suite's")
    if tune.layer in SEVERAL_TAPS or tune.layer not in suite.layers:
        raise UserError(f"[tune] layer '{tune.layer}' must be one Tap among the suite's layers")
    if both := sorted(set(tune.seeds) & set(suite.seeds)):
        raise UserError(f"[tune] seed {both[0]} is also one that the suite tests with")
    if not any(entry.name == "plain" and not entry.params for entry in suite.methods):
        raise UserError("[tune] needs 'plain' among the suite's methods: it is the reference")
    names = [block.dataset for block in suite.blocks]
    if tune.dataset is not None and names.count(tune.dataset) != 1:
        raise UserError(
            f"[tune] dataset '{tune.dataset}' must be that of one block of the suite"
            f"{nearest(tune.dataset, set(names) - {tune.dataset})}"
        )
    return tune


def choices(cls: Any, params: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The settings to try; the parameters in ``params`` are fixed.

    First come values of the strength alone (without a strength, of the first searched parameter):
    ``count`` of them, or if other parameters are searched too, half of that, rounded up. They are
    thinned evenly if there are more. Then come combinations of all searched parameters, in a random
    order that depends on the method's name alone. A method with nothing to search has one setting.
    Raises UserError if there are fewer than ``count``.
    """
    space = {name: list(values) for name, values in cls.search.items() if name not in params}
    if not space:
        return [dict(params)]
    dose = dose_of(cls, params)
    alone = count if len(space) == 1 else (count + 1) // 2
    grid = [{dose: value} for value in spread(space[dose], alone)]
    rest = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    random.Random(cls.name).shuffle(rest)
    settings = list(itertools.islice(_distinct(cls, params, [*grid, *rest]), count))
    if len(settings) < count:
        raise UserError(
            f"method '{cls.name}' has {len(settings)} settings to search, fewer than the suite's "
            f"{count} trials: widen its `search`, or lower [tune] trials"
        )
    return settings


def beyond_edge(
    cls: Any, params: Mapping[str, Any], best: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The setting after the best one, beyond the smallest or largest strength that was tried.

    ``params`` are fixed by the suite. The ratio of the two outermost values is continued. None if
    the best setting is not at an edge, and if the method takes no value beyond it.
    """
    dose = dose_of(cls, params)
    values = [setting[dose] for setting in tried if dose in setting]
    if not dose or not all(_is_positive(value) for value in values) or len(set(values)) < 2:
        return None
    value = best.get(dose)
    if value not in (min(values), max(values)):
        return None
    further = beside(value, values)[0 if value == min(values) else 1]
    setting = {**best, dose: round(further) if isinstance(value, int) else further}
    new = list(_distinct(cls, {}, [*tried, setting]))[len(tried) :]
    return new[0] if new else None


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def dose_of(cls: Any, params: Mapping[str, Any]) -> str:
    """The searched parameter that is the method's dose; empty if nothing is searched."""
    free = [name for name in cls.search if name not in params]
    return "strength" if "strength" in free else next(iter(free), "")


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of the values, evenly spaced."""
    most = min(count, len(values))
    return [values[(2 * i + 1) * len(values) // (2 * most)] for i in range(most)]


def _distinct(
    cls: Any, params: Mapping[str, Any], extras: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The settings that the method accepts, each once: two that differ only in whether a default
    is written out are the same."""
    keys: set[str] = set()
    for extra in extras:
        try:
            registry.ask_method(cls.name, {**params, **extra}, lambda method: None)
        except PluginFault:
            pass  # the trial fails with this reason
        except UserError:
            continue  # parameters that do not go together
        key = canonical(registry.parameters(cls, {**params, **extra}))
        if key not in keys:
            keys.add(key)
            yield {**params, **extra}


def plan_trials(
    suite: Suite, methods: Sequence[str] | None = None, datasets: Sequence[str] | None = None
) -> list[PlannedTrial]:
    """The trials that do not depend on results, in the order of the ledger: by block, method,
    setting and tuning seed."""
    tune = tune_table(suite)
    update: dict[str, Any] = {
        "layers": [tune.layer], "seeds": tune.seeds, "plain_seeds": len(tune.seeds),
    }  # fmt: skip
    if tune.dataset is not None:
        if datasets is not None and tune.dataset not in datasets:
            raise UserError(f"the suite chooses settings on '{tune.dataset}' alone")
        datasets = [tune.dataset]
    base = suite.model_copy(update=update)
    specs = expand(base, None, methods, datasets)
    blocks = [b for b in suite.blocks if datasets is None or b.dataset in datasets]
    entries = [e for b in blocks for _ in tune.seeds for e in block_methods(suite, b, methods)]
    out = []
    for spec, entry in zip(specs, entries, strict=True):
        cls = registry.get("methods", spec.method)
        settings = choices(cls, entry.params, tune.trials)
        fixed = not dose_of(cls, entry.params)
        out += [
            PlannedTrial(_trial_spec(spec, cls, setting, tune), number, canonical(setting), fixed)
            for number, setting in enumerate(settings)
        ]
    refuse_idle([p.spec for p in out])
    return in_order(out, tune.seeds)


def in_order(planned: Sequence[PlannedTrial], seeds: Sequence[int]) -> list[PlannedTrial]:
    """Trials by block and method in the order of their first ones, then by setting and seed."""
    order = list(dict.fromkeys(p.key for p in planned))
    return sorted(planned, key=lambda p: (order.index(p.key), p.number, seeds.index(p.spec.seed)))


def further_trials(group: Sequence[PlannedTrial], setting: str, tune: Tune) -> list[PlannedTrial]:
    """The trials of one more setting, one for each tuning seed.

    ``group`` holds the trials of one method on one block, ``setting`` is the best of theirs.
    """
    first = [planned for planned in group if planned.number == 0]
    tried = list(dict.fromkeys(planned.setting for planned in group))
    spec = first[0].spec
    cls = registry.get("methods", spec.method)
    declared = spec.declared or {}
    new = beyond_edge(cls, declared, json.loads(setting), [json.loads(text) for text in tried])
    if new is None:
        return []
    return [
        PlannedTrial(
            _trial_spec(replace(p.spec, given=declared), cls, new, tune), len(tried),
            canonical(new), False,
        )
        for p in first
    ]  # fmt: skip


def _trial_spec(spec: RunSpec, cls: Any, setting: Mapping[str, Any], tune: Tune) -> RunSpec:
    params = registry.parameters(cls, setting)
    shorter = {} if tune.epochs is None else {"epochs": tune.epochs}
    return replace(
        spec, params=params, given=non_default(cls, params), declared=spec.given, stage="tuning",
        recipe=spec.recipe.model_copy(update=shorter), measures=(tune.metric, "accuracy"),
    )  # fmt: skip
