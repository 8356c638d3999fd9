"""Published rows under new code: one seed of each is rerun, and equal rows take the new names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.store import write_bytes
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import KEY, read_scores, tidy
from legible.bench.suites.run_spec import Block, RowKey, RunSpec
from legible.bench.suites.schema import Suite
from legible.metrics.base import METRICS, scope

#: Text files of a publication in which runs are named.
NAMING_RUNS = ("scores.csv", "leaderboard.json")


def adopt_published(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    results: Path,
    jobs: int = 0,
    plugins: Sequence[Path] = (),
) -> list[str]:
    """Reruns one seed of each published row and block, and renames what is equal to the last digit.

    Returns a line for each row that is stale: its rerun failed or gave other numbers. Metrics that
    compare seeds need a second run, so they are not rerun; they keep their values with the row.
    Raises UserError where nothing is published.
    """
    folder = results / suite.name
    table = read_published(folder)
    groups = published_groups(table, specs)
    first = [group[0] for group in groups.values()]
    named = [_is_named(table, workspace, spec) for group in groups.values() for spec in group]
    if all(named):
        CONSOLE.print(f"{folder}: every row already has the names of the present code")
        return []
    schedule.attempt(workspace, first, jobs, plugins)
    rerun = tidy(score_table(workspace, first))
    stale: list[str] = []
    names: dict[str, str] = {}
    for (block, row), group in groups.items():
        problem = disagreement(table, rerun, group[0])
        where = f"{row.method} {row.params} on {' · '.join(block)}"
        if problem:
            stale.append(f"{where}: {problem}")
        else:
            names |= new_names(table, workspace, group)
            CONSOLE.print(f"adopted: {where} ({len(group)} seeds)", markup=False)
    rename_runs(folder, names)
    for line in stale:
        CONSOLE.print(f"stale: {line}", markup=False)
    return stale


def read_published(folder: Path) -> pd.DataFrame:
    """The published score table of a suite. UserError where there is none."""
    path = folder / "scores.csv"
    if not path.is_file():
        raise UserError(f"nothing to adopt: no {path}")
    try:
        return read_scores(path)
    except ValueError as error:
        raise UserError(str(error)) from error


def published_groups(
    table: pd.DataFrame, specs: Sequence[RunSpec]
) -> dict[tuple[Block, RowKey], list[RunSpec]]:
    """The run specs of each row and block that the table has scores of, by seed."""
    scored = table[(table["status"] == "ok") & (table["metric"] != "")]
    columns = [scored[name] for name in ("dataset", "backbone", "method", "params", "seed")]
    present = set(zip(*columns, strict=True))
    groups: dict[tuple[Block, RowKey], list[RunSpec]] = {}
    for spec in specs:
        if (*spec.block, *spec.row, spec.seed) in present:
            groups.setdefault((spec.block, spec.row), []).append(spec)
    return groups


def disagreement(table: pd.DataFrame, rerun: pd.DataFrame, spec: RunSpec) -> str:
    """The first number of a rerun that differs from the published one; empty where all agree."""
    published, again = (_own(t, spec).set_index(KEY) for t in (table, rerun))
    if "ok" not in set(again["status"]):
        return f"the rerun of seed {spec.seed} gave no scores ({again['reason'].iloc[0]})"
    shared = [key for key in published.index if not _compares_seeds(key[-1])]
    for key in shared:
        if key not in again.index:
            return f"{key[-1]} is not measured any more"
        for name in ("value", "live", "undefined", "count"):
            old, new = float(published.at[key, name]), float(again.at[key, name])  # type: ignore
            if not (old == new or (math.isnan(old) and math.isnan(new))):
                return f"{key[-1]} of seed {spec.seed} was {old:.9g}, is {new:.9g}"
    return ""


def new_names(
    table: pd.DataFrame, workspace: Workspace, specs: Sequence[RunSpec]
) -> dict[str, str]:
    """Published run name -> the name that the run has under the present code."""
    names: dict[str, str] = {}
    for spec in specs:
        for old in _own(table, spec)["run"].unique():
            names[str(old)] = workspace.run_of(spec).name
    return names


def rename_runs(folder: Path, names: Mapping[str, str]) -> None:
    """Replaces run names in the files of a publication. UserError where one cannot be written."""
    for file in (folder / name for name in NAMING_RUNS):
        if not names or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8")
        for old, new in names.items():
            text = text.replace(old, new)
        try:
            write_bytes(file, text.encode())
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}") from error


def _own(table: pd.DataFrame, spec: RunSpec) -> pd.DataFrame:
    own = (table["seed"] == spec.seed) & (table["method"] == spec.row.method)
    own &= (table["params"] == spec.row.params) & (table["dataset"] == spec.block.dataset)
    return table[own & (table["backbone"] == spec.block.backbone)]


def _is_named(table: pd.DataFrame, workspace: Workspace, spec: RunSpec) -> bool:
    return set(_own(table, spec)["run"]) == {workspace.run_of(spec).name}


def _compares_seeds(metric: str) -> bool:
    return metric in METRICS and scope(METRICS[metric].function) == "seeds"
