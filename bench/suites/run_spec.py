"""A suite -> run specs: dataset x backbone x method x seed, all checked before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from legible.bench.errors import UserError, nearest
from legible.bench.plugins import registry
from legible.bench.suites.schema import Suite, SuiteBlock
from legible.bench.training.recipe import Recipe
from legible.metrics.base import ASPECTS


class Block(NamedTuple):
    """A dataset on a backbone: methods are compared within it, paired by seed."""

    dataset: str
    backbone: str


class RowKey(NamedTuple):
    """A row of a leaderboard: a method with its non-default parameters, as JSON."""

    method: str
    params: str


#: The row that every other is compared with.
BASELINE = RowKey("plain", "{}")


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What one run is. Everything is resolved: defaults are filled in, types are checked.

    ``given`` holds the method's parameters that differ from their defaults. ``shots`` is the number
    of training images a class, drawn by the seed (0: all). ``partner`` is the seed that
    comparisons between seeds look at. ``stage`` says which images and concepts judge the run (see
    `scoring.splits`). ``measures`` names the metrics to score (empty: all of ``aspects``).
    ``declared`` is what the suite gives a method whose setting was tuned.
    """

    dataset: str
    data: dict[str, Any]
    backbone: str
    net: dict[str, Any]
    method: str
    params: dict[str, Any]
    given: dict[str, Any]
    recipe: Recipe
    seed: int
    layers: tuple[str, ...]
    probe: int
    aspects: tuple[str, ...] = ASPECTS
    shots: int = 0
    partner: int | None = None
    stage: Literal["", "tuning", "final"] = ""
    measures: tuple[str, ...] = ()
    declared: dict[str, Any] | None = None

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics to score: those of its aspects, less those that read validations
        made while training where the recipe makes none."""
        if self.measures:
            return sorted(self.measures)
        absent = set() if self.recipe.validate_every else {"validations"}
        items = [m for m in registry.METRICS.values() if m.aspect in self.aspects]
        return sorted(m.name for m in items if not m.needs & absent)

    @property
    def name(self) -> str:
        """Readable, fit for a file name, and unique within a suite (a run's folder adds a hash)."""
        method = _with(self.method, self.given)
        name = f"{self.dataset_label}-{self.backbone_label}-{method}-s{self.seed}"
        return re.sub(r"[^\w.,=()-]+", "_", name)[-150:]

    @property
    def row(self) -> RowKey:
        """The leaderboard row it belongs to (parameters that were tuned are left out)."""
        given = self.given if self.declared is None else self.declared
        return RowKey(self.method, canonical(given))

    @property
    def block(self) -> Block:
        """The block it belongs to."""
        return Block(self.dataset_label, self.backbone_label)

    @property
    def dataset_label(self) -> str:
        shots = {"shots": self.shots} if self.shots else {}
        return label("datasets", self.dataset, self.data | shots)

    @property
    def backbone_label(self) -> str:
        return label("backbones", self.backbone, self.net)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; `from_json` makes the same run spec again."""
        return json.loads(canonical(asdict(self) | {"recipe": self.recipe.model_dump()}))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunSpec:
        """The run spec that `to_json` wrote, with the defaults of the code as it is now.

        Raises UserError for a dataset, backbone, method or parameter that is not there any more,
        and KeyError or TypeError where the value is no run spec.
        """
        fields = dict(value)
        load = registry.get("datasets", fields["dataset"])
        build = registry.get("backbones", fields["backbone"])
        method = registry.get("methods", fields["method"])
        given = fields["given"]
        fields |= {
            "data": registry.parameters(load, non_default(load, fields["data"], 1), skip=1),
            "net": registry.parameters(build, non_default(build, fields["net"], 2), skip=2),
            "params": registry.parameters(method, given),
            "recipe": Recipe(**fields["recipe"]),
            **{name: tuple(fields[name]) for name in ("layers", "aspects", "measures")},
        }
        return cls(**fields)


def label(kind: str, name: str, params: Mapping[str, Any]) -> str:
    """``kanji`` or ``kanji(size=28)``: a dataset's or backbone's name with its parameters that
    differ from their defaults."""
    target = registry.KINDS[kind].get(name)
    skip = {"datasets": 1, "backbones": 2}[kind]
    return _with(name, non_default(target, params, skip) if target else params)


def _with(name: str, given: Mapping[str, Any]) -> str:
    inside = ",".join(f"{k}={v}" for k, v in given.items())
    return f"{name}({inside})" if inside else name


def non_default(target: Any, params: Mapping[str, Any], skip: int = 0) -> dict[str, Any]:
    """The parameters that are not at their default."""
    defaults = registry.defaults(target, skip)
    return {k: v for k, v in params.items() if k not in defaults or v != defaults[k]}


def canonical(params: Mapping[str, Any]) -> str:
    """Parameters as JSON with sorted keys, the same text for the same values."""
    return json.dumps(dict(params), sort_keys=True, default=str)


# ----------------------------------------------------------------- a suite's run specs


def expand(
    suite: Suite,
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
) -> list[RunSpec]:
    """All run specs of a suite in running order: by block, then seed, then method, plain first.

    ``seeds``, ``methods`` and ``datasets`` restrict it. Raises UserError for any unknown name or
    parameter, before anything runs.
    """
    check_headline(suite)
    _restricted(suite.methods, "method", methods, lambda e: e.name)
    blocks = _restricted(suite.blocks, "dataset", datasets, lambda b: b.dataset)
    return [
        spec
        for block in blocks
        for spec in _of_block(suite, block, suite.seeds if seeds is None else seeds, methods)
    ]


def _of_block(
    suite: Suite, block: SuiteBlock, seeds: Sequence[int], methods: Sequence[str] | None
) -> list[RunSpec]:
    entries = _restricted(suite.methods, "method", block.methods or None, lambda e: e.name)
    entries = [entry for entry in entries if methods is None or entry.name in methods]
    load = registry.get("datasets", block.dataset)
    build = registry.get("backbones", block.backbone)
    recipe = Recipe(**{**suite.recipe.model_dump(), **block.recipe})
    for name in recipe.watch:
        registry.get("metrics", name)
    shared: dict[str, Any] = {
        "dataset": block.dataset, "data": registry.parameters(load, block.data, skip=1),
        "backbone": block.backbone, "net": registry.parameters(build, block.net, skip=2),
        "recipe": recipe, "layers": tuple(suite.layers), "probe": suite.probe,
        "aspects": tuple(suite.aspects), "shots": block.shots,
    }  # fmt: skip
    specs = []
    for seed in seeds:
        partner = _next(seed, suite.seeds if seed in suite.seeds else seeds)
        for entry in entries:
            cls = registry.get("methods", entry.name)
            registry.make_method(entry.name, entry.params)
            params = registry.parameters(cls, entry.params)
            specs.append(
                RunSpec(
                    method=entry.name, params=params, given=non_default(cls, params), seed=seed,
                    partner=partner, **shared,
                )
            )  # fmt: skip
    return specs


def _next(seed: int, seeds: Sequence[int]) -> int | None:
    """The seed after this one, the first after the last; None where there is no other."""
    following = seeds[(list(seeds).index(seed) + 1) % len(seeds)]
    return following if following != seed else None


def check_headline(suite: Suite) -> None:
    """UserError where the suite names an unknown aspect, or metric as a headline."""
    for aspect in suite.aspects:
        if aspect not in ASPECTS:
            raise UserError(f"aspects: no aspect '{aspect}'{nearest(aspect, ASPECTS)}")
    for aspect, name in suite.headline.items():
        if aspect not in ASPECTS:
            raise UserError(f"headline: no aspect '{aspect}'{nearest(aspect, ASPECTS)}")
        registry.get("metrics", name)


Item = TypeVar("Item")


def _restricted(
    items: Sequence[Item],
    kind: str,
    names: Sequence[str] | None,
    name_of: Callable[[Item], str],
) -> list[Item]:
    """The items of some names, in their own order; UserError for a name that none has."""
    if names is None:
        return list(items)
    valid = {name_of(item) for item in items}
    for name in names:
        if name not in valid:
            raise UserError(
                f"the suite has no {kind} '{name}'"
                f"{nearest(name, valid) or ' (it has: ' + ', '.join(sorted(valid)) + ')'}"
            )
    return [item for item in items if name_of(item) in names]
