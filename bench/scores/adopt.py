"""Adopting published rows under new code or from another machine: one seed of each is rerun."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError, reason_of
from legible.bench.execution import schedule
from legible.bench.execution.environment import Environment, read_environment
from legible.bench.execution.listing import write_listed
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.published import (
    COMPANIONS,
    SCORES,
    Machine,
    PublishedTable,
    RunPlace,
    RunRecord,
    Scoring,
    read_published,
    sealed_files,
)
from legible.bench.execution.reuse import scoring_of
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import KEY, read_scores, tidy
from legible.bench.suites.run_spec import Block, RowKey, RunSpec, suite_margins
from legible.bench.suites.schema import Suite
from legible.metrics.base import METRICS, scope

#: A rerun on another kind of device may differ from a published headline by this share of the
#: metric's margin.
SHARE_OF_MARGIN = 0.1

#: The environment of runs in tables from before runs.csv existed.
UNKNOWN = Environment(packages={}, python="unknown", commit="unknown", device="unknown")


#: The rows of a score table by place.
Tables = Mapping[RunPlace, pd.DataFrame]


@dataclass(frozen=True)
class PublishedRow:
    """A row of a leaderboard on one block, with the run specs of its published seeds."""

    block: Block
    row: RowKey
    specs: list[RunSpec]

    def __str__(self) -> str:
        params = "" if self.row.params == "{}" else f" {self.row.params}"
        return f"{self.row.method}{params} on {' · '.join(self.block)}"


@dataclass(frozen=True)
class Comparison:
    """How a rerun of one seed compares with its published values: what differs too much ("" if
    nothing does), and a description of the comparison."""

    problem: str
    text: str


def adopt_published(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    results: Path,
    jobs: int = 0,
    plugins: Sequence[Path] = (),
) -> list[str]:
    """Reruns one seed of each published row that other code or another machine made, and compares.

    Rows whose rerun is equal to the last digit take the run names and metric keys of the current
    code. Rows that another kind of device made take them if each headline of the rerun differs by
    at most a tenth of its margin. The table says how each row was compared. Returns a line for each
    stale row: its rerun failed or gave other numbers. Metrics that compare seeds are not rerun,
    because they need a second run; their values stay as they are. Raises UserError if nothing is
    published.
    """
    folder = results / suite.name
    table = read_published(folder)
    if table is None:
        raise UserError(f"nothing to adopt: no {folder / SCORES}")
    scores = by_place(_read_scores(folder / SCORES))
    rows = [
        row
        for row in published_rows(scores, specs)
        if not is_adopted(workspace, table, scores, row)
    ]
    if not rows:
        CONSOLE.print(f"{folder}: nothing to adopt: all rows match the current code")
        return []
    first = [row.specs[0] for row in rows]
    schedule.attempt(workspace, first, jobs, plugins)
    rerun = by_place(tidy(score_table(workspace, first)))
    stale: list[str] = []
    names: dict[str, str] = {}
    records = dict(table.runs)
    for row in rows:
        outcome = compare(workspace, suite, table, scores, rerun, row)
        if outcome.problem:
            stale.append(f"{row}: {outcome.problem}")
            continue
        for record in adopted_records(workspace, table, scores, row, outcome.text):
            records[record.run] = record
        names |= renamings(scores, workspace, row)
        CONSOLE.print(f"adopted: {row} ({len(row.specs)} seeds; {outcome.text})")
    _write(workspace, suite, specs, table, names, records.values())
    for line in stale:
        CONSOLE.print(f"stale: {line}")
    return stale


def _read_scores(path: Path) -> pd.DataFrame:
    try:
        return read_scores(path)
    except ValueError as error:
        raise UserError(str(error)) from error


def is_adopted(
    workspace: Workspace, table: PublishedTable, scores: Tables, row: PublishedRow
) -> bool:
    """Whether all runs of a row have the names and metric keys of the current code, and were made
    on a machine like this one or compared with it."""
    device = read_environment(workspace.device).device
    for spec in row.specs:
        name = workspace.run_of(spec).name
        record = table.runs.get(name)
        if record is None or set(scores[_place(spec)]["run"]) != {name}:
            return False
        current = scoring_of(workspace, spec)
        if record.scoring.probe != current.probe or any(
            current.metrics.get(metric, key) != key
            for metric, key in record.scoring.metrics.items()
        ):
            return False
        if device not in (record.machine.environment.device, "") and device not in record.compared:
            return False
    return True


def compare(
    workspace: Workspace,
    suite: Suite,
    table: PublishedTable,
    scores: Tables,
    rerun: Tables,
    row: PublishedRow,
) -> Comparison:
    """Compares the rerun of a row's first seed with the published values."""
    spec = row.specs[0]
    device = read_environment(workspace.device).device
    origin = f"seed {spec.seed} rerun on {device}"
    record = _record(table, scores, spec)
    if record is not None and not workspace.device.startswith(record.machine.kind):
        share, problem = headline_share(suite, scores, rerun, spec)
        return Comparison(
            problem, f"{origin}: headlines differ by at most {share:.2g} of the margin"
        )
    return Comparison(disagreement(scores, rerun, spec), f"{origin}: equal")


