"""Run specs: what each run of a suite is, all checked before anything runs."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, TypeVar

from legible.bench.errors import UserError, nearest, one_line, shortened
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.plugins.own_process import apart
from legible.bench.suites.network_size import refuse_giant
from legible.bench.suites.schema import (
    SEEDS,
    MethodEntry,
    Suite,
    SuiteBlock,
    baseline_seeds,
    block_margins,
    block_recipe,
    is_seed,
)
from legible.bench.training.recipe import Recipe
from legible.methods.base import treatment
from legible.metrics.base import ASPECTS, scope

Item = TypeVar("Item")
#: Letters of a run's name without its seed.
LONGEST_NAME = 140


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
    """What one run is: dataset, backbone, method, recipe and seed, with defaults filled in.

    ``given`` holds the method's parameters that differ from their defaults. ``shots`` is the number
    of training images of each class, drawn by the seed (0: all). ``partner`` is the seed that this
    one is compared with. ``stage`` says which images and concepts judge the run (see
    `scoring.splits`). ``measures`` names the metrics to score (empty: all of ``aspects``).
    ``declared`` holds the parameters that the suite names, for a method whose setting was tuned.
    ``targets`` names the metrics that the suite's methods treat, scored for every row.
    ``concept_users`` holds the block's methods that are trained on concepts, with their parameters
    as JSON: no row of the block is scored on these concepts.
    ``images`` holds, for some aspects, a smaller number of images than ``probe``.
    ``gpu``: it is run on a GPU alone. ``pictures``: its network is drawn when it is published.
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
    targets: tuple[str, ...] = ()
    concept_users: tuple[tuple[str, str], ...] = ()
    images: dict[str, int] = field(default_factory=dict)
    gpu: bool = False
    pictures: bool = True

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics to score: those of its aspects, and the targets of the suite's
        methods. Without validation during training the metrics that need it are left out."""
        if self.measures:
            return sorted(self.measures)
        absent = set() if self.recipe.validate_every else {"validations"}
        items = [
            m
            for m in registry.METRICS.values()
            if m.aspect in self.aspects or m.name in self.targets
        ]
        return sorted(m.name for m in items if not m.needs & absent)

    @property
    def name(self) -> str:
        """A readable name that fits in a file name; unique in a suite. Where the parameters would
        make it too long, a checksum stands for them."""
        method = _name_with(self.method, self.given)
        name = f"{self.dataset_label}-{self.backbone_label}-{method}"
        if len(name) > LONGEST_NAME:
            checksum = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
            parts = (part[-30:] for part in (self.dataset, self.backbone, self.method))
            name = f"{'-'.join(parts)}-{checksum}"
        return re.sub(r"[^A-Za-z0-9_.,=()-]+", "_", f"{name}-s{self.seed}").lstrip(".,=)-")

    @property
    def row(self) -> RowKey:
        """Its row of the leaderboard; parameters that were tuned are left out."""
        params = self.given if self.declared is None else self.declared
        return RowKey(self.method, canonical(params))

    @property
    def block(self) -> Block:
        """Its block: the dataset on the backbone."""
        return Block(self.dataset_label, self.backbone_label)

    @property
    def dataset_label(self) -> str:
        """The dataset with its parameters and shots, as `label` writes it."""
        return _dataset_label(self.dataset, self.data, self.shots)

    @property
    def backbone_label(self) -> str:
        """The backbone with its parameters, as `label` writes it; of weights, the file's name."""
        return _backbone_label(self.backbone, self.net)

    @functools.cached_property
    def key(self) -> str:
        """The run spec as JSON: equal run specs have equal keys."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return canonical(values | {"recipe": self.recipe.identity()})

    def to_json(self) -> dict[str, Any]:
        """JSON values, from which `from_json` makes the same run spec again."""
        return json.loads(self.key)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunSpec:
        """The run spec that `to_json` wrote, with the defaults of the current code.

        Raises UserError for a dataset, backbone, method or parameter that no longer exists, and
        KeyError or TypeError if the value is not a run spec.
        """
        fields = dict(value)
        load = registry.get("datasets", fields["dataset"])
        build = registry.get("backbones", fields["backbone"])
        method = registry.get("methods", fields["method"])
        fields |= {
            "data": registry.parameters(load, non_default(load, fields["data"], 1), skip=1),
            "net": registry.parameters(build, non_default(build, fields["net"], 2), skip=2),
            "params": registry.parameters(method, fields["given"]),
            "recipe": Recipe(**fields["recipe"]),
            **{name: tuple(fields[name]) for name in ("layers", "aspects", "measures")},
            "targets": tuple(fields.get("targets", ())),
            "concept_users": tuple(map(tuple, fields.get("concept_users", ()))),
        }
        return cls(**fields)


def label(kind: str, name: str, params: Mapping[str, Any]) -> str:
    """The name of a dataset or backbone with its non-default parameters: ``kanji(size=28)``."""
    target = registry.get(kind, name) if ":" in name else registry.KINDS[kind].get(name)
    skip = {"datasets": 1, "backbones": 2}[kind]
    return _name_with(name, non_default(target, params, skip) if target else params)


def _dataset_label(name: str, data: Mapping[str, Any], shots: int) -> str:
    few = {"shots": shots} if shots else {}
    return label("datasets", name, {**data, **few})


def _backbone_label(name: str, net: Mapping[str, Any]) -> str:
    weights = net.get("weights")
    file_name = {"weights": PurePath(weights).name} if weights else {}
    return label("backbones", name, {**net, **file_name})


def _name_with(name: str, params: Mapping[str, Any]) -> str:
    inside = ",".join(f"{k}={v}" for k, v in params.items())
    return f"{name}({inside})" if inside else name


def non_default(target: Any, params: Mapping[str, Any], skip: int = 0) -> dict[str, Any]:
    """The parameters that differ from their defaults."""
    defaults = registry.defaults(target, skip)
    return {k: v for k, v in params.items() if k not in defaults or v != defaults[k]}


def canonical(params: Mapping[str, Any]) -> str:
    """Parameters as JSON with sorted keys: the same values always give the same text."""
    return json.dumps(dict(params), sort_keys=True, default=str)


# ----------------------------------------------------------------- a suite's run specs


def expand(
    suite: Suite,
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
) -> list[RunSpec]:
    """All run specs of a suite, by block, then by seed, then by method as the suite lists them.

    Plain alone runs on its further seeds (`schema.baseline_seeds`), which come last in a block.
    ``seeds``, ``methods`` and ``datasets`` select some of the run specs. A method's name stands for
    all of its rows, and a name with parameters for one: ``sync(neighbours=random)``, or ``sync()``
    for the row with defaults. Raises UserError for any unknown name or parameter.
    """
    check_names(suite)
    for seed in seeds or ():
        if not is_seed(seed):
            raise UserError(f"seed {seed!r}: a seed is a whole number from 0 to {SEEDS - 1}")
    _select_methods(suite.methods, methods)
    blocks = _select(suite.blocks, "dataset", datasets, lambda b: b.dataset)
    specs = [spec for block in blocks for spec in _expand_block(suite, block, seeds, methods)]
    refuse_alike(specs)
    refuse_idle(specs)
    return specs


def refuse_idle(specs: Sequence[RunSpec]) -> None:
    """Raises UserError for a method that would never act in the training that its block has."""
    for spec in {(s.method, canonical(s.given), s.recipe.epochs): s for s in specs}.values():
        idle = functools.partial(_idle_reason, spec.recipe.epochs)
        if reason := _answer(spec.method, spec.params, idle, ""):
            raise UserError(f"method '{spec.method}': {reason}")


def _idle_reason(epochs: int, method: Any) -> str:
    return str(method.idle(epochs))


def refuse_alike(specs: Sequence[RunSpec]) -> None:
    """Raises UserError for run specs that could not be told apart in tables or as files, and for
    texts that are too long for a table."""
    recipes: dict[Block, Recipe] = {}
    for spec in specs:
        for text in spec.block:
            if problem := _label_problem(text):
                raise UserError(f"'{shortened(text, 80)}' {problem}")
        if len(spec.row.params) > LONGEST_PARAMS:
            raise UserError(f"method '{spec.method}': its parameters are longer than "
                            f"{LONGEST_PARAMS} characters")  # fmt: skip
        if recipes.setdefault(spec.block, spec.recipe) != spec.recipe:
            raise UserError(
                f"two blocks have the same label {' on '.join(spec.block)} but different recipes: "
                "put them into two suites, or give them different data, shots or net"
            )
    rows = Counter((spec.block, spec.row, spec.seed) for spec in specs)
    if twice := next((key for key, count in rows.items() if count > 1), None):
        block, row, seed = twice
        params = "" if row.params == "{}" else f" {shortened(row.params, 80)}"
        raise UserError(f"method '{row.method}'{params} is listed twice for {' on '.join(block)} "
                        f"(seed {seed}): remove one, or change its parameters")  # fmt: skip
    names: dict[str, RunSpec] = {}
    for spec in specs:
        if names.setdefault(spec.name, spec) is not spec:
            raise UserError(f"two runs would both be named {spec.name}: the last 150 characters of "
                            "dataset, backbone and parameters must differ")  # fmt: skip


#: Longest labels and parameters that a score table takes.
LONGEST_LABEL = 200
LONGEST_PARAMS = 2000


def _label_problem(text: str) -> str:
    if len(text) > LONGEST_LABEL:
        return f"has {len(text)} characters: a table takes {LONGEST_LABEL}; give fewer parameters"
    return "has control characters" if re.search(r"[\x00-\x1f\x7f]", text) else ""


def _expand_block(
    suite: Suite, block: SuiteBlock, seeds: Sequence[int] | None, methods: Sequence[str] | None
) -> list[RunSpec]:
    entries = block_methods(suite, block, methods)
    load = registry.get("datasets", block.dataset)
    build = registry.get("backbones", block.backbone)
    recipe = block_recipe(suite, block)
    for name in recipe.watch:
        registry.get("metrics", name)
    shared: dict[str, Any] = {
        "dataset": block.dataset, "data": _parameters(load, block.data, skip=1),
        "backbone": block.backbone, "net": _parameters(build, block.net, skip=2),
        "recipe": recipe, "layers": tuple(block.layers or suite.layers), "probe": suite.probe,
        "aspects": tuple(block.aspects or suite.aspects), "shots": block.shots,
        "images": dict(suite.images), "targets": suite_targets(suite),
        "concept_users": concept_users(suite, block), "gpu": block.gpu,
        "pictures": block.pictures,
    }  # fmt: skip
    if non_default(build, shared["net"], 2):
        _refuse_giant(block.backbone, build, shared["net"])
    rows = [(entry.name, _method_params(entry), _partners(suite, entry, seeds))
            for entry in entries]  # fmt: skip
    return [
        _one_run(name, params, seed, partners[seed], shared)
        for seed in (baseline_seeds(suite) if seeds is None else seeds)
        for name, params, partners in rows
        if seed in partners
    ]


#: The partner of plain's further seeds, which are compared with no other.
ALONE = -1


def _partners(
    suite: Suite, entry: MethodEntry, choice: Sequence[int] | None
) -> dict[int, int | None]:
    """The seeds of a row, or those of a choice, each with the next one of the row, which it is
    compared with; None if there is no other, and `ALONE` for seeds that only plain has."""
    row, tested = seeds_of(suite, entry), set(suite.seeds)
    seeds = row if choice is None else choice
    own = _next_seeds([seed for seed in row if seed in tested])
    partners = _next_seeds(seeds) | dict.fromkeys(baseline_seeds(suite), ALONE) | own
    return {seed: partners[seed] for seed in seeds}


def _next_seeds(seeds: Sequence[int]) -> dict[int, int | None]:
    """For each seed the one after it in the list, the first after the last; None if it is the only
    one."""
    pairs = zip(seeds, [*seeds[1:], *seeds[:1]], strict=True)
    return {seed: other if other != seed else None for seed, other in pairs}


def _one_run(
    name: str, params: dict[str, Any], seed: int, partner: int | None, shared: Mapping[str, Any]
) -> RunSpec:
    """A run spec of a row; without metrics that compare seeds if it stands alone."""
    given = non_default(registry.get("methods", name), params)
    alone = partner == ALONE
    spec = RunSpec(
        method=name, params=params, given=given, seed=seed, partner=None if alone else partner,
        **shared,
    )  # fmt: skip
    return _without_pairs(spec) if alone else spec


def seeds_of(suite: Suite, entry: MethodEntry) -> list[int]:
    """The seeds of a row of a suite: plain has more of them than the others, and some rows may
    have fewer."""
    return _seeds_of_row(suite, row_key(entry))


def _seeds_of_row(suite: Suite, row: RowKey) -> list[int]:
    seeds = baseline_seeds(suite) if row == BASELINE else suite.seeds
    return seeds[: suite.row_seeds.get(row_label(row), len(seeds))]


def _without_pairs(spec: RunSpec) -> RunSpec:
    """The run spec without metrics that compare seeds."""
    names = [n for n in spec.metrics if scope(registry.get("metrics", n).function) != "seeds"]
    return replace(spec, measures=tuple(names))


def suite_targets(suite: Suite) -> tuple[str, ...]:
    """The metrics that some method of a suite treats, by name; scored for every row."""
    metrics = [_answer(e.name, e.params, _target_metric, "") for e in suite.methods]
    return tuple(sorted({metric for metric in metrics if metric}))


def _target_metric(method: Any) -> str:
    target = treatment(method)
    return "" if isinstance(target, str) else target.metric


def _answer(
    name: str, params: Mapping[str, Any], question: Callable[[Any], Item], default: Item
) -> Item:
    """What a method answers; the default for a plugin that fails, whose runs fail by themselves."""
    try:
        return registry.ask_method(name, params, question)
    except PluginFault:
        return default


def concept_users(suite: Suite, block: SuiteBlock) -> tuple[tuple[str, str], ...]:
    """The methods of a block that are trained on concepts, with their parameters as JSON."""
    return tuple(
        (entry.name, canonical(entry.params))
        for entry in block_methods(suite, block)
        if _answer(entry.name, entry.params, lambda method: "concepts" in method.needs, False)
    )


def _refuse_giant(name: str, build: Any, params: Mapping[str, Any]) -> None:
    """Like `refuse_giant`; a plugin's backbone is built in a process of its own."""
    if registry.plugin_of("backbones", name) is None:
        refuse_giant(name, build, params)
        return
    with suppress(PluginFault):  # its runs fail with this reason, the others are done
        apart(lambda: refuse_giant(name, build, params), registry.BRIEF)


