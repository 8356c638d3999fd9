"""Metrics of attributions, averaged over the same algorithms for every row of a block.

A run's own score is the mean over the algorithms that pass their audit on its network. These differ
between networks, and so do the levels of the algorithms: a row on which an algorithm with high
values fails would look worse than it is.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from legible.bench.suites.run_spec import BASELINE

#: The metric that says which algorithms pass; the only one that is no mean of values.
AUDIT = "attribution_audit"
#: A row on which fewer than this share of plain's algorithms pass does not narrow the choice.
ENOUGH = 0.5
FAILED = "an algorithm that all rows are compared on fails its audit on this network"
UNKNOWN = "its values by algorithm are not here, so it cannot be compared over the same ones"


def read_algorithms(folder: Path) -> pd.DataFrame:
    """The attributions.csv of a publication; an empty table if there is none."""
    path = folder / "attributions.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def over_common_algorithms(table: pd.DataFrame, algorithms: pd.DataFrame) -> pd.DataFrame:
    """A score table in which each metric of attributions is a mean over `algorithms_for_all`.

    ``algorithms`` has the value of each algorithm (see `BY_ALGORITHM`). A run on which one of the
    common algorithms fails has no value, and a run without values by algorithm (a submitted one)
    has none either.
    """
    if algorithms.empty:
        return table
    table = table.copy()
    rows = table.loc[table["kind"] == "method", ["method", "params"]]
    trained = set(rows.itertuples(index=False, name=None))
    values = algorithms[algorithms["metric"] != AUDIT]
    for (dataset, backbone, metric), group in values.groupby(["dataset", "backbone", "metric"]):
        wide = by_run(group)
        names = algorithms_for_all(wide, trained)
        means = wide[names].mean(axis=1, skipna=False) if names else wide.sum(axis=1) * np.nan
        here = table.index[
            (table["dataset"] == dataset) & (table["backbone"] == backbone)
            & (table["metric"] == metric) & (table["status"] == "ok")
        ]  # fmt: skip
        keys = pd.MultiIndex.from_frame(table.loc[here, ["method", "params", "seed"]])
        explained = keys.isin(means.index)
        counted = explained | table.loc[here, "value"].notna().to_numpy()
        lines, explained = here[counted], explained[counted]
        new = means.reindex(keys[counted]).to_numpy()
        table.loc[lines, "value"] = table.loc[lines, "live"] = new
        table.loc[lines, "count"] = len(names)
        table.loc[lines, "undefined"] = np.where(np.isnan(new), len(names), 0)
        table.loc[lines[np.isnan(new)], "reason"] = FAILED
        table.loc[lines[~explained], "reason"] = UNKNOWN
    return table


def algorithms_for_all(wide: pd.DataFrame, trained: Collection[tuple[str, str]]) -> list[str]:
    """The algorithms with a value on every network that a method trained.

    ``wide``: values, a line for each (method, params, seed) and a column for each algorithm.
    ``trained``: the methods, with their parameters, whose networks decide. One on which fewer than
    half of plain's algorithms have values is left out.
    """
    passes = wide.notna().groupby(level=["method", "params"]).all()
    passes = passes[[key in trained for key in passes.index]]
    counts = passes.sum(axis=1)
    of_plain = counts.to_dict().get(tuple(BASELINE), passes.shape[1])
    deciding = passes[counts >= ENOUGH * of_plain]
    return [name for name in passes.columns if deciding[name].all()] if len(deciding) else []


def by_run(group: pd.DataFrame) -> pd.DataFrame:
    """Values by run and algorithm, with the digits of attributions.csv, so that published runs and
    those made here count alike."""
    digits = group.assign(value=[float(f"{value:.6g}") for value in group["value"]])
    return digits.pivot(index=["method", "params", "seed"], columns="algorithm", values="value")
