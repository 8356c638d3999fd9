"""What a leaderboard is made of: rows, columns and cells, apart from how they are rendered."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from legible.bench.leaderboard.reasons import SeedReason, merge
from legible.bench.scores.score_table import tidy
from legible.bench.statistics.intervals import Interval, t_interval
from legible.bench.suites.run_spec import BASELINE, Block, RowKey
from legible.bench.tuning.ledger import Ledger
from legible.metrics.base import ASPECTS, METRICS, Metric


class Row(NamedTuple):
    """A method with its non-default parameters."""

    method: str
    params: str
    label: str
    kind: str

    @property
    def key(self) -> RowKey:
        """Method and parameters."""
        return RowKey(self.method, self.params)

    @property
    def ranked(self) -> bool:
        """Nulls and controls stand outside the ranks."""
        return self.kind == "method"


class Column(NamedTuple):
    """A metric at the layer it is shown for."""

    metric: Metric
    layer: str


@dataclass(frozen=True, slots=True)
class _Measurement:
    """What one row of the table says."""

    seed: int
    value: float
    undefined: int
    count: int
    reason: str


@dataclass(frozen=True, eq=False)
class TableCell:
    """One row and column of one block, over seeds."""

    seeds: tuple[int, ...]
    values: np.ndarray  # headline means, one a seed, NaN: not measured
    undefined: int
    count: int
    reasons: tuple[str, ...]  # why values are missing

    @cached_property
    def interval(self) -> Interval:
        """Mean over seeds with its 95 % t interval."""
        return t_interval(self.values)

    @property
    def mean(self) -> float:
        return float(self.interval.mean)

    @property
    def half(self) -> float:
        """Half the 95 % t interval; NaN below two seeds."""
        return float(self.interval.half)


@dataclass(frozen=True, eq=False)
class Board:
    """All that the renderers need. Only ``scores`` has no default.

    ``headline`` maps an aspect to its one ranked metric (default: the metrics' own flags).
    ``layers`` maps (dataset, backbone) to layer names in the network's order.
    ``trained_on`` maps a method to metrics that its loss nearly minimises; ``marks`` maps a method
    to a remark (a layer it replaces), ``remarks`` a metric (a law it breaks). ``photographs`` names
    datasets of photographs with concept masks, ``unmasked`` those that have no masks at all;
    ``attributions`` are credits that published images need. ``dynamics`` holds watched metrics by
    epoch (see `bench.publish.dynamics`). ``docs`` is where docs/metrics.md lies, seen from the
    README.
    """

    scores: pd.DataFrame
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)
    headline: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    title: str = "Leaderboard"
    layers: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    trained_on: Mapping[str, Collection[str]] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    photographs: Collection[str] = ()
    unmasked: Collection[str] = ()
    attributions: Sequence[str] = ()
    figures: Sequence[tuple[str, str]] = ()  # shown: file below the README, caption
    gallery: Sequence[
        tuple[Block, tuple[str, str], str, str]
    ] = ()  # linked: block, row, kind, file
    dynamics: Mapping[Block, Mapping[tuple[str, str], Mapping[str, np.ndarray]]] = field(
        default_factory=dict
    )
    ledger: Ledger | None = None  # of a tuned suite
    algorithms: pd.DataFrame = field(default_factory=pd.DataFrame)  # attributions one by one
    docs: str = "../../docs/metrics.md"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy scores."""
        return tidy(self.scores)

    @cached_property
    def blocks(self) -> list[Block]:
        """By name, numbers in it by their value: 5 shots come before 10."""
        found = [Block(*pair) for pair in _distinct(self.table, ["dataset", "backbone"])]
        return sorted(found, key=lambda block: [_natural(name) for name in block])

    @cached_property
    def rows(self) -> list[Row]:
        """plain first, then methods, controls and nulls, each by name."""
        found: dict[tuple[str, ...], Row] = {}
        for row in _distinct(self.table, ["method", "params", "label", "kind"]):
            found.setdefault(row[:2], Row(row[0], row[1], row[2] or row[0], row[3]))
        kinds = ["method", "control", "null"]
        return sorted(found.values(), key=lambda row: (
            row.key != BASELINE, kinds.index(row.kind), row.method, row.params != "{}", row.params,
        ))  # fmt: skip

    @cached_property
    def baseline(self) -> Row | None:
        return next((row for row in self.rows if row.key == BASELINE), None)

    @cached_property
    def headlines(self) -> dict[str, str]:
        """The ranked metric of each aspect that has one, in the order of the aspects."""
        flagged = {m.aspect: m.name for m in self.metrics.values() if m.headline}
        chosen = {**flagged, **self.headline}
        return {a: chosen[a] for a in self.aspects if chosen.get(a) in self.measured.values}

    @cached_property
    def measured(self) -> pd.Series:
        """Names of the metrics in the table, each once."""
        names = self.table["metric"]
        return names[names != ""].drop_duplicates()

    @cached_property
    def aspects(self) -> list[str]:
        found = self.table.loc[self.table["metric"] != "", "aspect"].unique()
        return [a for a in ASPECTS if a in found] + sorted(set(found) - set(ASPECTS))

    def metric(self, name: str) -> Metric:
        """The metric's description; a bare one where the metric is no longer registered."""
        if name in self.metrics:
            return self.metrics[name]
        aspect = self.table.loc[self.table["metric"] == name, "aspect"].iloc[0]
        infinite = (-float("inf"), float("inf"))
        return Metric(
            name, lambda: None, aspect, "neither", "layer", None, frozenset(), False,
            name.replace("_", " "), infinite, "",
        )  # fmt: skip

    def columns(self, block: Block, names: Iterable[str]) -> list[Column]:
        """Metrics of a block at the last layer where one has a value (at "" where none has)."""
        return [
            Column(self.metric(name), self.places[block][name])
            for name in names
            if name in self.places[block]
        ]

    def of_aspect(self, aspect: str) -> list[str]:
        """The metrics of an aspect, its headline first."""
        table = self.table
        names = sorted(set(table.loc[table["aspect"] == aspect, "metric"]) - {""})
        return sorted(names, key=lambda name: (name != self.headlines.get(aspect), name))

    @cached_property
    def places(self) -> dict[Block, dict[str, str]]:
        """For each block and metric, the layer shown."""
        found: dict[Block, dict[str, str]] = {block: {} for block in self.blocks}
        rows = self.table[self.table["metric"] != ""]
        groups = rows.groupby(["dataset", "backbone", "metric"], sort=True)
        for (dataset, backbone, name), group in groups:
            block = Block(str(dataset), str(backbone))
            valued = group.loc[group["value"].notna(), "layer"]
            layers = valued if len(valued) else group["layer"]
            found[block][str(name)] = self.in_order(block, layers)[-1]
        return found

    def in_order(self, block: Block, layers: Iterable[str]) -> list[str]:
        """Distinct layer names in the network's order; unknown ones by name before them."""
        order = list(self.layers.get((block.dataset, block.backbone), ()))
        return sorted(set(layers), key=lambda n: (order.index(n) if n in order else -1, n))

    def cell(self, block: Block, row: Row, column: Column) -> TableCell:
        """A row's values for a column over seeds, and why any are missing."""
        key = (*block, *row.key, column.layer, column.metric.name)
        if key not in self._cells:
            self._cells[key] = self._cell(block, row, column)
        return self._cells[key]

    @cached_property
    def _cells(self) -> dict[tuple[str, ...], TableCell]:
        return {}

    def _cell(self, block: Block, row: Row, column: Column) -> TableCell:
        failures = self.failures.get((*block, *row.key), ())
        key = (*block, *row.key, column.layer, column.metric.name)
        found = self._measurements.get(key, ())
        reasons = merge(
            SeedReason(m.seed, m.reason or "undefined, no reason recorded")
            for m in found
            if m.reason or np.isnan(m.value)
        )
        unscored = [] if found or failures else ["not scored"]
        return TableCell(
            tuple(m.seed for m in found), np.array([m.value for m in found], dtype=float),
            sum(m.undefined for m in found), sum(m.count for m in found),
            (*reasons, *failures, *unscored),
        )  # fmt: skip

    @cached_property
    def _measurements(self) -> dict[tuple[str, ...], list[_Measurement]]:
        """The rows of each cell and column, by seed."""
        keys = ["dataset", "backbone", "method", "params", "layer", "metric"]
        rows = self.table[self.table["metric"] != ""]
        out: dict[tuple[str, ...], list[_Measurement]] = {}
        of = zip(*(rows[name].tolist() for name in keys), strict=True)
        what = zip(*(rows[name].tolist() for name in _Measurement.__slots__), strict=True)
        for key, values in zip(of, what, strict=True):
            out.setdefault(key, []).append(_Measurement(*values))
        return out

    @cached_property
    def failures(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Why whole cells of (dataset, backbone, method, params) gave no scores, by seed."""
        keys = ["dataset", "backbone", "method", "params"]
        rows = self.table[self.table["metric"] == ""]
        return {
            tuple(map(str, key)): tuple(
                merge(
                    SeedReason(int(s), f"{status}: {reason or 'no reason recorded'}")
                    for s, status, reason in zip(
                        group["seed"], group["status"], group["reason"], strict=True
                    )
                )
            )
            for key, group in rows.groupby(keys)
        }

    def values(self, block: Block, rows: Sequence[Row], columns: Sequence[Column]) -> np.ndarray:
        """Values paired by seed, shape (seeds, rows, columns); NaN where there is none."""
        cells = [[self.cell(block, row, column) for column in columns] for row in rows]
        seeds = sorted({seed for line in cells for cell in line for seed in cell.seeds})
        out = np.full((len(seeds), len(rows), len(columns)), np.nan)
        for i, line in enumerate(cells):
            for j, cell in enumerate(line):
                out[[seeds.index(seed) for seed in cell.seeds], i, j] = cell.values
        return out


def _natural(name: str) -> list[tuple[float, str]]:
    """A key that sorts digits in a name as numbers."""
    return [(float(part), "") if part.isdecimal() else (math.inf, part)
            for part in re.split(r"(\d+)", name) if part]  # fmt: skip


def _distinct(table: pd.DataFrame, columns: list[str]) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table[columns].drop_duplicates().itertuples(index=False)]