def _parameters(target: Any, params: Mapping[str, Any], skip: int = 0) -> dict[str, Any]:
    """Like `registry.parameters`, but a suite file's text and truth values are no numbers."""
    values = registry.parameters(target, params, skip)
    for name, value in params.items():
        if isinstance(value, bool | str) and not isinstance(values[name], type(value)):
            label = getattr(target, "name", "") or target.__name__
            kind = type(values[name]).__name__
            raise UserError(f"'{label}': {name} = {value!r}: use a value of type {kind}")
    return values


def _method_params(entry: MethodEntry) -> dict[str, Any]:
    """All parameters of a method. Raises UserError if the method refuses them."""
    cls = registry.get("methods", entry.name)
    params = _parameters(cls, entry.params)
    try:
        registry.ask_method(entry.name, entry.params, lambda method: None)
    except PluginFault:
        pass  # its runs fail with this reason, the others are done
    except UserError:
        raise
    except Exception as error:  # a plugin may refuse in its own way
        raise UserError(f"method '{entry.name}': {one_line(error)}") from error
    return params


def block_methods(
    suite: Suite, block: SuiteBlock, methods: Sequence[str] | None = None
) -> list[MethodEntry]:
    """The methods that run on a block, ``methods`` alone if given. Raises UserError if the block
    names a method that the suite does not have."""
    entries = _select(suite.methods, "method", block.methods or None, lambda e: e.name)
    names = methods and [name for name in methods if any(_is_named(e, name) for e in entries)]
    return _select_methods(entries, names)