def headline_share(suite: Suite, scores: Tables, rerun: Tables, spec: RunSpec) -> tuple[float, str]:
    """The largest difference of a headline between two tables as a share of its margin, and what
    differs by more than `SHARE_OF_MARGIN` (empty if nothing does). Without a margin a headline must
    be equal."""
    margins = suite_margins(suite).get(spec.block, {})
    headlines = {m.heads: m.name for m in METRICS.values() if m.headline} | suite.headline
    published, again = (table[_place(spec)].set_index(KEY) for table in (scores, rerun))
    share = 0.0
    for key in published.index:
        metric = key[-1]
        if metric not in headlines.values() or _compares_seeds(metric):
            continue
        if key not in again.index:
            return math.inf, f"the rerun of seed {spec.seed} has no {metric}"
        old, new = (float(table.loc[[key], "value"].iloc[0]) for table in (published, again))
        if old == new or (math.isnan(old) and math.isnan(new)):
            continue
        margin = margins.get(metric, 0.0)
        difference = abs(old - new) / margin if margin else math.inf
        if not difference <= SHARE_OF_MARGIN:
            return difference, (
                f"{metric} of seed {spec.seed} was {old:.9g} and is {new:.9g}: more than a tenth "
                f"of its margin ({margin:g})"
            )
        share = max(share, difference)
    return share, ""


def adopted_records(
    workspace: Workspace,
    table: PublishedTable,
    scores: Tables,
    row: PublishedRow,
    compared: str,
) -> Iterator[RunRecord]:
    """What the table says about the runs of an adopted row: the current names and keys, and the
    machine that made them."""
    kind = torch.device(workspace.device).type
    for spec in row.specs:
        earlier = _record(table, scores, spec)
        current = scoring_of(workspace, spec)
        measured = set(scores[_place(spec)]["metric"])
        keys = {name: key for name, key in current.metrics.items() if name in measured}
        yield RunRecord(
            run=workspace.run_of(spec).name,
            machine=earlier.machine if earlier else Machine(kind=kind, environment=UNKNOWN),
            scoring=Scoring(probe=current.probe, metrics=keys),
            partner=earlier.partner if earlier else spec.partner,
            finished=earlier.finished if earlier else "",
            train_seconds=earlier.train_seconds if earlier else 0.0,
            score_seconds=earlier.score_seconds if earlier else 0.0,
            compared=compared,
        )


def _record(table: PublishedTable, scores: Tables, spec: RunSpec) -> RunRecord | None:
    """What the table says about a published run, under the name that it has there."""
    (name,) = scores[_place(spec)]["run"].unique()[:1]
    return table.runs.get(str(name))


def _write(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    table: PublishedTable,
    names: Mapping[str, str],
    records: Iterable[RunRecord],
) -> None:
    """Writes the table with new run names, and its seals. Raises UserError."""
    data = dict(table.data)
    for spec in {spec.dataset_label: spec for spec in specs}.values():
        with contextlib.suppress(DataMissing):
            data[spec.dataset_label] = workspace.fingerprint(spec)
    folder = table.folder
    try:
        scores = (folder / SCORES).read_bytes()
        for old, new in names.items():
            scores = scores.replace(old.encode(), new.encode())
        present = [name for name in COMPANIONS if (folder / name).is_file()]
        tables = {SCORES: scores, **{name: (folder / name).read_bytes() for name in present}}
        seals = sealed_files(tables, records, data, suite.version)
        files = {SCORES: scores, **seals}
        write_listed(folder, files)
    except OSError as error:
        raise UserError(f"cannot write {folder / SCORES}: {reason_of(error)}") from error


def by_place(table: pd.DataFrame) -> dict[RunPlace, pd.DataFrame]:
    """The rows of each run in a score table."""
    tables = {}
    for key, group in table.groupby(KEY[:5], sort=False):
        dataset, backbone, method, params, seed = map(str, key)
        tables[RunPlace(Block(dataset, backbone), RowKey(method, params), int(seed))] = group
    return tables


def _place(spec: RunSpec) -> RunPlace:
    return RunPlace(spec.block, spec.row, spec.seed)


def published_rows(scores: Tables, specs: Sequence[RunSpec]) -> list[PublishedRow]:
    """The rows on each block that the table has scores of, with the run specs of these scores."""
    rows: dict[tuple[Block, RowKey], PublishedRow] = {}
    for spec in specs:
        table = scores.get(_place(spec))
        if table is not None and ((table["status"] == "ok") & (table["metric"] != "")).any():
            row = rows.setdefault((spec.block, spec.row), PublishedRow(spec.block, spec.row, []))
            row.specs.append(spec)
    return list(rows.values())


def renamings(scores: Tables, workspace: Workspace, row: PublishedRow) -> dict[str, str]:
    """Published run name -> name under the current code, for each run of a row that has another."""
    names: dict[str, str] = {}
    for spec in row.specs:
        new = workspace.run_of(spec).name
        names |= {str(old): new for old in scores[_place(spec)]["run"].unique() if old != new}
    return names


def disagreement(scores: Tables, rerun: Tables, spec: RunSpec) -> str:
    """The first number of a rerun that differs from the published one; empty if all agree."""
    published, again = (table[_place(spec)].set_index(KEY) for table in (scores, rerun))
    if "ok" not in set(again["status"]):
        reasons = "; ".join(again["reason"]) or "no metric applies"
        return f"the rerun of seed {spec.seed} gave no scores ({reasons})"
    for key in published.index:
        metric = key[-1]
        if _compares_seeds(metric):
            continue
        if key not in again.index:
            return f"{metric} is no longer measured"
        for column in ("value", "live", "undefined", "count"):
            old, new = (float(table.loc[[key], column].iloc[0]) for table in (published, again))
            if old != new and not (math.isnan(old) and math.isnan(new)):
                what = metric if column == "value" else f"{column} of {metric}"
                return f"{what} of seed {spec.seed} was {old:.9g} and is {new:.9g}"
    return ""


def _compares_seeds(metric: str) -> bool:
    return metric in METRICS and scope(METRICS[metric].function) == "seeds"
