"""All numbers of a suite: those of runs that are here, and those of its earlier publications."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError
from legible.bench.execution.cost import COST_COLUMNS, cost_record, cost_table
from legible.bench.execution.published import PublishedTable, RunPlace, RunRecord, row_of
from legible.bench.execution.reuse import record_of, reused
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.collect import (
    BY_ALGORITHM,
    algorithm_score_of,
    algorithm_table,
    score_table,
)
from legible.bench.scores.published_rows import KeptRows, kept_rows
from legible.bench.scores.score_table import KEY, to_table
from legible.bench.suites.run_spec import Block, RowKey, RunSpec, expand
from legible.bench.suites.schema import Suite
from legible.bench.tuning.tune import tuned_specs

#: What a run recorded by epoch: one entry for each epoch.
History = Sequence[Mapping[str, Any]]
#: Beginning of the name of a watched metric in a history.
WATCHED = "watch."


class CurvePoint(NamedTuple):
    """A line of curves.csv: a watched metric of a run after an epoch."""

    dataset: str
    backbone: str
    method: str
    params: str
    seed: int
    epoch: int
    name: str
    value: float


@dataclass(frozen=True, eq=False)
class SuiteNumbers:
    """The numbers of a suite.

    ``records``: what is known about each run with scores. ``earlier``: the places of the runs whose
    values come from an earlier publication. ``unchecked``: the methods among them whose code is not
    here. ``data`` maps datasets to fingerprints.
    """

    scores: pd.DataFrame
    costs: pd.DataFrame
    algorithms: pd.DataFrame
    histories: Sequence[tuple[RunPlace, History]]
    records: Sequence[RunRecord]
    earlier: Mapping[str, RunPlace]
    unchecked: Collection[str]
    data: Mapping[str, str]


def gather_numbers(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    results: Path,
    cost: bool = False,
    say: Callable[[str], None] = print,
) -> SuiteNumbers:
    """The numbers of run specs, and of all other published rows of the suite.

    ``cost`` measures costs that are not known yet. Raises UserError if the folder of the
    publication holds rows that other code made: they would be lost.
    """
    scores = score_table(workspace, specs)
    table = workspace.published
    places = {RunPlace(spec.block, spec.row, spec.seed): spec for spec in specs}
    by_spec = {place: reused(workspace, spec) for place, spec in places.items()}
    earlier_rows = KeptRows()
    if table is not None:
        whole = tuned_specs(suite, expand(suite), results)
        earlier_rows = kept_rows(workspace, whole, _shown(scores), _oracle_blocks(scores))
        _refuse_stale(earlier_rows, table, results / suite.name, say)
        scores = _with_kept(_without_gaps(scores, earlier_rows), to_table(earlier_rows.rows))
    published = [*(entry.record for entry in by_spec.values() if entry), *earlier_rows.records]
    here = [record_of(workspace, spec) for place, spec in places.items()
            if by_spec[place] is None and not workspace.obstacle(spec)]  # fmt: skip
    earlier = {record.run: table.places[record.run] for record in published} if table else {}
    others = {earlier[record.run] for record in earlier_rows.records}
    return SuiteNumbers(
        scores,
        one_cost_a_row(_with_kept(cost_table(workspace, specs, cost, say), _costs(table, others))),
        _with_kept(algorithm_table(workspace, specs), _algorithms(table, others)),
        [*_histories(workspace, places), *_published_histories(table, earlier.values())],
        [*(record for record in here if record is not None), *published],
        earlier,
        earlier_rows.unchecked,
        _fingerprints(workspace, specs, {place.block.dataset for place in earlier.values()}),
    )


def _shown(scores: pd.DataFrame) -> set[RunPlace]:
    """The places that have scores, or a run that failed."""
    ended = scores[(scores["run"] != "") & scores["status"].isin(["ok", "failed"])]
    keys = ended[KEY[:5]].drop_duplicates()
    return {
        RunPlace(Block(dataset, backbone), RowKey(method, params), int(seed))
        for dataset, backbone, method, params, seed in keys.itertuples(index=False)
    }


def _without_gaps(scores: pd.DataFrame, earlier_rows: KeptRows) -> pd.DataFrame:
    """The table without the lines that say why a run has no scores, where kept rows have some."""
    places = {
        (row.dataset, row.backbone, row.method, row.params, row.seed) for row in earlier_rows.rows
    }
    keys = zip(*(scores[name] for name in KEY[:5]), strict=True)
    has_rows = np.array([key in places for key in keys], dtype=bool)
    return scores[~(has_rows & (scores["metric"] == "").to_numpy())]


def _oracle_blocks(scores: pd.DataFrame) -> set[Block]:
    oracle = scores.loc[scores["method"] == "oracle", ["dataset", "backbone"]].drop_duplicates()
    return {Block(dataset, backbone) for dataset, backbone in oracle.itertuples(index=False)}


def _refuse_stale(
    earlier_rows: KeptRows, table: PublishedTable, folder: Path, say: Callable[[str], None]
) -> None:
    """Rows that other code made are said if they stay where they are, and refused otherwise."""
    if not earlier_rows.stale:
        return
    rows = {(place.block, place.row) for place in earlier_rows.stale}
    place, problem = next(iter(earlier_rows.stale.items()))
    text = (
        f"{len(earlier_rows.stale)} published runs of {len(rows)} rows are stale "
        f"({place}: {problem}): "
        f"`legible adopt {folder.name}` compares one seed of each row"
    )
    if table.folder.resolve() == folder.resolve():
        raise UserError(f"{folder}: {text}, --only-local leaves them out")
    say(f"left out: {text}")


# ----------------------------------------------------------------- tables beside the scores


def _with_kept(table: pd.DataFrame, earlier_rows: pd.DataFrame) -> pd.DataFrame:
    """Both tables, each line once: of a row some seeds may be reused and others kept."""
    parts = [part for part in (table, earlier_rows) if len(part)]
    both = pd.concat(parts, ignore_index=True) if parts else table
    return both.drop_duplicates(ignore_index=True)


def one_cost_a_row(costs: pd.DataFrame) -> pd.DataFrame:
    """One line for each block, row and device, in the order of these: the first one with a step's
    time if there is one, else the first. Some seeds of a row may be here and others published."""
    keys = ["dataset", "backbone", "method", "params", "device"]
    order = costs.assign(unmeasured=costs["step_ms"].isna()).sort_values(
        [*keys, "unmeasured"], kind="stable"
    )
    once = order.drop_duplicates(keys, ignore_index=True)
    return once.drop(columns="unmeasured")


def _costs(table: PublishedTable | None, places: Iterable[RunPlace]) -> pd.DataFrame:
    """The published costs of some rows."""
    rows = dict.fromkeys((place.block, place.row) for place in places)
    lines = [line for row in rows for line in _lines(table, "cost.csv", *row)]
    return pd.DataFrame([cost_record(line) for line in lines], columns=COST_COLUMNS)


def _algorithms(table: PublishedTable | None, places: Collection[RunPlace]) -> pd.DataFrame:
    """The published attribution scores of some runs."""
    rows = dict.fromkeys((place.block, place.row) for place in places)
    lines = [line for row in rows for line in _lines(table, "attributions.csv", *row)]
    scores = [
        algorithm_score_of(line) for line in lines
        if RunPlace(*row_of(line), int(line["seed"])) in places
    ]  # fmt: skip
    return pd.DataFrame(scores, columns=list(BY_ALGORITHM))


def _lines(table: PublishedTable | None, file: str, block: Block, row: RowKey) -> list[Any]:
    return table.companion_rows(file, block, row) if table else []


def _histories(
    workspace: Workspace, places: Mapping[RunPlace, RunSpec]
) -> Iterator[tuple[RunPlace, History]]:
    """What runs that are here recorded by epoch."""
    for place, spec in places.items():
        if not workspace.obstacle(spec):
            manifest = workspace.run_of(spec).readable_manifest()
            if manifest is not None and manifest.status == "done":
                yield place, manifest.history


def _published_histories(
    table: PublishedTable | None, places: Iterable[RunPlace]
) -> Iterator[tuple[RunPlace, History]]:
    for place in places:
        epochs: dict[int, dict[str, float]] = {}
        for line in _lines(table, "curves.csv", place.block, place.row):
            if int(line["seed"]) == place.seed:
                epochs.setdefault(int(line["epoch"]), {})[line["name"]] = float(line["value"])
        if epochs:
            yield place, [epochs.get(epoch, {}) for epoch in range(1, max(epochs) + 1)]


def curve_table(histories: Iterable[tuple[RunPlace, History]]) -> pd.DataFrame:
    """The watched metrics of all runs, a line for each epoch; undefined values are left out."""
    points = [
        CurvePoint(*place.block, *place.row, place.seed, epoch, name, value)
        for place, history in histories
        for epoch, line in enumerate(history, 1)
        for name, value in line.items()
        if name.startswith(WATCHED) and value is not None
    ]
    return pd.DataFrame(points, columns=list(CurvePoint._fields))


def _fingerprints(
    workspace: Workspace, specs: Sequence[RunSpec], earlier: Collection[str]
) -> dict[str, str]:
    """The hash of each dataset's content; the published one of those that are not here."""
    published = workspace.published.data if workspace.published else {}
    fingerprints = {name: key for name, key in published.items() if name in earlier}
    for label, spec in {spec.dataset_label: spec for spec in specs}.items():
        try:
            fingerprints[label] = workspace.fingerprint(spec)
        except (DataMissing, UserError):
            continue
    return fingerprints
