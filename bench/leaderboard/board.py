"""The data that all tables and figures of a leaderboard are made from."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from legible.bench.leaderboard.block_titles import short_titles
from legible.bench.leaderboard.common_algorithms import over_common_algorithms
from legible.bench.leaderboard.missing_values import SeedReason, merge
from legible.bench.scores.score_table import tidy
from legible.bench.statistics.intervals import INTERVAL_SEEDS, Interval, t_interval
from legible.bench.suites.run_spec import BASELINE, Block, RowKey
from legible.bench.text import settings
from legible.bench.tuning.ledger import Ledger
from legible.methods.base import Target
from legible.metrics.base import ASPECTS, METRICS, PARTS, Metric

#: Null networks that every metric should tell from plain; never a training-free row.
NULLS = ("untrained", "plain_rotated")

#: Watched metrics of one row by name, as (seeds, epochs); see `figures.training_curves`.
Histories = Mapping[str, Float[np.ndarray, "seeds epochs"]]


class Row(NamedTuple):
    """A row of the leaderboard: a method with its non-default parameters.

    ``group`` is one of `GROUPS`: a row is set apart in tables unless it is trained by a method.
    """

    method: str
    params: str
    label: str
    group: str

    @property
    def key(self) -> RowKey:
        """Method and parameters."""
        return RowKey(self.method, self.params)

    @property
    def trained(self) -> bool:
        """Whether it is trained by a method: plain too, but no control and no null row."""
        return self.group == "method"

    @property
    def tested(self) -> bool:
        """Whether it gets signs. Controls and null rows are shown without."""
        return self.group in ("method", "training-free")

    @property
    def name(self) -> str:
        """Label and parameters, for sentences and figures."""
        extra = settings(self.params)
        return f"{self.label} [{extra}]" if extra else self.label


#: The groups of rows, in the order of tables. "training-free": made from plain's trained network
#: without further training (dictionaries, pruning); a method should beat them.
GROUPS = ("method", "training-free", "control", "null")


class Column(NamedTuple):
    """A metric at one layer."""

    metric: Metric
    layer: str


@dataclass(frozen=True, slots=True)
class _Score:
    """The parts of a row of the score table that belong to its value."""

    seed: int
    value: float
    undefined: int
    count: int
    reason: str


@dataclass(frozen=True, eq=False)
class SeedValues:
    """The values of one row for a metric at one layer of one block: one for each seed.

    ``values`` are headline means, NaN where there is none; ``reasons`` say why values are missing.
    """

    seeds: tuple[int, ...]
    values: Float[np.ndarray, "seeds"]
    undefined: int
    count: int
    reasons: tuple[str, ...]

    @cached_property
    def interval(self) -> Interval:
        """The mean over seeds with its 95 % t interval."""
        return t_interval(self.values)

    @property
    def mean(self) -> float:
        return float(self.interval.mean)

    @property
    def half(self) -> float:
        """Half the width of the 95 % t interval; NaN below three seeds."""
        enough = np.isfinite(self.values).sum() >= INTERVAL_SEEDS
        return float(self.interval.half) if enough else math.nan


@dataclass(frozen=True, eq=False)
class Board:
    """All data of one leaderboard. Only ``scores`` is required.

    ``provenance`` holds facts about how the numbers were made, ``command`` the shell commands that
    reproduce them. ``headline`` maps an aspect to its headline metric (default: the metrics' own
    flags), ``block_headlines`` does so for single blocks; there "" means that no metric heads the
    aspect, for the reason in ``unheaded``. ``margins`` holds, for each block, the differences in a
    metric that make no difference in practice. ``contrasts`` are pairs of rows that are compared.
    ``derived`` names the methods that are made from plain's trained networks. ``targets`` says for
    each row which metric it treats and in which direction, or why there is none. ``layers`` maps
    (dataset, backbone) to layer names in the network's order. ``trained_on`` maps a method to the
    metrics that its loss nearly minimises. ``marks`` maps a method to a footnote (a layer it
    replaces), ``remarks`` a metric to one (a law it breaks). ``photographs`` names the datasets of
    photographs with concept masks, ``unmasked`` the datasets without any masks. ``left_out`` names
    the suite's methods and blocks that a partial publication does not show. ``data_notes``
    holds, by dataset, what its page says of its concepts and images. ``attributions`` are credits
    that published images need. ``dynamics`` holds the watched metrics by epoch.
    ``ledger`` holds the trials of a tuned suite, ``algorithms`` the attribution scores of each
    algorithm. ``docs`` is the path of docs/metrics.md from the README.
    """

    scores: pd.DataFrame
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)
    headline: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    title: str = "Leaderboard"
    block_headlines: Mapping[Block, Mapping[str, str]] = field(default_factory=dict)
    unheaded: Mapping[tuple[Block, str], str] = field(default_factory=dict)
    margins: Mapping[Block, Mapping[str, float]] = field(default_factory=dict)
    contrasts: Sequence[tuple[RowKey, RowKey]] = ()
    derived: Collection[str] = ()
    targets: Mapping[RowKey, Target | str] = field(default_factory=dict)
    layers: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    trained_on: Mapping[str, Collection[str]] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    photographs: Collection[str] = ()
    unmasked: Collection[str] = ()
    left_out: Sequence[str] = ()
    data_notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    attributions: Sequence[str] = ()
    dynamics: Mapping[Block, Mapping[RowKey, Histories]] = field(default_factory=dict)
    ledger: Ledger | None = None
    algorithms: pd.DataFrame = field(default_factory=pd.DataFrame)
    docs: str = "../../docs/metrics.md"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)

    # ------------------------------------------------------------- blocks, rows, metrics

    @cached_property
    def table(self) -> pd.DataFrame:
        """The score table in its standard order, attributions by the same algorithms for all."""
        return over_common_algorithms(tidy(self.scores), self.algorithms)

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks by name, but for the `absent_blocks`. Numbers in names are ordered by value:
        5 shots come before 10."""
        return [block for block in self._titles if block not in self.absent_blocks]

    @cached_property
    def absent_blocks(self) -> dict[Block, str]:
        """The blocks whose runs are all missing, each with the reasons."""
        keys = ["dataset", "backbone"]
        reasons = {}
        for (dataset, backbone), group in self.table.groupby(keys):
            if (group["status"] == "missing").all():
                texts = group["reason"].drop_duplicates()
                reasons[Block(str(dataset), str(backbone))] = "; ".join(map(str, texts))
        return reasons

    def block_title(self, block: Block) -> str:
        """Dataset and backbone of a block in short, for titles and sentences."""
        return self._titles.get(block, " · ".join(block))

    @cached_property
    def _titles(self) -> dict[Block, str]:
        blocks = [Block(*pair) for pair in _distinct(self.table, ["dataset", "backbone"])]
        return short_titles(sorted(blocks, key=lambda block: [_natural(name) for name in block]))

    @cached_property
    def rows(self) -> list[Row]:
        """All rows: plain first, then those of each of the `GROUPS`, by name."""
        rows: dict[tuple[str, ...], Row] = {}
        for method, params, label, kind in _distinct(
            self.table, ["method", "params", "label", "kind"]
        ):
            free = kind == "null" and self.is_derived(method) and method not in NULLS
            group = "training-free" if free else kind
            rows.setdefault((method, params), Row(method, params, label or method, group))
        return sorted(rows.values(), key=lambda row: (
            row.key != BASELINE, GROUPS.index(row.group), row.method, row.params != "{}",
            row.params,
        ))  # fmt: skip

    def is_derived(self, method: str) -> bool:
        """Whether a method is made from plain's trained networks; also if it was submitted."""
        return method.partition("@")[0] in self.derived

    def rows_of(self, block: Block) -> list[Row]:
        """The rows that have an entry in a block, including failed and missing ones."""
        table = self.of_block(self.table, block)
        keys = set(zip(table["method"], table["params"], strict=True))
        return [row for row in self.rows if row.key in keys]

    @staticmethod
    def of_block(table: pd.DataFrame, block: Block) -> pd.DataFrame:
        """The part of a table that belongs to a block."""
        return table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]

    @cached_property
    def baseline(self) -> Row | None:
        """The row of plain training."""
        return next((row for row in self.rows if row.key == BASELINE), None)

    @cached_property
    def headlines(self) -> dict[str, str]:
        """The headline metric of each head that has one in some block, in the order of the heads;
        the first block's where blocks differ."""
        names = [(head, self.headline_columns(block).get(head)) for head in self.heads
                 for block in self.blocks]  # fmt: skip
        first = {head: column.metric.name for head, column in reversed(names) if column}
        return {head: first[head] for head in self.heads if head in first}

    @cached_property
    def heads(self) -> list[str]:
        """What headlines stand for: each aspect, or its parts (`PARTS`), in their order."""
        return [head for aspect in self.aspects for head in (aspect, *PARTS.get(aspect, ()))]

    def headline_columns(self, block: Block) -> dict[str, Column]:
        """The headline metric of each head of a block, at the layer shown. A head without a
        headline there, or whose headline has no value of plain, is left out."""
        if block not in self._headline_columns:
            names = {**self.usual_headlines, **self.block_headlines.get(block, {})}
            columns = {head: self.columns(block, [names.get(head, "")]) for head in self.heads}
            self._headline_columns[block] = {
                head: c[0] for head, c in columns.items() if c and self._is_scored(block, c[0])
            }
        return self._headline_columns[block]

    def described_column(self, block: Block, head: str) -> Column | None:
        """The metric that describes a head of a block where none heads it: the suite's or the
        metrics' own choice. None if it has no value of plain."""
        columns = self.columns(block, [self.usual_headlines.get(head, "")])
        return columns[0] if columns and self._is_scored(block, columns[0]) else None

    @cached_property
    def usual_headlines(self) -> dict[str, str]:
        """The headline metrics that the metrics' own flags and the suite choose."""
        flagged = {m.heads: m.name for m in self.metrics.values() if m.headline}
        return {**flagged, **self.headline}

    @cached_property
    def _headline_columns(self) -> dict[Block, dict[str, Column]]:
        return {}

    def _is_scored(self, block: Block, column: Column) -> bool:
        """Whether plain has a value, or any trained row on a board without plain. A metric that
        is defined for the oracle alone compares nothing."""
        rows = [self.baseline] if self.baseline else [row for row in self.rows if row.trained]
        return any(np.isfinite(self.seed_values(block, row, column).mean) for row in rows)

    @cached_property
    def metric_names(self) -> list[str]:
        """The metrics in the table."""
        names = self.table["metric"]
        return names[names != ""].drop_duplicates().tolist()

    @cached_property
    def aspects(self) -> list[str]:
        """The aspects in the table: the known ones in their order, then others by name."""
        names = self.table.loc[self.table["metric"] != "", "aspect"].unique()
        return [a for a in ASPECTS if a in names] + sorted(set(names) - set(ASPECTS))

    def metric(self, name: str) -> Metric:
        """A metric's description; one without text if the metric is not registered any more."""
        if name in self.metrics:
            return self.metrics[name]
        aspect = self.table.loc[self.table["metric"] == name, "aspect"].iloc[0]
        infinite = (-float("inf"), float("inf"))
        return Metric(
            name, lambda layer, probe: None, aspect, "neither", "layer", None, frozenset(), False,
            name.replace("_", " "), infinite, "",
        )  # fmt: skip

    def metric_title(self, name: str) -> str:
        """The name of a metric in tables, whether the table has it or not."""
        return self.metrics[name].title if name in self.metrics else name.replace("_", " ")

    def metrics_of(self, aspect: str) -> list[str]:
        """The metrics of an aspect, its headline first."""
        table = self.table
        names = sorted(set(table.loc[table["aspect"] == aspect, "metric"]) - {""})
        return sorted(names, key=lambda name: (name not in self.headlines.values(), name))

    def columns(self, block: Block, names: Iterable[str]) -> list[Column]:
        """Metrics of a block, each at the layer that is shown (see `shown_layers`)."""
        layers = self.shown_layers[block]
        return [Column(self.metric(name), layers[name]) for name in names if name in layers]

    @cached_property
    def shown_layers(self) -> dict[Block, dict[str, str]]:
        """For each block and metric the layer shown: the last one at which the metric has a value,
        or the last one if it has none."""
        layers: dict[Block, dict[str, str]] = {block: {} for block in self.blocks}
        rows = self.table[self.table["metric"] != ""]
        groups = rows.groupby(["dataset", "backbone", "metric"], sort=True)
        for (dataset, backbone, name), group in groups:
            block = Block(str(dataset), str(backbone))
            valued = group.loc[group["value"].notna(), "layer"]
            candidates = valued if len(valued) else group["layer"]
            layers[block][str(name)] = self.in_order(block, candidates)[-1]
        return layers

    def in_order(self, block: Block, layers: Iterable[str]) -> list[str]:
        """Distinct layer names in the network's order; unknown ones come first, by name."""
        order = list(self.layers.get((block.dataset, block.backbone), ()))
        return sorted(set(layers), key=lambda n: (order.index(n) if n in order else -1, n))

    # ------------------------------------------------------------- values

    def seed_values(self, block: Block, row: Row, column: Column) -> SeedValues:
        """The values of a row for a column by seed, and why any are missing."""
        key = (*block, *row.key, column.layer, column.metric.name)
        if key not in self._seed_values:
            failures = self.failures.get((block, row.key), ())
            scores = self._scores.get(key, ())
            reasons = merge(
                SeedReason(s.seed, s.reason or "undefined, no reason recorded")
                for s in scores
                if s.reason or np.isnan(s.value)
            )
            unscored = [] if scores or failures else ["not scored"]
            self._seed_values[key] = SeedValues(
                tuple(s.seed for s in scores), np.array([s.value for s in scores], dtype=float),
                sum(s.undefined for s in scores), sum(s.count for s in scores),
                (*reasons, *failures, *unscored),
            )  # fmt: skip
        return self._seed_values[key]

    @cached_property
    def _seed_values(self) -> dict[tuple[str, ...], SeedValues]:
        return {}

    @cached_property
    def _scores(self) -> dict[tuple[str, ...], list[_Score]]:
        """The scores of each block, row, layer and metric, by seed."""
        keys = ["dataset", "backbone", "method", "params", "layer", "metric"]
        rows = self.table[self.table["metric"] != ""]
        scores: dict[tuple[str, ...], list[_Score]] = {}
        places = zip(*(rows[name].tolist() for name in keys), strict=True)
        values = zip(*(rows[name].tolist() for name in _Score.__slots__), strict=True)
        for place, value in zip(places, values, strict=True):
            scores.setdefault(place, []).append(_Score(*value))
        return scores

    @cached_property
    def failures(self) -> dict[tuple[Block, RowKey], tuple[str, ...]]:
        """Why runs gave no scores at all: the reasons of each block and row, with the seeds.
        Without the `absent_blocks`."""
        keys = ["dataset", "backbone", "method", "params"]
        failures = {}
        for key, group in self.table[self.table["metric"] == ""].groupby(keys):
            dataset, backbone, method, params = map(str, key)
            columns = (group["seed"], group["status"], group["reason"])
            if Block(dataset, backbone) in self.absent_blocks:
                continue
            failures[Block(dataset, backbone), RowKey(method, params)] = tuple(merge(
                SeedReason(int(seed), f"{status}: {reason or 'no reason recorded'}")
                for seed, status, reason in zip(*columns, strict=True)
            ))  # fmt: skip
        return failures

    @cached_property
    def runs(self) -> dict[tuple[Block, RowKey], int]:
        """How many seeds were run, or failed, for each block and row."""
        keys = ["dataset", "backbone", "method", "params"]
        table = self.table[(self.table["status"] != "missing") & (self.table["seed"] >= 0)]
        runs = {}
        for key, group in table.groupby(keys):
            dataset, backbone, method, params = map(str, key)
            runs[Block(dataset, backbone), RowKey(method, params)] = int(group["seed"].nunique())
        return runs

    @cached_property
    def failed_seeds(self) -> dict[tuple[Block, RowKey], tuple[int, int]]:
        """How many seeds of how many failed, for each block and row with a failed seed."""
        keys = ["dataset", "backbone", "method", "params"]
        table = self.table[self.table["seed"] >= 0]
        failed = table[table["status"] == "failed"].groupby(keys)["seed"].nunique()
        counts = {}
        for key, count in failed.items():
            dataset, backbone, method, params = map(str, key)  # type: ignore[call-overload]
            block, row = Block(dataset, backbone), RowKey(method, params)
            own = self.of_block(table, block)
            own = own[(own["method"] == method) & (own["params"] == params)]
            counts[block, row] = (int(count), int(own["seed"].nunique()))
        return counts

    def values(
        self, block: Block, rows: Sequence[Row], columns: Sequence[Column]
    ) -> Float[np.ndarray, "seeds rows columns"]:
        """Values paired by seed; NaN where there is none."""
        places = [[self.seed_values(block, row, column) for column in columns] for row in rows]
        seeds = sorted({seed for line in places for place in line for seed in place.seeds})
        out = np.full((len(seeds), len(rows), len(columns)), np.nan)
        for i, line in enumerate(places):
            for j, place in enumerate(line):
                out[[seeds.index(seed) for seed in place.seeds], i, j] = place.values
        return out


def _natural(name: str) -> list[tuple[float, str]]:
    """A key that sorts the digits in a name as numbers."""
    return [(float(part), "") if part.isdecimal() else (math.inf, part)
            for part in re.split(r"(\d+)", name) if part]  # fmt: skip


def _distinct(table: pd.DataFrame, columns: list[str]) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table[columns].drop_duplicates().itertuples(index=False)]