def _select_methods(
    entries: Sequence[MethodEntry], names: Sequence[str] | None
) -> list[MethodEntry]:
    """The entries with one of the names: of a method, or of a row. Raises UserError for a name
    that none has."""
    rows = [name for name in names or () if "(" in name]
    labels = {_full_label(entry) for entry in entries} if rows else set()
    for name in rows:
        if name not in labels:
            close = nearest(name, labels) or f" (it has: {', '.join(sorted(labels))})"
            raise UserError(f"the suite has no row '{name}'{close}")
    methods = None if names is None else [name for name in names if name not in rows]
    _select(entries, "method", methods, lambda entry: entry.name)
    return [e for e in entries if names is None or any(_is_named(e, name) for name in names)]


def _is_named(entry: MethodEntry, name: str) -> bool:
    return name in (entry.name, _full_label(entry) if "(" in name else entry.name)


def _full_label(entry: MethodEntry) -> str:
    """The label of an entry's row, with ``()`` if it has no parameters."""
    text = row_label(row_key(entry))
    return text if "(" in text else f"{text}()"


def check_names(suite: Suite) -> None:
    """Raises UserError if the suite names an aspect, metric or row that does not exist, or a block
    an aspect that the suite does not have."""
    for entry in suite.methods:
        registry.get("methods", entry.name)
    for where, names in (("aspects", suite.aspects), ("headline", suite.headline)):
        for aspect in names:
            if aspect not in ASPECTS:
                raise UserError(f"{where}: no aspect '{aspect}'{nearest(aspect, ASPECTS)}")
    for block in suite.blocks:
        _check_aspects(suite, f"block {block.dataset} on {block.backbone}", block.aspects)
    _check_aspects(suite, "images", list(suite.images))
    margins = [name for block in suite.blocks for name in block_margins(suite, block)]
    for name in [*suite.headline.values(), *margins]:
        registry.get("metrics", name)
    if suite.contrasts or suite.row_seeds:
        rows = row_labels(suite)
        for text in suite.row_seeds:
            _row_of(text, rows, "row_seeds")
        contrast_rows(suite)


