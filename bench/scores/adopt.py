"""Adopting published rows under new code: one seed of each is rerun, equal rows take new names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from legible.bench.errors import UserError, reason_of
from legible.bench.execution import schedule
from legible.bench.execution.listing import refuse_edited, write_listed
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import KEY, read_scores, tidy
from legible.bench.suites.run_spec import Block, RowKey, RunSpec
from legible.bench.suites.schema import Suite
from legible.metrics.base import METRICS, scope

#: Text files of a publication in which runs are named.
NAMING_RUNS = ("scores.csv",)


@dataclass(frozen=True)
class PublishedRow:
    """A row of a leaderboard on one block, with the run specs of its published seeds."""

    block: Block
    row: RowKey
    specs: list[RunSpec]

    def __str__(self) -> str:
        params = "" if self.row.params == "{}" else f" {self.row.params}"
        return f"{self.row.method}{params} on {' · '.join(self.block)}"


def adopt_published(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    results: Path,
    jobs: int = 0,
    plugins: Sequence[Path] = (),
) -> list[str]:
    """Reruns one seed of each published row; rows that are equal to the last digit take the names
    that the current code gives their runs.

    Returns a line for each stale row: its rerun failed or gave other numbers. Rows that have the
    present names already are not rerun. Metrics that compare seeds are not rerun either, because
    they need a second run; their values stay as they are. Raises UserError if nothing is published.
    """
    folder = results / suite.name
    table = read_published(folder)
    rows = [row for row in published_rows(table, specs) if renamings(table, workspace, row)]
    if not rows:
        CONSOLE.print(f"{folder}: nothing to adopt: all run names match the current code")
        return []
    first = [row.specs[0] for row in rows]
    schedule.attempt(workspace, first, jobs, plugins)
    rerun = tidy(score_table(workspace, first))
    stale: list[str] = []
    names: dict[str, str] = {}
    for row in rows:
        if problem := disagreement(table, rerun, row.specs[0]):
            stale.append(f"{row}: {problem}")
        else:
            names |= renamings(table, workspace, row)
            CONSOLE.print(f"adopted: {row} ({len(row.specs)} seeds)")
    rename_runs(folder, names)
    for line in stale:
        CONSOLE.print(f"stale: {line}")
    return stale


def read_published(folder: Path) -> pd.DataFrame:
    """The published score table of a suite. Raises UserError if there is none."""
    path = folder / "scores.csv"
    if not path.is_file():
        raise UserError(f"nothing to adopt: no {path}")
    refuse_edited(path)
    try:
        return read_scores(path)
    except ValueError as error:
        raise UserError(str(error)) from error


def published_rows(table: pd.DataFrame, specs: Sequence[RunSpec]) -> list[PublishedRow]:
    """The rows on each block that the table has scores of, with the run specs of these scores."""
    scored = table[(table["status"] == "ok") & (table["metric"] != "")]
    columns = [scored[name] for name in ("dataset", "backbone", "method", "params", "seed")]
    published = set(zip(*columns, strict=True))
    rows: dict[tuple[Block, RowKey], PublishedRow] = {}
    for spec in specs:
        if (*spec.block, *spec.row, spec.seed) in published:
            row = rows.setdefault((spec.block, spec.row), PublishedRow(spec.block, spec.row, []))
            row.specs.append(spec)
    return list(rows.values())


def renamings(table: pd.DataFrame, workspace: Workspace, row: PublishedRow) -> dict[str, str]:
    """Published run name -> name under the current code, for each run of a row that has another."""
    names: dict[str, str] = {}
    for spec in row.specs:
        new = workspace.run_of(spec).name
        names |= {str(old): new for old in _rows_of(table, spec)["run"].unique() if old != new}
    return names


def disagreement(table: pd.DataFrame, rerun: pd.DataFrame, spec: RunSpec) -> str:
    """The first number of a rerun that differs from the published one; empty if all agree."""
    published, again = (_rows_of(scores, spec).set_index(KEY) for scores in (table, rerun))
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
            old, new = (float(scores.loc[[key], column].iloc[0]) for scores in (published, again))
            if old != new and not (math.isnan(old) and math.isnan(new)):
                what = metric if column == "value" else f"{column} of {metric}"
                return f"{what} of seed {spec.seed} was {old:.9g} and is {new:.9g}"
    return ""


def rename_runs(folder: Path, names: Mapping[str, str]) -> None:
    """Replaces run names in the files of a publication. Raises UserError if one cannot be
    written."""
    for file in (folder / name for name in NAMING_RUNS):
        if not names or not file.is_file():
            continue
        try:
            data = file.read_bytes()
            for old, new in names.items():
                data = data.replace(old.encode(), new.encode())
            write_listed(folder, {file.name: data})
        except OSError as error:
            raise UserError(f"cannot write {file}: {reason_of(error)}") from error


def _rows_of(table: pd.DataFrame, spec: RunSpec) -> pd.DataFrame:
    """The rows of a score table that belong to a run spec."""
    identity = dict(zip(KEY, (*spec.block, *spec.row, spec.seed), strict=False))
    return table[(table[list(identity)] == pd.Series(identity)).all(axis="columns")]


def _compares_seeds(metric: str) -> bool:
    return metric in METRICS and scope(METRICS[metric].function) == "seeds"
