"""A suite file -> cells: dataset x backbone x method x seed, checked before anything runs."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.registry import UserError
from bench.stages import Stage
from bench.suite_file import Block, MethodEntry, Suite, Tune
from bench.train import Recipe
from methods.base import nearest
from metrics.base import ASPECTS

SUITES = Path(__file__).parent / "suites"


@dataclass(frozen=True)
class Cell:
    """One run: everything is resolved, defaults included."""

    dataset: str
    data: dict[str, Any]
    backbone: str
    net: dict[str, Any]
    method: str
    params: dict[str, Any]
    given: dict[str, Any]  # the method's parameters that differ from their defaults
    recipe: Recipe
    seed: int
    layers: tuple[str, ...]
    probe: int
    aspects: tuple[str, ...] = ASPECTS
    shots: int = 0  # training images a class, drawn by the seed; 0: all
    partner: int | None = None  # the seed that comparisons between seeds look at
    stage: Stage = ""  # on what it is judged
    measures: tuple[str, ...] = ()  # metrics; none: all of the aspects
    declared: dict[str, Any] | None = None  # where the setting was tuned: what the suite gives

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that are scored: those of its aspects, less those that read
        validations made while training where the recipe makes none."""
        if self.measures:
            return sorted(self.measures)
        absent = set() if self.recipe.validate_every else {"validations"}
        found = [m for m in registry.METRICS.values() if m.aspect in self.aspects]
        return sorted(m.name for m in found if not m.needs & absent)

    @property
    def name(self) -> str:
        """Readable and fit for a file name; told apart within a suite (a run's folder adds a
        hash)."""
        method = _with(self.method, self.given)
        name = f"{self.dataset_label}-{self.backbone_label}-{method}-s{self.seed}"
        return re.sub(r"[^\w.,=()-]+", "_", name)[-150:]

    @property
    def row(self) -> tuple[str, str]:
        """The row of the tables it belongs to: method and parameters (tuned ones left out)."""
        return self.method, canonical(self.given if self.declared is None else self.declared)

    @property
    def dataset_label(self) -> str:
        return labelled(self.dataset, self.data | ({"shots": self.shots} if self.shots else {}))

    @property
    def backbone_label(self) -> str:
        return labelled(self.backbone, self.net)


def labelled(name: str, params: Mapping[str, Any]) -> str:
    """``kanji`` or ``kanji(size=28)``: a name with what differs from its defaults."""
    target = registry.DATASETS.get(name) or registry.BACKBONES.get(name)
    given = differing(target, params, 1 if name in registry.DATASETS else 2) if target else params
    return _with(name, given)


def _with(name: str, given: Mapping[str, Any]) -> str:
    inside = ",".join(f"{k}={v}" for k, v in given.items())
    return f"{name}({inside})" if inside else name


def differing(target: Any, params: Mapping[str, Any], skip: int = 0) -> dict[str, Any]:
    """The parameters that are not at their default."""
    defaults = registry.defaults(target, skip)
    return {k: v for k, v in params.items() if k not in defaults or v != defaults[k]}


def find(name: str) -> Path:
    """A suite file by path or by the name of a built-in one; UserError with the nearest name."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"no suite file {path}")
        return path
    known = {p.stem: p for p in sorted(SUITES.glob("*.toml"))}
    if name not in known:
        raise UserError(f"no suite '{name}'{nearest(name, known) or ': ' + ', '.join(known)}")
    return known[name]


def read(path: Path) -> Suite:
    """A checked suite. UserError, in one line, for a file that is not one."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if not raw:
        raise UserError(f"{path}: the suite file is empty (needs title, blocks and methods)")
    for key in raw:
        if key not in Suite.model_fields:
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, Suite.model_fields)}")
    try:
        suite = Suite(**{"name": path.stem, **raw})
        for block in suite.blocks:
            Recipe(**{**suite.recipe.model_dump(), **block.recipe})
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from error
    return suite.model_copy(
        update={"plugins": [(path.parent / plugin).resolve() for plugin in suite.plugins]}
    )


def _first(error: ValidationError) -> str:
    found = error.errors()  # a misspelt key before the one that is then missing
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = {**Recipe.model_fields, **Block.model_fields, **Tune.model_fields}
        return f"unknown key '{where}'{nearest(str(first['loc'][-1]), fields)}"
    if first["type"] == "missing":
        return f"'{where}' is missing"
    return f"{where} = {first['input']!r}: {first['msg']}"


def joined(suite: Suite, plugins: Sequence[Path]) -> Suite:
    """The suite, and the methods of plugin files given beside it, which join every block."""
    files = {path.resolve() for path in plugins}
    known = {entry.name for entry in suite.methods}
    new = [
        name
        for name, cls in sorted(registry.METHODS.items())
        if name not in known and Path(cls.origin).resolve() in files
    ]
    entries = [*suite.methods, *(MethodEntry(name=name) for name in new)]
    blocks = [
        block.model_copy(update={"methods": [*block.methods, *new]}) if block.methods else block
        for block in suite.blocks
    ]
    return suite.model_copy(update={"methods": entries, "blocks": blocks})


def cells(
    suite: Suite,
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
) -> list[Cell]:
    """All cells in running order: a block, then a seed, then its methods, plain first.

    Raises UserError for any unknown name or parameter, before anything runs.
    """
    check_headline(suite)
    entries = _chosen(suite.methods, "method", methods, lambda e: e.name)
    blocks = _chosen(suite.blocks, "dataset", datasets, lambda b: b.dataset)
    out = []
    for block in blocks:
        _chosen(suite.methods, "method", block.methods, lambda e: e.name)  # or says what is unknown
        here = [e for e in entries if not block.methods or e.name in block.methods]
        load = registry.get("datasets", block.dataset)
        build = registry.get("backbones", block.backbone)
        data = registry.parameters(load, block.data, skip=1)
        net = registry.parameters(build, block.net, skip=2)
        recipe = Recipe(**{**suite.recipe.model_dump(), **block.recipe})
        for name in recipe.watch:
            registry.get("metrics", name)
        for seed in suite.seeds if seeds is None else seeds:
            partner = _next(seed, suite.seeds if seed in suite.seeds else seeds or [])
            for entry in here:
                cls = registry.get("methods", entry.name)
                registry.make_method(entry.name, entry.params)
                params = registry.parameters(cls, entry.params)
                out.append(
                    Cell(
                        block.dataset, data, block.backbone, net, entry.name, params,
                        differing(cls, params), recipe, seed, tuple(suite.layers), suite.probe,
                        tuple(suite.aspects), block.shots, partner,
                    )
                )  # fmt: skip
    return out


def _next(seed: int, seeds: Sequence[int]) -> int | None:
    """The seed after this one, counted round; None where there is no other."""
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


def _chosen(items: Sequence[Any], kind: str, wanted: Sequence[str] | None, name: Any) -> list[Any]:
    if wanted is None:
        return list(items)
    known = {name(item) for item in items}
    for want in wanted:
        if want not in known:
            raise UserError(
                f"the suite has no {kind} '{want}'"
                f"{nearest(want, known) or ' (it has: ' + ', '.join(sorted(known)) + ')'}"
            )
    return [item for item in items if name(item) in wanted]


def canonical(params: Mapping[str, Any]) -> str:
    """Parameters as JSON with sorted keys, the same for the same values."""
    return json.dumps(dict(params), sort_keys=True, default=str)