def _check_aspects(suite: Suite, where: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in suite.aspects:
            raise UserError(f"{where}: '{name}' is not among the suite's aspects"
                            f"{nearest(name, suite.aspects)}")  # fmt: skip


# ----------------------------------------------------------------- rows and contrasts


def row_key(entry: MethodEntry) -> RowKey:
    """The row of a method of a suite. Raises UserError if the method refuses its parameters."""
    params = non_default(registry.get("methods", entry.name), _method_params(entry))
    return RowKey(entry.name, canonical(params))


def row_label(row: RowKey) -> str:
    """A row as text: the method with its non-default parameters, ``sync(neighbours=random)``."""
    return _name_with(row.method, json.loads(row.params))


def row_labels(suite: Suite) -> dict[str, RowKey]:
    """The suite's rows by label."""
    rows = [row_key(entry) for entry in suite.methods]
    return {row_label(row): row for row in rows}


def _row_of(text: str, rows: Mapping[str, RowKey], where: str) -> RowKey:
    """The row with a label. Raises UserError, with the nearest label, if there is none."""
    if text not in rows:
        close = nearest(text, rows) or f" (it has: {', '.join(rows)})"
        raise UserError(f"{where}: the suite has no row '{text}'{close}")
    return rows[text]


def contrast_rows(suite: Suite) -> list[tuple[RowKey, RowKey]]:
    """The suite's contrasts: pairs of rows, of which the first is compared with the second.

    Raises UserError for a label that no row has, for a row compared with itself, and for a pair
    that is listed twice.
    """
    rows = row_labels(suite)
    pairs: list[tuple[RowKey, RowKey]] = []
    for first, second in suite.contrasts:
        pair = (_row_of(first, rows, "contrasts"), _row_of(second, rows, "contrasts"))
        if first == second:
            raise UserError(f"contrasts: '{first}' is compared with itself: name another row")
        if pair in pairs or pair[::-1] in pairs:
            raise UserError(f"contrasts: '{first}' and '{second}' are listed twice: remove one")
        pairs.append(pair)
    return pairs


def suite_margins(suite: Suite) -> dict[Block, dict[str, float]]:
    """The margin of each metric on each block of a suite. Raises UserError for a parameter that a
    dataset or backbone does not have."""
    return {
        block_of(block): {name: entry.value for name, entry in block_margins(suite, block).items()}
        for block in suite.blocks
    }


def block_of(block: SuiteBlock) -> Block:
    """The block as the run specs of a suite name it. Raises UserError."""
    data = _parameters(registry.get("datasets", block.dataset), block.data, skip=1)
    net = _parameters(registry.get("backbones", block.backbone), block.net, skip=2)
    return Block(_dataset_label(block.dataset, data, block.shots),
                 _backbone_label(block.backbone, net))  # fmt: skip


def _select(
    items: Sequence[Item],
    kind: str,
    names: Sequence[str] | None,
    name_of: Callable[[Item], str],
) -> list[Item]:
    """The items that have one of the names, in their own order. Raises UserError for a name that
    no item has."""
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
